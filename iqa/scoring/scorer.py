"""A model with its weights, which a process loads once and many threads may use.

scorer = load_scorer("tid2013_regression")
scorer.score("photo.jpg")                       # a mean opinion score
"""

import math
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_for, card_of, sha256, weights_file
from iqa.environment import processors
from iqa.errors import CardError, ImageError, RuntimeUnavailable, UsageError
from iqa.images.geometry import CROPS, POOLINGS, Geometry, warn_if_flat
from iqa.images.reading import ImageLike, Picture, in_memory
from iqa.labels.faults import read_faults
from iqa.labels.histograms import Score
from iqa.scoring.runtimes import Network, open_network


class Judgement(NamedTuple):
    """The mean of a network's answers over the patches of a picture, weighted as `Geometry.weights` says; all float32."""

    output: NDArray[np.float32]  # (1,), a score, or (10,), a histogram of votes
    features: NDArray[np.float32]  # (n,), what the last layer of the head sees
    levels: NDArray[np.float32] | None  # (m,), the several levels that the head sees, standardised, if it sees some
    faults: NDArray[np.float32] | None  # (7,), a logit for each of `iqa.labels.faults.KINDS`, if the model knows them
    notes: list[str]  # what is amiss with the picture

    @property
    def seen(self) -> NDArray[np.float32]:
        """What a `Layer` sees of this network: its mean score, then the levels of the head or else its features."""
        mean = float(self.output @ np.arange(1.0, 11.0)) if len(self.output) == 10 else float(self.output[0])
        return np.concatenate([[mean], self.features if self.levels is None else self.levels], dtype=np.float32)


class Scorer:
    """A model with its weights, ready to score; `load_scorer` makes it.

    Its `geometry` is what the network sees of a picture, and its `recipe` what another process needs, as JSON holds it.
    """

    def __init__(
        self,
        weights: Path,
        sha256: str,
        card: Card,
        runtime: str = "auto",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.weights, self.sha256, self.card = weights, sha256, card
        self.geometry = Geometry.of(card, **(options or {}))
        self._runtime, self._threads, self._networks = runtime, threads, dict[int, Network]()
        self._workers = dict[int, Any]()  # of each process, as the networks
        self._faults = read_faults(card_of(weights).parent, card.faults) if card.faults else None
        runtime = self.network.name  # what "auto" chooses here is not chosen again
        self.key = (sha256, str(self.geometry), runtime)
        self.recipe: dict[str, Any] = {
            "weights": str(weights.resolve()),
            "sha256": sha256,
            "card": card.to_json(),
            "runtime": runtime,
            "options": dict(options or {}),
        }

    @classmethod
    def of(cls, recipe: Mapping[str, Any], threads: int | None = None) -> "Scorer":
        """The scorer of a `recipe`."""
        card = Card.from_json(recipe["card"])
        return cls(Path(recipe["weights"]), recipe["sha256"], card, recipe["runtime"], threads, recipe["options"])

    @property
    def name(self) -> str:
        """The name of the weights."""
        return self.weights.name.removesuffix(".h5").removesuffix(".weights")

    @property
    def network(self) -> Network:
        """The network, opened once in each process: the threads of a runtime do not survive a fork."""
        process = os.getpid()
        if process not in self._networks:
            if self._networks and next(iter(self._networks.values())).name == "keras":
                reason = "Keras cannot score in a process that was forked after it was loaded: start the process by spawn"
                raise RuntimeUnavailable(f"{reason} or forkserver, or choose another runtime")
            self._networks[process] = open_network(self._runtime, self.weights, self.card, self.sha256, self._threads)
        return self._networks[process]

    @classmethod
    def prepare(cls, recipe: Mapping[str, Any]) -> Callable[[list[Path]], list[Judgement | ImageError]]:
        """What a worker of `score` does."""
        scorer = cls.of(recipe, None if recipe["runtime"] == "keras" else 1)
        return lambda paths: scorer.judge([Picture(path) for path in paths])

    @property
    def kind(self) -> str:
        """The kind of its head, "histogram" or "regression"."""
        return self.card.head.kind

    @property
    def sees(self) -> str:
        """What it sees of a picture, in words."""
        return str(self.geometry)

    @property
    def needs_whole(self) -> bool:
        """Whether it needs all pixels of a picture."""
        return self.geometry.crop is not None

    def judge(self, pictures: Sequence[Picture]) -> list[Judgement | ImageError]:
        """The answers for pictures, which go through Keras together; or the reason why a picture has none."""
        new = [picture for picture in pictures if self.key not in picture.answers]
        for picture, answer in zip(new, self._judge(new), strict=True):
            picture.answers[self.key] = answer
        return [picture.answers[self.key] for picture in pictures]

    def _judge(self, pictures: Sequence[Picture]) -> list[Judgement | ImageError]:
        seen: list[tuple[NDArray[np.uint8], list[str]] | ImageError] = []
        for picture in pictures:
            notes: list[str] = []
            try:
                seen.append((self.geometry.patches(picture, notes), notes))
            except ImageError as error:
                seen.append(error)
            except MemoryError:
                seen.append(ImageError("it needs more memory than there is"))
        patches = [found[0] for found in seen if not isinstance(found, ImageError)]
        answers = self.network(np.concatenate(patches)) if patches else []
        judged: list[Judgement | ImageError] = []
        start = 0
        for found in seen:
            if isinstance(found, ImageError):
                judged.append(found)
                continue
            cut, notes = found
            rows, start = slice(start, start + len(cut)), start + len(cut)
            weights = self.geometry.weights(cut)  # summed in double precision
            output, features, *more = ((weights @ answer[rows].astype(float)).astype(np.float32) for answer in answers)
            levels = more[0] if more else None
            if np.isfinite(output).all():
                notes += filter(None, [warn_if_flat(cut)])
                faults = None if self._faults is None or levels is None else levels @ self._faults[:-1] + self._faults[-1]
                judged.append(Judgement(output, features, levels, faults, notes))
            else:
                judged.append(ImageError("the model's answer is not a finite number"))
        return judged

    def score_of(self, output: NDArray[np.float32]) -> Score | float:
        """The score in an output of the network."""
        return float(output[0]) if len(output) == 1 else Score.of(output, self.card.scale.population)

    def score(self, image: ImageLike | Picture, timeout: float | None = None) -> Score | float:
        """The score of a picture: a `Score` by a model of histograms, otherwise a number.

        Args:
            image: see `ImageLike`. Give several models the same `Picture`, and it is decoded once.
            timeout: seconds that it may take. With it a worker process decodes the picture, so that one that crashes its
                decoder is an error like others.

        Raises:
            ImageError: if the picture cannot be read, is too small or takes too long.
            UsageError: if there is a timeout for a PIL image or an array, or it is no number of seconds above 0.
            TypeError: if it is no picture.
        """
        check_seconds(timeout)
        if timeout is None:
            return self.score_of(self._judge_one(image).output)
        from iqa.scoring.workers import Workers  # which most callers do not need

        with _lock:
            if os.getpid() not in self._workers:
                workers = Workers(partial(self.prepare, self.recipe), lambda _, reason: ImageError(reason), processors())
                weakref.finalize(self, workers.close)
                self._workers[os.getpid()] = workers
        with _as_file(image) as path:
            judgement = self._workers[os.getpid()].ask(path, timeout)
        return self.score_of(_unless_error(judgement).output)

    def features(self, image: ImageLike | Picture) -> NDArray[np.float32]:
        """What the head of the network sees of a picture, float32 (n,); see `score`."""
        return self._judge_one(image).features

    def _judge_one(self, image: ImageLike | Picture) -> Judgement:
        return _unless_error(*self.judge([image if isinstance(image, Picture) else Picture(image)]))


def _unless_error(judgement: Judgement | ImageError) -> Judgement:
    if isinstance(judgement, ImageError):
        raise judgement
    return judgement


@contextmanager
def _as_file(image: ImageLike | Picture) -> Iterator[Path]:
    """The path of an image, for a worker; the bytes of a file are written to a temporary one."""
    content = image if isinstance(image, Picture) else in_memory(image)
    if isinstance(content, str | os.PathLike):
        yield Path(content).absolute()  # the worker may have started in another folder
        return
    if not isinstance(content, bytes):
        raise UsageError("a timeout is for a path, the bytes of a file or a binary file, which a worker can decode")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        path.write_bytes(content)
        yield path


def check_seconds(timeout: float | None) -> None:
    """Raise `UsageError` if a timeout is no number of seconds above 0, nor None."""
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise UsageError(f"timeout must be a number of seconds above 0, got {timeout!r}")


_loaded: dict[tuple[Any, ...], Scorer] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a thread that held the lock does not exist in a process that was just forked
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


def load_scorer(
    weights: str | os.PathLike[str],
    head: str | None = None,
    cardless: Card | None = None,
    *,
    runtime: str = "auto",
    crop: str | None = None,
    pooling: str | None = None,
    longer_side: int | None = None,
    six_crops: bool = False,
) -> Scorer:
    """The `Scorer` of these arguments, which this process loads once, by whatever name or path; again if the file changes.

    Args:
        weights: the name of shipped weights, or the path of a weight file.
        head: "regression" or "histogram", if the caller can use no other kind of model.
        cardless: the card of an `.hdf5` or `.h5` file of Keras 2 that has none; see `iqa.cards.keras2_card`.
        runtime: one of `iqa.scoring.runtimes.RUNTIMES`.
        crop, pooling: keys of `CROPS` and `POOLINGS` of `iqa.images.geometry`, for a model of patches.
        longer_side: pixels to which the longer side of a larger picture is shrunk before a model of patches sees it.
        six_crops: whether a model of whole pictures takes the mean over six crops.

    Raises:
        CardError: if there is no such file, or its card is missing, broken, another file's or of another kind of model.
        UsageError: if an argument is for another kind of model, or has a value that it cannot have.
        WeightsError, RuntimeUnavailable: see `open_network`.
    """
    path = weights_file(weights)
    card, found = card_for(path, cardless), path.stat()
    if head and card.head.kind != head:
        raise CardError(f"{card_of(path)}: a {card.head.kind} model, but a {head} model is needed")
    options: dict[str, Any] = {"crop": crop, "pooling": pooling, "longer_side": longer_side, "six_crops": six_crops}
    whole, size = card.preprocessing.kind == "resize", card.preprocessing.size
    for what in ("crop", "pooling", "longer_side"):
        if whole and options[what] is not None:
            raise UsageError(
                f"{path.name} sees whole pictures, so the {what.replace('_', ' ')} {options[what]} does not apply"
            )
    if six_crops and not whole:
        raise UsageError(f"{path.name} sees patches, so six crops do not apply")
    for what, known in (("crop", CROPS), ("pooling", POOLINGS)):
        if options[what] is not None and options[what] not in known:
            raise UsageError(f"{what} must be one of {', '.join(known)}, got {options[what]!r}")
    if longer_side is not None and longer_side < size:
        raise UsageError(f"a longer side of {longer_side} pixels is smaller than a patch, which has {size}")
    facts = (path.resolve(), found.st_size, found.st_mtime_ns, repr(card), runtime, *options.values())
    with _lock:
        if facts not in _loaded:
            digits = sha256(path)
            if digits != (card.sha256 or digits):
                raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {digits[:12]}...)")
            _loaded[facts] = Scorer(path, digits, card, runtime, options=options)
        return _loaded[facts]


def scorer_of(model: Scorer | None, load: Callable[..., Scorer], head: str, options: Mapping[str, Any]) -> Scorer:
    """The model that a function such as `infer` scores with: the one that it was given, or the one that `load` loads.

    Raises:
        UsageError: if there are a model and options, since a model has its own; or its head is of another kind.
        TypeError: if the model is none.
    """
    if model is None:
        return load(**options)
    if not isinstance(model, Scorer):
        raise TypeError(f"model must be what load() returned, not {type(model).__name__}")
    if options:
        raise UsageError(f"a model has its own {' and '.join(options)}: give them to load(), or leave out the model")
    if model.kind != head:
        raise UsageError(f"{model.weights.name} is a {model.kind} model, but a {head} model is needed")
    return model

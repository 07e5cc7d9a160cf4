"""A model with its weights: a picture -> what the model says of it.

    scorer = load_scorer("tid2013_regression")
    scorer.score("photo.jpg")                       # a mean opinion score

A process loads a model once for the same arguments, and many threads may use it.
"""

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_for, card_of, sha256, weights_file
from iqa.errors import CardError, ImageError, RuntimeUnavailable, UsageError
from iqa.images.geometry import CROPS, Geometry, warn_if_flat
from iqa.images.picture import Picture
from iqa.images.pooling import POOLINGS
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.scoring.runtimes import Network, open_network


class Judgement(NamedTuple):
    """The mean of a network's answers over the patches of a picture, weighted as `Geometry.weights` says.

    Attributes:
        output: float32 (1,), a score, or (10,), a histogram of votes.
        features: float32 (n,), what the head sees.
        faults: float32 (7,), a logit for each of `iqa.labels.faults.KINDS`; None if the model knows none.
        notes: lines about what is amiss with the picture.
    """

    output: NDArray[np.float32]
    features: NDArray[np.float32]
    faults: NDArray[np.float32] | None
    notes: list[str]


class Scorer:
    """A model with its weights, ready to score; `load_scorer` makes it.

    Attributes:
        weights, sha256, card: the weight file, its hash, its card.
        geometry: what the network sees of a picture.
        recipe: the same as JSON holds it, for another process; see `open_models`.
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
        runtime = self.network.name  # what "auto" chooses here is not chosen again
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
        """The network, opened once in each process: the threads of a runtime do not survive a fork.

        Raises:
            RuntimeUnavailable: see `open_network`, and for Keras in a process that was forked.
        """
        process = os.getpid()
        if process not in self._networks:
            if self._networks and next(iter(self._networks.values())).name == "keras":
                raise RuntimeUnavailable(
                    "Keras cannot score in a process that was forked after it was loaded: start the process by spawn or "
                    "forkserver, or choose another runtime"
                )
            self._networks[process] = open_network(self._runtime, self.weights, self.card, self.sha256, self._threads)
        return self._networks[process]

    def judge(self, pictures: Sequence[Picture]) -> list[Judgement | ImageError]:
        """The answers for pictures, which go through Keras together; or the reason why a picture has none."""
        seen: list[NDArray[np.uint8] | ImageError] = []
        notes: list[list[str]] = [[] for _ in pictures]
        for picture, noted in zip(pictures, notes, strict=True):
            try:
                seen.append(self.geometry.patches(picture, noted))
            except ImageError as error:
                seen.append(error)
            except MemoryError:
                seen.append(ImageError("it needs more memory than there is"))
        patches = [found for found in seen if not isinstance(found, ImageError)]
        answers = self.network(np.concatenate(patches)) if patches else []
        judged: list[Judgement | ImageError] = []
        start = 0
        for found, noted in zip(seen, notes, strict=True):
            if isinstance(found, ImageError):
                judged.append(found)
                continue
            rows, start = slice(start, start + len(found)), start + len(found)
            weights = self.geometry.weights(found)
            output, features, *faults = (_average(answer[rows], weights) for answer in answers)
            if np.isfinite(output).all():
                noted += filter(None, [warn_if_flat(found)])
                judged.append(Judgement(output, features, faults[0] if faults else None, noted))
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
        from iqa.scoring.many import score_in_worker

        return score_in_worker(self, image, timeout)

    def features(self, image: ImageLike | Picture) -> NDArray[np.float32]:
        """What the head of the network sees of a picture, float32 (n,); see `score`."""
        return self._judge_one(image).features

    def _judge_one(self, image: ImageLike | Picture) -> Judgement:
        (judgement,) = self.judge([image if isinstance(image, Picture) else Picture(image)])
        if isinstance(judgement, ImageError):
            raise judgement
        return judgement


def _average(rows: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The weighted mean of rows, summed in double precision; a score is linear in its features, so theirs belongs to it."""
    return (weights @ rows.astype(np.float64)).astype(np.float32)


def check_seconds(timeout: float | None) -> None:
    """Raise `UsageError` if a timeout is no number of seconds above 0, nor None."""
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise UsageError(f"timeout must be a number of seconds above 0, got {timeout!r}")


# --- one scorer for the same arguments -------------------------------------------------------------------------------

_loaded: dict[tuple[Any, ...], Scorer] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    """In a process that was just forked: the thread that held the lock does not exist here."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


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
    """The `Scorer` of these arguments, which this process loads once, even if many threads ask for it at the same time.

    The same file is the same scorer, whether it is named ("ava_vanilla") or given by any of its paths. A file that has
    changed since is loaded again.

    Args:
        weights: the name of shipped weights, or the path of a weight file.
        head: "regression" or "histogram", the kind of model that the caller can use; None for any.
        cardless: the card of an `.hdf5` or `.h5` file of Keras 2 that has none; see `iqa.cards.keras2_card`.
        runtime: one of `iqa.scoring.runtimes.RUNTIMES`.
        crop: where a model of patches looks, a key of `iqa.images.geometry.CROPS`; None for `iqa.images.geometry.CROP`.
        pooling: a key of `iqa.images.pooling.POOLINGS`; None for what the card says.
        longer_side: pixels to which the longer side of a larger picture is shrunk before a model of patches sees it.
        six_crops: whether a model of whole pictures takes the mean over six crops.

    Raises:
        CardError: if there is no such file, the card is missing or broken, its sha256 is another file's, or the model is of
            another kind.
        UsageError: if an argument is for another kind of model, or has a value that it cannot have.
        WeightsError: if the weights do not fit the network on the card.
        RuntimeUnavailable: if the runtime is not installed or disagrees with Keras.
    """
    path = weights_file(weights)
    card, found = card_for(path, cardless), path.stat()
    if head and card.head.kind != head:
        raise CardError(f"{card_of(path)}: a {card.head.kind} model, but a {head} model is needed")
    options: dict[str, Any] = {"crop": crop, "pooling": pooling, "longer_side": longer_side, "six_crops": six_crops}
    _check_options(path.name, card, **options)
    facts = (path.resolve(), found.st_size, found.st_mtime_ns, repr(card), runtime, *options.values())
    with _lock:
        if facts not in _loaded:
            digits = sha256(path)
            if digits != (card.sha256 or digits):
                raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {digits[:12]}...)")
            _loaded[facts] = Scorer(path, digits, card, runtime, options=options)
        return _loaded[facts]


def _check_options(
    name: str, card: Card, crop: str | None, pooling: str | None, longer_side: int | None, six_crops: bool
) -> None:
    """Raise `UsageError` if a model cannot see pictures so."""
    whole, size = card.preprocessing.kind == "resize", card.preprocessing.size
    for what, value in (("crop", crop), ("pooling", pooling), ("longer side", longer_side)):
        if whole and value is not None:
            raise UsageError(f"{name} sees whole pictures, so the {what} {value} does not apply")
    if six_crops and not whole:
        raise UsageError(f"{name} sees patches, so six crops do not apply")
    for what, value, known in (("crop", crop, CROPS), ("pooling", pooling, POOLINGS)):
        if value is not None and value not in known:
            raise UsageError(f"{what} must be one of {', '.join(known)}, got {value!r}")
    if longer_side is not None and longer_side < size:
        raise UsageError(f"a longer side of {longer_side} pixels is smaller than a patch, which has {size}")


def scorer_of(model: Scorer | None, load: Callable[..., Scorer], head: str, options: Mapping[str, Any]) -> Scorer:
    """The model that a function such as `infer` scores with: the one that it was given, or the one that ships.

    Args:
        model: what `load` returned, or None.
        load: function that loads the weights that ship.
        head: see `load_scorer`.
        options: of `load`.

    Raises:
        UsageError: if there are a model and options, since a model has its own; or it is of another kind.
        TypeError: if the model is none.
        CardError, WeightsError, RuntimeUnavailable: see `load_scorer`.
    """
    if model is None:
        return load(**options)
    if not isinstance(model, Scorer):
        raise TypeError(f"model must be what load() returned, not {type(model).__name__}")
    if options:
        raise UsageError(f"a model has its own {' and '.join(options)}: give them to load(), or leave out the model")
    if model.card.head.kind != head:
        raise UsageError(f"{model.weights.name} is a {model.card.head.kind} model, but a {head} model is needed")
    return model

"""A model with its weights: picture -> `Prediction`.

    scorer = load_scorer("tid2013_regression")
    scorer.score("photo.jpg").score                 # six crops score
    for path, prediction in scorer.score_all(paths, workers=2): ...

A process loads a scorer once for the same arguments, and many threads may use it.
"""

import json
import math
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_for, card_of, sha256, weights_file
from iqa.environment import processors
from iqa.errors import CardError, ImageError, RuntimeUnavailable, UsageError
from iqa.images.geometry import CROPS, Geometry
from iqa.images.picture import Picture
from iqa.images.pooling import POOLINGS
from iqa.images.reading import ImageLike, in_memory
from iqa.labels.histograms import Score
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import Seen, View, look, predict, predict_in_batches
from iqa.scoring.messages import Answer
from iqa.scoring.pool import TIMEOUT, Workers
from iqa.scoring.runtimes import Network, open_network

_Image = TypeVar("_Image", bound=ImageLike)


class Scorer:
    """A model with its weights, ready to score.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` with its card beside it.
        crop: where a model of patches looks, a key of `iqa.images.geometry.CROPS`; None for `iqa.images.geometry.CROP`.
        head: "regression" or "histogram", the kind of model that the caller can use.
        cardless: the card of an `.hdf5` or `.h5` file of Keras 2, which has none; see `keras2_card`.
        six_crops: whether a model of whole pictures takes the mean over six views, which steadies its opinion.
        runtime: one of `iqa.scoring.runtimes.RUNTIMES`.
        threads: for a compiled runtime; None for all processors that this process may use.
        pooling: how the patches of a picture make its score, a key of `iqa.images.pooling.POOLINGS`; None for what the card
            says.
        view: pixels of the longer side to which a model of patches shrinks larger pictures; None to see them as they are.

    Attributes:
        card, geometry: what the model is and what it sees.
        weights, sha256: the file and its hash.
        recipe: what a worker process needs to score as this scorer does, as JSON holds it.

    Raises:
        CardError: if there is no such file, the card is missing or broken, its sha256 is another file's, or the model is of
            another kind.
        UsageError: if an argument is for another kind of model, or has a value that is none of those named.
        WeightsError: if the weights do not fit the network on the card.
        RuntimeUnavailable: if the runtime is not installed or disagrees with Keras.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        crop: str | None = None,
        head: str = "regression",
        cardless: Card | None = None,
        six_crops: bool = False,
        runtime: str = "auto",
        threads: int | None = None,
        pooling: str | None = None,
        view: int | None = None,
    ) -> None:
        path = weights_file(weights)
        self.card = card_for(path, cardless)
        if self.card.head.kind != head:
            raise CardError(f"{card_of(path)}: a {self.card.head.kind} model, but a {head} model is needed")
        _check_looks(path.name, self.card, crop, pooling, view, six_crops)
        self.sha256 = sha256(path)
        if self.sha256 != (self.card.sha256 or self.sha256):
            raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {self.sha256[:12]}...)")
        self.weights, self.geometry = path, Geometry.of(self.card, crop, six_crops, pooling, view)
        network = open_network(runtime, path, self.card, self.sha256, threads)
        self._networks, self._threads = {os.getpid(): network}, threads
        self._pools: dict[int, Workers] = {}
        self._locks: dict[int, threading.Lock] = {}
        self.recipe: dict[str, Any] = {
            "weights": str(path.resolve()),
            "sha256": self.sha256,
            "card": self.card.to_json(),
            "runtime": network.name,  # what "auto" chose here, not chosen again
            "looks": {"crop": self.geometry.crop, "six_crops": six_crops, "pooling": pooling, "view": view},
        }

    @property
    def network(self) -> Network:
        """What computes. A process that was forked opens it again, because a runtime's threads do not survive a fork.

        Raises:
            RuntimeUnavailable: if that cannot be done, as with Keras.
        """
        process = os.getpid()
        if process not in self._networks:
            if self.recipe["runtime"] == "keras":
                raise RuntimeUnavailable(
                    "Keras cannot score in a process that was forked after it was loaded: start the process by spawn or "
                    "forkserver, or choose another runtime"
                )
            self._networks[process] = open_network(
                self.recipe["runtime"], self.weights, self.card, self.sha256, self._threads
            )
        return self._networks[process]

    def _pool(self) -> Workers:
        """The workers for pictures that have a timeout; each process has its own."""
        process = os.getpid()
        with self._locks.setdefault(process, threading.Lock()):
            if process not in self._pools:
                self._pools[process] = Workers(self.recipe, processors())
                weakref.finalize(self, self._pools[process].close)
            return self._pools[process]

    def score(self, image: ImageLike | Picture, timeout: float | None = None) -> Prediction:
        """What the model says of a picture; see `ImageLike` for what a picture is.

        Give several models the same `Picture`, and it is decoded once for all that need it whole.

        Args:
            timeout: seconds that it may take. With it a worker process decodes the picture, so that one that crashes its
                decoder is an error like others; the worker stays for the next picture. Features are left out then.

        Raises:
            ImageError: if the picture cannot be read, is too small or takes too long, or the model's answer is not a finite
                number.
            UsageError: if there is a timeout for a PIL image or an array, whose decoder runs in this process or is done, or
                it is no number of seconds above 0.
            TypeError: if it is no picture.
        """
        check_timeout(timeout)
        if timeout is None:
            (prediction,) = predict(self.network, [look(self.geometry.patches, image)], self.geometry.weights)
        else:
            with _as_file(image) as path:
                prediction = self._take(self._pool().ask(path, timeout))
        if prediction.reason:
            raise ImageError(prediction.reason)
        return prediction

    def distribution(self, image: ImageLike | Picture, timeout: float | None = None) -> Score:
        """The distribution of votes that a model of histograms predicts, with its percentile; see `score`.

        Raises:
            ImageError, UsageError: see `score`.
        """
        return self.score(image, timeout).distribution_among(self.card.scale.population)

    def features(self, image: ImageLike) -> NDArray[np.float32]:
        """What the head of the network sees of a picture, float32 (n,); see `Prediction.features`.

        Raises:
            ImageError: see `score`.
        """
        features = self.score(image).features
        assert features is not None  # only workers leave them out
        return features

    def score_all(
        self,
        images: Iterable[_Image],
        batch_size: int = 1,
        workers: int | Workers = 0,
        timeout: float | None = None,
    ) -> Iterator[tuple[_Image, Prediction]]:
        """Score any number of pictures in their order; one that cannot be scored does not stop the others.

        Args:
            images: as for `score`, but with `workers` paths alone. They are taken as they are needed.
            batch_size: pictures that go through Keras at once. Compiled runtimes take one patch after the other.
            workers: how many processes decode, and score on a compiled runtime, so that a picture whose decoding crashes
                is an error like others; 0 does everything in this process. Or a pool of this scorer's `recipe` that runs
                already, which has its own timeout.
            timeout: seconds that a picture may take in a worker, 60 for None. Without it a single picture is decoded in
                this process: it is not worth a worker.

        Yields:
            (image, `Prediction`) for each picture; without features if a worker scored it.
        """
        images = iter(images)
        first = list(islice(images, 2 if workers else 0))
        every = chain(first, images)
        if not first or (len(first) < 2 and timeout is None):
            views = ((image, look(self.geometry.patches, image)) for image in every)
            yield from predict_in_batches(self.network, views, batch_size, self.geometry.weights)
        elif isinstance(workers, Workers):
            yield from self._score_in_pool(every, batch_size, workers)
        else:
            with Workers(self.recipe, workers, timeout or TIMEOUT) as pool:
                yield from self._score_in_pool(every, batch_size, pool)

    def _score_in_pool(self, images: Iterable[Any], batch_size: int, pool: Workers) -> Iterator[tuple[Any, Prediction]]:
        answers = pool.map(images)
        if self.network.name == "keras":
            views = ((image, _view_of(answer)) for image, answer in answers)
            yield from predict_in_batches(self.network, views, batch_size, self.geometry.weights)
        else:
            for image, answer in answers:
                yield image, self._take(answer)

    def _take(self, answer: Answer) -> Prediction:
        """What a worker's answer says of a picture."""
        if self.network.name == "keras":
            (prediction,) = predict(self.network, [_view_of(answer)], self.geometry.weights)
            return prediction
        return Prediction(answer.array, reason=answer.reason, warning=answer.warning)


def check_timeout(timeout: float | None) -> None:
    """Raise `UsageError` if a timeout is no number of seconds above 0, nor None."""
    if timeout is not None and not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
        raise UsageError(f"timeout must be a number of seconds above 0, got {timeout!r}")


def _check_looks(name: str, card: Card, crop: str | None, pooling: str | None, view: int | None, six_crops: bool) -> None:
    """Raise `UsageError` if a model cannot look at pictures so."""
    size, whole = card.preprocessing.size, card.preprocessing.kind == "resize"
    for what, value in (("crop", crop), ("pooling", pooling), ("view", view)):
        if whole and value is not None:
            raise UsageError(f"{name} sees whole pictures, so the {what} {value} does not apply")
    if six_crops and not whole:
        raise UsageError(f"{name} sees patches, so six crops does not apply")
    for what, value, known in (("crop", crop, CROPS), ("pooling", pooling, POOLINGS)):
        if value is not None and value not in known:
            raise UsageError(f"{what} must be one of {', '.join(known)}, got {value!r}")
    if view is not None and view < size:
        raise UsageError(f"a view of {view} pixels is smaller than a patch, which has {size}")


@contextmanager
def _as_file(image: ImageLike | Picture) -> Iterator[str | os.PathLike[str]]:
    """The path of an image, for a worker; the bytes of a file are written to a temporary one."""
    content = image if isinstance(image, Picture) else in_memory(image)
    if isinstance(content, str | os.PathLike):
        yield content
        return
    if not isinstance(content, bytes):
        raise UsageError("a timeout is for a path, the bytes of a file or a binary file, which a worker can decode")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        yield path


def _view_of(answer: Answer) -> View:
    """What a worker saw."""
    if answer.array is None:
        return Prediction(reason=answer.reason)
    return Seen(answer.array, answer.warning) if answer.warning else answer.array


# --- one scorer for the same arguments -------------------------------------------------------------------------------


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    scorer: Scorer | None = None


_slots: dict[tuple[Any, ...], _Slot] = {}
_slots_lock = threading.Lock()


def _renew_locks() -> None:
    """In a process that was just forked: threads that held a lock do not exist here."""
    global _slots_lock
    _slots_lock = threading.Lock()
    for slot in _slots.values():
        slot.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def load_scorer(
    weights: str | os.PathLike[str],
    crop: str | None = None,
    head: str = "regression",
    cardless: Card | None = None,
    six_crops: bool = False,
    runtime: str = "auto",
    pooling: str | None = None,
    view: int | None = None,
) -> Scorer:
    """The `Scorer` of these arguments, which this process loads once, even if many threads ask for it at the same time.

    The same file is the same scorer, whether it is named ("ava_vanilla") or given by any of its paths. A file that has
    changed since is loaded again.

    Raises:
        CardError, UsageError, WeightsError, RuntimeUnavailable: see `Scorer`.
    """
    path = weights_file(weights)
    found = path.stat()
    card = json.dumps(card_for(path, cardless).to_json(), sort_keys=True)
    key = (path.resolve(), found.st_size, found.st_mtime_ns, card, crop, head, six_crops, runtime, pooling, view)
    with _slots_lock:
        slot = _slots.setdefault(key, _Slot())
    with slot.lock:
        if slot.scorer is None:
            slot.scorer = Scorer(path, crop, head, cardless, six_crops, runtime, pooling=pooling, view=view)
        return slot.scorer


def scorer_of(model: Scorer | None, head: str, load: Callable[..., Scorer], **options: Any) -> Scorer:
    """The model that a function such as `infer` scores with: the one that it was given, or the one that ships.

    Args:
        model: what `load` returned, or None.
        head: "histogram" or "regression", the kind of model that the function can use.
        load: function that loads the weights that ship.
        options: of `load`, None for its own.

    Raises:
        UsageError: if there are a model and options, since a model has its own; or it is of another kind.
        TypeError: if the model is none.
        CardError, WeightsError, RuntimeUnavailable: see `Scorer`.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if model is None:
        return load(**given)
    if not isinstance(model, Scorer):
        raise TypeError(f"model must be what load() returned, not {type(model).__name__}")
    if given:
        raise UsageError(f"a model has its own {' and '.join(given)}: give them to load(), or leave out the model")
    if model.card.head.kind != head:
        raise UsageError(f"{model.weights.name} is a {model.card.head.kind} model, but a {head} model is needed")
    return model

"""A model with its weights: picture -> `Prediction`.

scorer = load_scorer("tid2013_regression")
scorer.score("photo.jpg").score                 # a mean opinion score
for path, prediction in scorer.score_all(paths, workers=2): ...
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_for, card_of, sha256, weights_file
from iqa.errors import CardError, ImageError, UsageError
from iqa.images.geometry import Geometry
from iqa.images.picture import Picture
from iqa.images.reading import ImageLike
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import Seen, View, look, predict, predict_in_batches
from iqa.scoring.pool import Answer, Workers
from iqa.scoring.runtimes import open_network

_Image = TypeVar("_Image", bound=ImageLike)


class Scorer:
    """A model with its weights, ready to score.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` with its card beside it.
        crop: where a model of patches looks, a key of `iqa.images.geometry.CROPS`; None for `iqa.images.geometry.CROP`.
        head: "regression" or "histogram", the kind of model that the caller can use.
        cardless: the card of an `.hdf5` or `.h5` file of Keras 2, which has none; see `keras2_card`.
        mean_opinion: whether a model of whole pictures takes the mean over six views, which steadies its opinion.
        runtime: one of `iqa.scoring.runtimes.RUNTIMES`.
        threads: for a compiled runtime; None for all processors that this process may use.
        pooling: how the patches of a picture make its score, a key of `iqa.images.pooling.POOLINGS`; None for what the card
            says.
        view: pixels of the longer side to which a model of patches shrinks larger pictures; None to see them as they are.

    Attributes:
        card, geometry: what the model is and what it sees.
        weights, sha256: the file and its hash.
        network: what computes, see `iqa.scoring.runtimes.Network`.
        recipe: what a worker process needs to score as this scorer does, as JSON holds it.

    Raises:
        CardError: if there is no such file, the card is missing or broken, its sha256 is another file's, or the model is of
            another kind.
        UsageError: if `crop`, `pooling`, `view` or `mean_opinion` is for another kind of model.
        WeightsError: if the weights do not fit the network on the card.
        RuntimeUnavailable: if the runtime is not installed or disagrees with Keras.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        crop: str | None = None,
        head: str = "regression",
        cardless: Card | None = None,
        mean_opinion: bool = False,
        runtime: str = "auto",
        threads: int | None = None,
        pooling: str | None = None,
        view: int | None = None,
    ) -> None:
        path = weights_file(weights)
        self.card = card_for(path, cardless)
        if self.card.head.kind != head:
            raise CardError(f"{card_of(path)}: a {self.card.head.kind} model, but a {head} model is needed")
        whole = self.card.geometry.kind == "resize"
        for name, value in (("crop", crop), ("pooling", pooling), ("view", view)):
            if whole and value is not None:
                raise UsageError(f"{path.name} sees whole pictures, so the {name} {value} does not apply")
        if mean_opinion and not whole:
            raise UsageError(f"{path.name} sees patches, so a mean opinion does not apply")
        if view is not None and view < self.card.geometry.size:
            raise UsageError(f"a view of {view} pixels is smaller than a patch, which has {self.card.geometry.size}")
        self.sha256 = sha256(path)
        if self.sha256 != (self.card.sha256 or self.sha256):
            raise CardError(f"{path}: not the weights that {card_of(path).name} describes (sha256 {self.sha256[:12]}...)")
        self.weights, self.geometry = path, Geometry.of(self.card, crop, mean_opinion, pooling, view)
        self.network = open_network(runtime, path, self.card, self.sha256, threads)
        self.recipe: dict[str, Any] = {
            "weights": str(path.resolve()),
            "sha256": self.sha256,
            "card": self.card.to_json(),
            "runtime": self.network.name,  # what "auto" chose here, not chosen again
            "looks": {"crop": self.geometry.crop, "mean_opinion": mean_opinion, "pooling": pooling, "view": view},
        }

    def score(self, image: ImageLike | Picture) -> Prediction:
        """What the model says of a picture; see `ImageLike` for what a picture is.

        Give several models the same `Picture`, and it is decoded once for all that need it whole.

        Raises:
            ImageError: if the picture cannot be read or is too small, or the model's answer is not a finite number.
        """
        (prediction,) = predict(self.network, [look(self.geometry.patches, image)], self.geometry.weights)
        if prediction.reason:
            raise ImageError(prediction.reason)
        return prediction

    def features(self, image: ImageLike) -> NDArray[np.float32]:
        """What the head of the network sees of a picture, float32 (n,); see `Prediction.features`.

        Raises:
            ImageError: see `score`.
        """
        features = self.score(image).features
        assert features is not None  # only workers leave them out
        return features

    def score_all(
        self, images: Iterable[_Image], batch_size: int = 1, workers: int | Workers = 0
    ) -> Iterator[tuple[_Image, Prediction]]:
        """Score any number of pictures in their order; one that cannot be scored does not stop the others.

        Args:
            images: as for `score`, but with `workers` paths alone. They are taken as they are needed.
            batch_size: pictures that go through Keras at once. Compiled runtimes take one patch after the other.
            workers: how many processes decode, and score on a compiled runtime, so that a picture whose decoding crashes
                is an error like others; 0 does everything in this process. A single picture is not worth a process. Or
                a pool of this scorer's `recipe` that runs already.

        Yields:
            (image, `Prediction`) for each picture; without features if a worker scored it.
        """
        images = iter(images)
        first = list(islice(images, 2 if workers else 0))
        every = chain(first, images)
        if len(first) < 2:
            views = ((image, look(self.geometry.patches, image)) for image in every)
            yield from predict_in_batches(self.network, views, batch_size, self.geometry.weights)
        elif isinstance(workers, Workers):
            yield from self._score_in_pool(every, batch_size, workers)
        else:
            with Workers(self.recipe, workers) as pool:
                yield from self._score_in_pool(every, batch_size, pool)

    def _score_in_pool(self, images: Iterable[Any], batch_size: int, pool: Workers) -> Iterator[tuple[Any, Prediction]]:
        answers = pool.map(images)
        if self.network.name == "keras":
            views = ((image, _view_of(answer)) for image, answer in answers)
            yield from predict_in_batches(self.network, views, batch_size, self.geometry.weights)
        else:
            for image, answer in answers:
                yield image, Prediction(answer.array, reason=answer.reason, warning=answer.warning)


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


def load_scorer(
    weights: str | os.PathLike[str],
    crop: str | None = None,
    head: str = "regression",
    cardless: Card | None = None,
    mean_opinion: bool = False,
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
    key = (path.resolve(), found.st_size, found.st_mtime_ns, card, crop, head, mean_opinion, runtime, pooling, view)
    with _slots_lock:
        slot = _slots.setdefault(key, _Slot())
    with slot.lock:
        if slot.scorer is None:
            slot.scorer = Scorer(path, crop, head, cardless, mean_opinion, runtime, pooling=pooling, view=view)
        return slot.scorer

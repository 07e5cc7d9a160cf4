"""Two models that look at one picture: beauty and technical quality, from one reading of the file.

    pair = Pair(load_scorer("ava_vanilla", head="histogram"), load_scorer("tid2013_regression"))
    for path, prediction in pair.score_all(paths, workers=2):
        opinion = Opinion.of(prediction)        # opinion.beauty.mean, opinion.technical, opinion.width ...

What both say travels as one `Prediction`, so that workers and the journal treat it like any other.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.cards import Card
from iqa.errors import ImageError
from iqa.images.capture import read_time
from iqa.images.geometry import Geometry
from iqa.images.picture import Picture
from iqa.images.thumbnails import Thumbnails
from iqa.labels.faults import KINDS, Fault, main_fault
from iqa.labels.histograms import Score
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import look, predict
from iqa.scoring.pool import TIMEOUT, Workers
from iqa.scoring.runtimes import Network, open_network
from iqa.scoring.scorer import Scorer

_BINS = 10

# Before the outputs: whether each model says something, width and height, day and second of the capture (-1: unknown),
# whether faults are known. After the outputs: the logits of faults, then features if they are wanted.
_HEAD = 7
_FAULTS = _BINS + 1
_FEATURES = _FAULTS + len(KINDS)
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Opinion:
    """What both models say of a picture.

    Attributes:
        beauty: the distribution of the votes; None if the model cannot judge the picture.
        technical: the score of technical quality; None if the model cannot judge the picture.
        width, height: pixels of the picture when it stands upright; 0 if they are not known.
        taken: local time of the capture, if the file says it.
        fault: what is wrong with it most of all, if the technical model tells faults apart and finds one.
        features: of the model of beauty, float32 (n,), if they were asked for.
    """

    beauty: Score | None
    technical: float | None
    width: int
    height: int
    taken: datetime | None = None
    fault: Fault | None = None
    features: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, prediction: Prediction, population: str | None = None) -> "Opinion":
        """The opinion in a prediction of `Pair.score_all` that has an output.

        Args:
            population: that the percentile of beauty compares with; see `iqa.cards.Scale`.
        """
        assert prediction.output is not None, prediction.reason
        head, outputs = prediction.output[:_HEAD], prediction.output[_HEAD:]
        features = outputs[_FEATURES:]
        return cls(
            beauty=Prediction(outputs[:_BINS]).distribution_among(population) if head[0] else None,
            technical=float(outputs[_BINS]) if head[1] else None,
            width=int(head[2]),
            height=int(head[3]),
            taken=_EPOCH + timedelta(float(head[4]), float(head[5])) if head[4] >= 0 else None,
            fault=main_fault(outputs[_FAULTS:_FEATURES]) if head[6] else None,
            features=features if len(features) else None,
        )


class Pair:
    """The model of beauty and that of technical quality.

    Args:
        beauty: of histograms.
        technical: of scores.
        features: whether features are wanted as well, of which bursts are made.

    Attributes:
        recipe: what a worker process needs, as JSON holds it.
    """

    def __init__(self, beauty: Scorer, technical: Scorer, features: bool = False) -> None:
        self.beauty, self.technical = beauty, technical
        count = len(beauty.network(np.zeros((1, *[beauty.geometry.size] * 2, 3), np.uint8))[1][0]) if features else 0
        # Workers answer with so many numbers.
        self.recipe: dict[str, Any] = {
            "pair": [beauty.recipe, technical.recipe],
            "features": count,
            "length": _HEAD + _FEATURES + count,
        }

    def score_all(
        self,
        paths: Iterable[Path],
        batch_size: int = 1,
        workers: int | Workers = 0,
        timeout: float | None = None,
        thumbnails: Thumbnails | None = None,
    ) -> Iterator[tuple[Path, Prediction]]:
        """Score any number of pictures in their order; one that cannot be scored does not stop the others.

        Args:
            paths: of the pictures, taken as they are needed.
            batch_size: not used, pictures go through one by one; see `Scorer.score_all`.
            workers, timeout: see `Scorer.score_all`. Keras scores in this process, without workers.
            thumbnails: where to keep one of each picture; a pool that runs already keeps none.

        Yields:
            (path, `Prediction`), of which `Opinion.of` makes what both models say. If only one of them can judge a picture,
            the warning says why the other cannot.
        """
        paths = iter(paths)
        first = list(islice(paths, 2))
        every = chain(first, paths)
        alone = len(first) < 2 and timeout is None
        if not workers or not first or alone or "keras" in (self.beauty.network.name, self.technical.network.name):
            looks = [(scorer.geometry, scorer.network) for scorer in (self.beauty, self.technical)]
            yield from ((path, judge(path, looks, self.recipe["features"], thumbnails)) for path in every)
        elif isinstance(workers, Workers):
            yield from _take(workers, every)
        else:
            kept = {"thumbnails": thumbnails.recipe} if thumbnails else {}
            with Workers(self.recipe | kept, workers, timeout or TIMEOUT) as pool:
                yield from _take(pool, every)


def _take(pool: Workers, paths: Iterable[Path]) -> Iterator[tuple[Path, Prediction]]:
    for path, answer in pool.map(paths):
        yield path, Prediction(answer.array, reason=answer.reason, warning=answer.warning)


def open_pair(recipe: dict[str, Any]) -> Callable[[list[str]], Iterable[Prediction]]:
    """What a worker does with the recipe of a `Pair`: paths -> predictions."""
    looks = []
    for part in recipe["pair"]:
        card = Card.from_json(part["card"])
        network = open_network(part["runtime"], Path(part["weights"]), card, part["sha256"], threads=1)
        looks.append((Geometry.of(card, **part["looks"]), network))
    kept = Thumbnails(**recipe["thumbnails"]) if "thumbnails" in recipe else None
    return lambda paths: [judge(path, looks, recipe["features"], kept) for path in paths]


def _whole_of(picture: Picture) -> Image.Image | NDArray[np.uint8] | None:
    """All of its pixels; None of a picture that was read in a smaller size and cannot be read whole."""
    try:
        return picture.whole([])
    except (ImageError, MemoryError):
        return None


def _size_of(whole: Image.Image | NDArray[np.uint8] | None) -> tuple[int, int]:
    """(width, height); (0, 0) if they are not known."""
    if whole is None:
        return 0, 0
    return (whole.shape[1], whole.shape[0]) if isinstance(whole, np.ndarray) else whole.size


def judge(
    path: str | os.PathLike[str],
    looks: list[tuple[Geometry, Network]],
    features: int = 0,
    thumbnails: Thumbnails | None = None,
) -> Prediction:
    """What both models say of a picture, as `Opinion.of` reads it.

    Args:
        path: of the picture.
        looks: what the model of beauty sees and what computes it, and the same of the technical model.
        features: how many the model of beauty has, if they are wanted as well; otherwise 0.
        thumbnails: where to keep one of the picture.
    """
    picture = Picture(path, once=True)
    # The technical model first: it needs the whole picture, which the other one may then use.
    technical, beauty = (
        next(predict(network, [look(geometry.patches, picture)], geometry.weights)) for geometry, network in reversed(looks)
    )
    texts = [text for said in (beauty, technical) for text in (said.reason, said.warning) if text]
    notes = dict.fromkeys(note for text in texts for note in text.split("; "))  # both may say the same
    if beauty.output is None and technical.output is None:
        return Prediction(reason="; ".join(notes))
    taken = read_time(path)
    since = taken - _EPOCH if taken else timedelta(-1)
    whole = _whole_of(picture)
    if thumbnails and whole is not None:
        thumbnails.keep(path, whole)
    width, height = _size_of(whole)
    known = [float(said.output is not None) for said in (beauty, technical)]
    second, faulty = since.seconds + since.microseconds / 1e6, float(technical.faults is not None)
    head = np.array([*known, width, height, since.days, second, faulty], np.float32)
    parts = (beauty.output, _BINS), (technical.output, 1), (technical.faults, len(KINDS)), (beauty.features, features)
    outputs = [np.zeros(length, np.float32) if part is None else part[:length] for part, length in parts]
    return Prediction(np.concatenate([head, *outputs]), warning="; ".join(notes) or None)

"""Mean opinion scores of your own pictures, on whatever scale: a CSV with a path and a score a line.

images = locate_ratings(read_scores("scores.csv", (0, 100)), "photos")
"""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from iqa.errors import LabelError
from iqa.labels.histograms import centres, normalise
from iqa.labels.rating_files import GROUP_COLUMN, Entry, check_name, check_scale, read_csv

#: The scores that the TID2013 model predicts.
TID2013 = (0.0, 9.0)


@dataclass(frozen=True)
class ScoredImage:
    """An image with six crops score.

    Attributes:
        name: the path as it stands in the CSV.
        mos: on the scale of the network that is to predict it.
        path: the file, once it is located.
        group: what must not be torn apart by a split, such as a scene or a photographer; None if the image stands alone.
    """

    name: str
    mos: float
    path: Path | None = None
    group: str | None = None

    @property
    def label(self) -> float:
        """What a network is to predict: the score."""
        return self.mos


def read_scores(
    file: str | PathLike[str],
    scale: tuple[float, float],
    group: str = GROUP_COLUMN,
    onto: tuple[float, float] = TID2013,
) -> list[ScoredImage]:
    """Read scores from a CSV; `iqa.labels.ratings.read_ratings` says how its columns are found.

    If there is a column of scores, it is used, and columns of votes are ignored. Without one, the mean of the votes is the
    score.

    Args:
        scale: the lowest and the highest score that people could give, such as (0, 100).
        group: the column that keeps images together in `iqa.labels.splits`.
        onto: the scale of the network; scores are mapped to it linearly.

    Returns:
        The images in the order of the file, without paths.

    Raises:
        LabelError: naming the file, the entry and what is wrong with it.
    """
    check_scale(scale)
    if Path(file).suffix.lower() != ".csv":
        raise LabelError(f"{file}: scores are read from a .csv")
    images: list[ScoredImage] = []
    names: set[str] = set()
    try:
        for entry in read_csv(file, scale, group, scores_first=True):
            share = (_score_of(file, entry, scale) - scale[0]) / (scale[1] - scale[0])
            check_name(file, entry, names)
            images.append(ScoredImage(entry.name, onto[0] + (onto[1] - onto[0]) * share, group=entry.group))
    except UnicodeDecodeError:
        raise LabelError(f"{file}: not a text file in UTF-8") from None
    if not images:
        raise LabelError(f"{file}: it holds no scores")
    return images


def _score_of(file: str | PathLike[str], entry: Entry, scale: tuple[float, float]) -> float:
    """The score of an entry, or the mean of its votes, on the scale of the file."""
    lowest, highest = scale
    if entry.votes is None:
        score = float("nan") if entry.score is None else entry.score
    else:
        try:
            shares = normalise(np.array([float(vote) for vote in entry.votes]))
        except (TypeError, ValueError, OverflowError) as error:
            raise LabelError(f"{file}, {entry.place}: {error}") from None
        if len(shares) != highest - lowest + 1:
            raise LabelError(f"{file}, {entry.place}: {len(shares)} votes instead of {highest - lowest + 1:g}")
        score = min(max(float(shares @ centres(len(shares), lowest, highest)), lowest), highest)
    if not lowest <= score <= highest:
        raise LabelError(f"{file}, {entry.place}: a score of {score:g} is not within {lowest:g}-{highest:g}")
    return score


def describe_range(images: Iterable[ScoredImage], scale: tuple[float, float], onto: tuple[float, float] = TID2013) -> str:
    """What the scores of images span on their own scale, in words: a scale that was mistyped shows here.

    >>> describe_range([ScoredImage("a.jpg", 1.8), ScoredImage("b.jpg", 4.5)], (0, 100))
    'scores from 20 to 50 on a scale of 0-100'
    """
    lowest, highest = scale
    scores = [lowest + (image.mos - onto[0]) / (onto[1] - onto[0]) * (highest - lowest) for image in images]
    return f"scores from {min(scores):.4g} to {max(scores):.4g} on a scale of {lowest:g}-{highest:g}"

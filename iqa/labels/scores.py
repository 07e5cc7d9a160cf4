"""Mean opinion scores of your own pictures, on whatever scale: a table with a path and a score a line.

images = locate_ratings(read_scores("scores.csv", (0, 100)), "photos")
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from iqa.errors import LabelError
from iqa.labels.histograms import normalise
from iqa.labels.rating_files import GROUP_COLUMN, read_entries
from iqa.labels.ratings import RatedImage

#: The scores that the TID2013 model predicts.
TID2013 = (0.0, 9.0)


def read_scores(
    file: str | PathLike[str],
    scale: tuple[float, float],
    group: str = GROUP_COLUMN,
    onto: tuple[float, float] = TID2013,
) -> list[RatedImage]:
    """Read scores from a table; `iqa.labels.ratings.read_ratings` says how its columns are found.

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
    if Path(file).suffix.lower() != ".csv":
        raise LabelError(f"{file}: scores are read from a .csv")
    entries = read_entries(file, scale, group, scores_first=True)
    if entries[0].votes is None:
        shares = (np.array([entry.score for entry in entries]) - scale[0]) / (scale[1] - scale[0])
    else:
        votes = normalise([entry.votes or () for entry in entries])
        shares = np.clip(votes @ np.linspace(0, 1, votes.shape[1]), 0, 1)
    labels = (onto[0] + (onto[1] - onto[0]) * shares).tolist()
    return [RatedImage(entry.name, label, group=entry.group) for entry, label in zip(entries, labels, strict=True)]


def describe_range(images: Iterable[RatedImage], scale: tuple[float, float], onto: tuple[float, float] = TID2013) -> str:
    """What the scores of images span on their own scale, in words: a scale that was mistyped shows here.

    >>> describe_range([RatedImage("a.jpg", 1.8), RatedImage("b.jpg", 4.5)], (0, 100))
    'scores from 20 to 50 on a scale of 0-100'
    """
    lowest, highest = scale
    scores = [lowest + (image.label - onto[0]) / (onto[1] - onto[0]) * (highest - lowest) for image in images]
    return f"scores from {min(scores):.4g} to {max(scores):.4g} on a scale of {lowest:g}-{highest:g}"

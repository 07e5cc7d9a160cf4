"""Mean opinion scores of your own pictures, on whatever scale: a table with a path and a score a line."""

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
    file: str | PathLike[str], scale: tuple[float, float], group: str = GROUP_COLUMN, onto: tuple[float, float] = TID2013
) -> list[RatedImage]:
    """Read scores from a .csv in the order of the file; without a column of scores, the mean of the votes is the score.

    Scores from the lowest to the highest of `scale`, such as (0, 100), are mapped linearly to `onto`, the scale of the
    network. For columns, `group` and the `LabelError` see `iqa.labels.ratings.read_ratings`.
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

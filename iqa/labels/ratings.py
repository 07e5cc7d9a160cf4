"""Histograms of people's votes 1-10, of AVA's photographs and of your own pictures.

images = locate_ratings(read_ratings("labels.csv"), "photos")
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, text_to_name
from iqa.labels.histograms import centres, mean, normal_histogram, normalise, rebin
from iqa.labels.rating_files import (
    BINS,
    GROUP_COLUMN,
    SCALE,
    Entry,
    check_name,
    check_scale,
    read_ava_txt,
    read_csv,
    read_json,
    shown,
)
from iqa.labels.scores import ScoredImage

#: The mean over AVA of the standard deviation of an image's votes (Murray, Marchesotti, Perronnin, CVPR 2012, fig. 4).
TYPICAL_STD = 1.4

_Image = TypeVar("_Image", "RatedImage", ScoredImage)

#: Entries whose histograms are computed at once.
_AT_ONCE = 4096


@dataclass(frozen=True)
class RatedImage:
    """An image with people's opinion of it.

    Attributes:
        name: AVA's image id, or the path as it stands in a CSV.
        histogram: 10 shares of the votes 1-10 that add to 1.
        path: the file, once it is located.
        group: what must not be torn apart by a split, such as a scene or a photographer; None if the image stands alone.
    """

    name: str
    histogram: tuple[float, ...]
    path: Path | None = None
    group: str | None = None

    @property
    def mean(self) -> float:
        """The mean of the votes, 1-10."""
        return float(mean(np.array(self.histogram)))

    @property
    def label(self) -> tuple[float, ...]:
        """What a network is to predict: the histogram."""
        return self.histogram


def read_ratings(
    file: str | PathLike[str], scale: tuple[float, float] = SCALE, group: str = GROUP_COLUMN
) -> list[RatedImage]:
    """Read opinion histograms in any of their forms, which are recognised by the suffix of the file.

    `.json`: idealo's `[{"image_id": "953619", "label": [ten votes]}, ...]`.

    `.txt`: the raw `AVA.txt`, whose columns are a number, the image id, ten votes, two tags and a challenge.

    `.csv`: the heading names the columns. One is `path`, `image_id`, `image_name` or `name`. The vote counts are `1` to
    `10`, or `c1` to `c10`, a score is `score`, `mean` or `mos`. If a file has both, the votes are used, and the score in
    rows that leave all votes empty. A score becomes the normal histogram around it with AVA's typical deviation of 1.4.
    `group` is kept; other columns are ignored. Without a heading the columns are the path and a score, or the path and the
    vote counts. Columns are separated by commas, or by semicolons or tabs, where numbers may have decimal commas.

    Args:
        scale: the lowest and the highest vote or score in the file, such as (1, 7). Both are mapped linearly to 1-10; each
            vote then goes to the two nearest bins, so that the mean is mapped exactly.
        group: the column of a CSV that keeps images together in `iqa.labels.splits`.

    Returns:
        The images in the order of the file, without paths.

    Raises:
        LabelError: naming the file, the entry and what is wrong with it.
    """
    check_scale(scale)
    readers = {".json": read_json, ".txt": read_ava_txt, ".csv": read_csv}
    reader = readers.get(Path(file).suffix.lower())
    if reader is None:
        raise LabelError(f"{file}: ratings are .json, .txt (AVA's) or .csv")
    images: list[RatedImage] = []
    names: set[str] = set()
    try:
        for entries in _in_portions(reader(file, scale, group)):
            for entry, histogram in zip(entries, _histograms(file, entries, scale), strict=True):
                check_name(file, entry, names)
                images.append(RatedImage(entry.name, histogram, group=entry.group))
    except UnicodeDecodeError:
        raise LabelError(f"{file}: not a text file in UTF-8") from None
    if not images:
        raise LabelError(f"{file}: it holds no ratings")
    return images


def _in_portions(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    portion = []
    for entry in entries:
        portion.append(entry)
        if len(portion) == _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


def _histograms(
    file: str | PathLike[str], entries: Sequence[Entry], scale: tuple[float, float]
) -> Iterable[tuple[float, ...]]:
    """10 shares of the votes 1-10 for each entry."""
    try:
        voted = [number for number, entry in enumerate(entries) if entry.votes is not None]
        scored = [number for number, entry in enumerate(entries) if entry.votes is None]
        shares = np.empty((len(entries), BINS))
        if voted:
            votes = np.array([[float(vote) for vote in entries[number].votes or ()] for number in voted])
            shares[voted] = _of_votes(votes, scale)
        if scored:
            shares[scored] = _of_scores(np.array([entries[number].score for number in scored], np.float64), scale)
        return map(tuple, shares.tolist())
    except (TypeError, ValueError, OverflowError):
        return [_histogram(file, entry, scale) for entry in entries]  # one of them is wrong: say which


def _histogram(file: str | PathLike[str], entry: Entry, scale: tuple[float, float]) -> tuple[float, ...]:
    try:
        if entry.votes is None:
            return tuple(_of_scores(np.array(entry.score, np.float64), scale).tolist())
        return tuple(_of_votes(np.array([float(vote) for vote in entry.votes]), scale).tolist())
    except (TypeError, ValueError, OverflowError) as error:
        raise LabelError(f"{file}, {entry.place}: {shown(str(error), 200)}") from None


def _of_scores(scores: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    lowest, highest = scale
    outside = scores[~((lowest <= scores) & (scores <= highest))]
    if outside.size:
        raise LabelError(f"a score of {outside.flat[0]:g} is not within {lowest:g}-{highest:g}")
    return normal_histogram(_to_ten(scores, scale), TYPICAL_STD, centres(BINS))


def _of_votes(votes: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    lowest, highest = scale
    shares = normalise(votes)
    if shares.shape[-1] != highest - lowest + 1:
        raise LabelError(f"{shares.shape[-1]} votes instead of {highest - lowest + 1:g}")
    if scale == SCALE:
        return shares
    return rebin(shares, _to_ten(centres(shares.shape[-1], lowest, highest), scale), centres(BINS))


def _to_ten(score: Any, scale: tuple[float, float]) -> Any:
    """A score, or an array of them, mapped linearly from a scale to 1-10."""
    return 1 + (BINS - 1) * (score - scale[0]) / (scale[1] - scale[0])


def locate_ratings(images: Sequence[_Image], folder: str | PathLike[str]) -> list[_Image]:
    """Find the file of each image, rated or scored: `folder`/NAME as it stands, or NAME with a suffix of image files.

    If there are several, the suffix that comes first in `iqa.files.IMAGE_SUFFIXES` is taken. A name that is not found is
    looked for as `iqa.files.name_to_text` would have written it.

    Returns:
        The images in their order, with the path of each that was found.

    Raises:
        LabelError: if a name leads out of the folder.
    """
    folder = Path(folder)
    root = os.path.join(os.path.abspath(folder), "")
    order = {suffix: number for number, suffix in enumerate(IMAGE_SUFFIXES)}
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries if entry.is_file()}
    files: dict[str, tuple[int, str]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if (rank := order.get(suffix.lower())) is not None:
            files[stem] = min(files.get(stem, (rank, name)), (rank, name))

    def find(name: str) -> Path | None:
        whole = os.path.join(root, name)
        if (os.sep in name or name in ("..", ".")) and not os.path.normpath(whole).startswith(root):
            raise LabelError(f"{shown(name)}: the name leads out of {folder}")
        if name in names:
            return folder / name
        if name in files:
            return folder / files[name][1]
        # In a folder below, or in another case where the file system knows none.
        return folder / name if os.path.isfile(whole) else None

    return [
        replace(image, path=find(image.name) or ("\\" in image.name and find(text_to_name(image.name))) or None)
        for image in images
    ]


def oversample(images: Sequence[RatedImage], below: float = 4.0, above: float = 7.0, times: int = 8) -> list[RatedImage]:
    """Repeat images whose mean lies below or above: rare opinions, which a network otherwise never predicts."""
    return [copy for image in images for copy in [image] * (times if not below <= image.mean <= above else 1)]

"""Histograms of people's votes 1-10, of AVA's photographs and of your own pictures, and splits of them.

images = locate_ratings(read_ratings("labels.csv"), "photos")
train, test = split_by_group(images, test_share=0.2, seed=0)
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, text_to_name
from iqa.labels.histograms import centres, mean, normal_histogram, normalise, rebin
from iqa.labels.rating_files import BINS, GROUP_COLUMN, SCALE, Entry, is_text, read_ava_txt, read_csv, read_json, shown

#: The mean over AVA of the standard deviation of an image's votes (Murray, Marchesotti, Perronnin, CVPR 2012, fig. 4).
TYPICAL_STD = 1.4

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
        group: the column of a CSV that keeps images together in `split_by_group`.

    Returns:
        The images in the order of the file, without paths.

    Raises:
        LabelError: naming the file, the entry and what is wrong with it.
    """
    lowest, highest = scale
    if not (np.isfinite(scale).all() and lowest < highest):
        raise LabelError(f"a scale needs a lowest score below its highest, got {lowest:g}-{highest:g}")
    readers = {".json": read_json, ".txt": read_ava_txt, ".csv": read_csv}
    reader = readers.get(Path(file).suffix.lower())
    if reader is None:
        raise LabelError(f"{file}: ratings are .json, .txt (AVA's) or .csv")
    images: list[RatedImage] = []
    names: set[str] = set()
    try:
        for entries in _in_portions(reader(file, scale, group)):
            for entry, histogram in zip(entries, _histograms(file, entries, scale), strict=True):
                _check_name(file, entry, names)
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


def _check_name(file: str | PathLike[str], entry: Entry, names: set[str]) -> None:
    """Refuse a name that was there before, and one that no file can have."""
    name = entry.name
    if name in names:
        raise LabelError(f"{file}, {entry.place}: {shown(name)} appears twice")
    names.add(name)
    if "\0" in name or len(name) > 4096 or not is_text(name):
        raise LabelError(f"{file}, {entry.place}: no file can have the name {shown(name)}")


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


def locate_ratings(images: Sequence[RatedImage], folder: str | PathLike[str]) -> list[RatedImage]:
    """Find the file of each image: `folder`/NAME as it stands, or NAME with a suffix of image files.

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


def check_apart(train: Sequence[RatedImage], test: Sequence[RatedImage]) -> None:
    """Make sure that no image is in both splits.

    Raises:
        LabelError: naming some that are.
    """
    both = sorted({image.name for image in train} & {image.name for image in test})
    if both:
        raise LabelError(f"images in both splits ({len(both)}): {', '.join(both[:5])}{' ...' * (len(both) > 5)}")


def split_by_group(images: Sequence[RatedImage], test_share: float, seed: int) -> tuple[list[RatedImage], list[RatedImage]]:
    """Split at random into (train, test), without tearing groups apart; an image without a group is a group of its own.

    Args:
        test_share: about this share of the images is to test on, above 0 and below 1. Neither split is empty.
        seed: the same seed and images give the same split, whatever the order of the images.

    Returns:
        Both in the order of the images.

    Raises:
        LabelError: if the images are all of one group, or the share is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise LabelError(f"the share to test on must be above 0 and below 1, got {test_share:g}")
    sizes: dict[tuple[bool, str], int] = {}
    for image in images:
        sizes[_group_of(image)] = sizes.get(_group_of(image), 0) + 1
    if len(sizes) < 2:
        raise LabelError("images to split must be of two groups or more")
    order = sorted(sizes)
    order = [order[index] for index in np.random.default_rng(seed).permutation(len(order))]
    wanted, count = test_share * len(images), 0
    test: set[tuple[bool, str]] = set()
    for group in order:
        # Taken if that brings the number of images nearer to what is wanted, and another group is left to train on.
        if count + sizes[group] / 2 <= wanted and len(test) < len(order) - 1:
            test.add(group)
            count += sizes[group]
    test = test or {min(order, key=lambda group: sizes[group])}
    return (
        [image for image in images if _group_of(image) not in test],
        [image for image in images if _group_of(image) in test],
    )


def _group_of(image: RatedImage) -> tuple[bool, str]:
    return (True, image.name) if image.group is None else (False, image.group)


def oversample(images: Sequence[RatedImage], below: float = 4.0, above: float = 7.0, times: int = 8) -> list[RatedImage]:
    """Repeat images whose mean lies below or above: rare opinions, which a network otherwise never predicts."""
    return [copy for image in images for copy in [image] * (times if not below <= image.mean <= above else 1)]

"""What people said of AVA's photographs and of your own pictures: histograms of votes 1-10, or mean opinion scores."""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, printable, text_to_name
from iqa.labels.histograms import centres, mean, normal_histogram, normalise, rebin
from iqa.labels.rating_files import BINS, GROUP_COLUMN, SCALE, read_entries, shown

#: The mean over AVA of the standard deviation of an image's votes (Murray, Marchesotti, Perronnin, CVPR 2012, fig. 4).
TYPICAL_STD = 1.4

#: The scores that the TID2013 model predicts.
TID2013 = (0.0, 9.0)


@dataclass(frozen=True)
class RatedImage:
    """An image with what people said of it.

    Attributes:
        name: AVA's image id, or the path as it stands in a table.
        label: what a network is to predict: ten shares of the votes 1-10 that add to 1, or a mean opinion score.
        path: the file, once it is located.
        group: what a split keeps together, such as a scene or a photographer; None if the image stands alone.
    """

    name: str
    label: Any
    path: Path | None = None
    group: str | None = None

    @property
    def mean(self) -> float:
        """The mean of the votes, or the score."""
        return self.label if isinstance(self.label, float) else float(mean(np.array(self.label)))


def read_ratings(
    file: str | PathLike[str], scale: tuple[float, float] = SCALE, group: str = GROUP_COLUMN
) -> list[RatedImage]:
    """Read opinion histograms in the order of the file, whose suffix tells its form.

    `.json`: idealo's `[{"image_id": "953619", "label": [ten votes]}, ...]`.
    `.txt`: the raw `AVA.txt`, whose columns are a number, the image id, ten votes, two tags and a challenge.
    `.csv`: a table. The names stand in the column `path`, or in the one that holds names of image files or is called
    `image_id`, `name`, `filename` and the like; if several may be meant, the file is refused. The vote counts are `1` to
    `10`, or `c1` to `c10`, a score is `score`, `mean`, `mos` or `rating`. If a file has both, the votes are used, and the
    score in rows that leave all votes empty. A score becomes the normal histogram around it with AVA's typical deviation of
    1.4. `group` is kept; other columns are ignored. Without a heading the columns are the path and a score, or the path and
    the vote counts. Columns are separated by commas, or by semicolons, tabs or bars, where numbers may have decimal commas.

    Args:
        scale: the lowest and the highest vote or score in the file, such as (1, 7). Both are mapped linearly to 1-10; each
            vote then goes to the two nearest bins, so that the mean is mapped exactly.
        group: the column of a table that keeps images together in splits.

    Raises a `LabelError` naming the file, the entry and what is wrong with it.
    """
    entries = read_entries(file, scale, group)
    shares = np.empty((len(entries), BINS))
    voted = np.array([entry.votes is not None for entry in entries])
    if voted.any():
        votes = normalise([entry.votes for entry in entries if entry.votes is not None])
        onto = 1 + (BINS - 1) * np.linspace(0, 1, votes.shape[1])
        shares[voted] = votes if scale == SCALE else rebin(votes, onto, centres(BINS))
    if not voted.all():
        scores = np.array([entry.score for entry in entries if entry.votes is None])
        scores = 1 + (BINS - 1) * (scores - scale[0]) / (scale[1] - scale[0])
        shares[~voted] = normal_histogram(scores, TYPICAL_STD, centres(BINS))
    rows = zip(entries, map(tuple, shares.tolist()), strict=True)
    return [RatedImage(entry.name, histogram, group=entry.group) for entry, histogram in rows]


def read_scores(
    file: str | PathLike[str], scale: tuple[float, float], group: str = GROUP_COLUMN, onto: tuple[float, float] = TID2013
) -> list[RatedImage]:
    """Read scores from a .csv in the order of the file; without a column of scores, the mean of the votes is the score.

    Scores from the lowest to the highest of `scale`, such as (0, 100), are mapped linearly to `onto`, the scale of the
    network. For columns, `group` and the `LabelError` see `read_ratings`.
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


def locate_ratings(images: Sequence[RatedImage], folder: str | PathLike[str]) -> list[RatedImage]:
    """The images with the path of each that is found: `folder`/NAME, or NAME with a suffix of image files.

    If there are several, the suffix that comes first in `iqa.files.IMAGE_SUFFIXES` is taken. A name that is not found is
    looked for as `iqa.files.name_to_text` would have written it, then by its last part without regard to case, anywhere
    below the folder: a file that only one name can mean is taken, with a note on stderr. Raises a `LabelError` if a name
    leads out of the folder.
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

    located = [
        replace(image, path=find(image.name) or ("\\" in image.name and find(text_to_name(image.name))) or None)
        for image in images
    ]
    return _locate_loosely(located, folder)


def _locate_loosely(images: list[RatedImage], folder: Path) -> list[RatedImage]:
    if all(image.path for image in images):
        return images
    files = defaultdict(set)
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            files[path.name.lower()].add(path)
            files[path.stem.lower()].add(path)
    guesses = [files.get(image.name.replace("\\", "/").rpartition("/")[2].strip().lower(), set()) for image in images]
    meant = Counter(image.path or next(iter(guess), None) for image, guess in zip(images, guesses, strict=True))
    found = [
        replace(image, path=path) if not image.path and len(guess) == 1 and meant[path := next(iter(guess))] == 1 else image
        for image, guess in zip(images, guesses, strict=True)
    ]
    loose = [new for old, new in zip(images, found, strict=True) if new.path and not old.path]
    if loose:
        example = f"{shown(loose[0].name)} is {loose[0].path}"
        print(printable(f"{len(loose)} images were found by base name, without regard to case: {example}"), file=sys.stderr)
    return found


def oversample(images: Sequence[RatedImage], below: float = 4.0, above: float = 7.0, times: int = 8) -> list[RatedImage]:
    """Repeat images of a rare opinion, with a mean below or above, which a network otherwise never predicts."""
    return [copy for image in images for copy in [image] * (times if not below <= image.mean <= above else 1)]


# Splits into images to train on and to test on. An image without a group is its own. The same seed and images give the
# same split, whatever their order.

#: What the rows to test on are called, where a label file has a split of its own.
TEST_SPLIT = "test"

Images = list[RatedImage]


def check_apart(train: Sequence[RatedImage], test: Sequence[RatedImage]) -> None:
    """Raise `LabelError`, naming some, if images are in both splits."""
    both = sorted({image.name for image in train} & {image.name for image in test})
    if both:
        raise LabelError(f"images in both splits ({len(both)}): {', '.join(both[:5])}{' ...' * (len(both) > 5)}")


def split_by_group(images: Sequence[RatedImage], test_share: float, seed: int) -> tuple[Images, Images]:
    """Split at random into (train, test), both in the order of the images and neither empty.

    About `test_share` of the images, above 0 and below 1, are to test on. A `LabelError` if all are of one group.
    """
    groups = _shuffled_groups(images, seed)
    if len(groups) < 2:
        raise LabelError("images to split must be of two groups or more")
    test: list[str] = []
    count = 0
    for group, size in groups.items():
        # Taken if that brings the number of images nearer to what is wanted and leaves a group to train on.
        if count + size / 2 <= test_share * len(images) and len(test) < len(groups) - 1:
            test.append(group)
            count += size
    return _part(images, test or [min(groups, key=lambda group: groups[group])])


def split_by_name(images: Sequence[RatedImage], test: str = TEST_SPLIT) -> tuple[Images, Images, dict[str, int]]:
    """Split as the groups of the images say, without regard to case: KonIQ-10k's `set` is training, validation or test.

    To test on is the group `test`, to train on all whose name begins with "train". Returns (train, test, {group: number of
    its images} of all others), or raises a `LabelError` if there is nothing to train on or to test on.
    """
    training, testing, others = [], [], Counter[str]()
    for image in images:
        name = (image.group or "").lower()
        if name == test.strip().lower():
            testing.append(image)
        elif name.startswith("train"):
            training.append(image)
        else:
            others[image.group or "(empty)"] += 1
    for found, name in ((training, "train..."), (testing, test)):
        if not found:
            raise LabelError(f"no row says {name} in the column of the splits")
    return training, testing, dict(others)


def split_into_folds(images: Sequence[RatedImage], folds: int, seed: int) -> list[tuple[Images, Images]]:
    """Split at random into folds of about the same size: (train, test) of each; each image is tested on once.

    Raises a `LabelError` if there are fewer groups than folds, which are two or more.
    """
    groups = _shuffled_groups(images, seed)
    if len(groups) < folds:
        raise LabelError(f"{folds} folds need at least as many groups, and the images are of {len(groups)}")
    parts: list[list[str]] = [[] for _ in range(folds)]
    counts = [0] * folds
    # The largest groups first, each into the fold that is the smallest so far.
    for group in sorted(groups, key=lambda group: -groups[group]):
        smallest = counts.index(min(counts))
        parts[smallest].append(group)
        counts[smallest] += groups[group]
    return [_part(images, part) for part in parts]


def _shuffled_groups(images: Sequence[RatedImage], seed: int) -> dict[str, int]:
    sizes = Counter(map(_group_of, images))
    names = sorted(sizes)
    return {names[index]: sizes[names[index]] for index in np.random.default_rng(seed).permutation(len(names))}


def _part(images: Sequence[RatedImage], test: Collection[str]) -> tuple[Images, Images]:
    chosen = set(test)
    return [i for i in images if _group_of(i) not in chosen], [i for i in images if _group_of(i) in chosen]


def _group_of(image: RatedImage) -> str:
    return f"image {image.name}" if image.group is None else f"group {image.group}"

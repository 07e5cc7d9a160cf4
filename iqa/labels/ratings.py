"""Histograms of people's votes 1-10, of AVA's photographs and of your own pictures, and splits of them.

images = locate_ratings(read_ratings("labels.csv"), "photos")
train, test = split_by_group(images, test_share=0.2, seed=0)
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iqa.errors import LabelError
from iqa.labels.histograms import centres, mean, normal_histogram, normalise, rebin

#: Files that may lie beside images under their names.
LABEL_SUFFIXES = (".json", ".txt", ".csv")

#: The votes that a histogram counts: 1-10, as in AVA.
BINS = 10
SCALE = (1.0, 10.0)

#: The mean over AVA of the standard deviation of an image's votes (Murray, Marchesotti, Perronnin, CVPR 2012, fig. 4).
TYPICAL_STD = 1.4

#: Columns of a CSV by the names that its heading may give them; of several the first counts.
NAME_COLUMNS = ("path", "image_id", "image_name", "name")
SCORE_COLUMNS = ("score", "mean", "mos")
GROUP_COLUMN = "group"


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


class _Entry(NamedTuple):
    """What a file says of an image, on the file's own scale: votes, or a score where they are not known."""

    place: str
    name: str
    votes: list[Any] | None
    score: float | None = None
    group: str | None = None


def read_ratings(
    file: str | PathLike[str], scale: tuple[float, float] = SCALE, group: str = GROUP_COLUMN
) -> list[RatedImage]:
    """Read opinion histograms in any of their forms, which are recognised by the suffix of the file.

    `.json`: idealo's `[{"image_id": "953619", "label": [ten votes]}, ...]`.

    `.txt`: the raw `AVA.txt`, whose columns are a number, the image id, ten votes, two tags and a challenge.

    `.csv`: the heading names the columns. One is `path`, `image_id`, `image_name` or `name`. The vote counts are `1` to
    `10`, a score is `score`, `mean` or `mos`. If a file has both, the votes are used, and the score in rows that leave all
    votes empty. A score becomes the normal histogram around it with AVA's typical deviation of 1.4. `group` is kept; other
    columns are ignored. Without a heading the columns are the path and a score, or the path and the vote counts.

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
    readers = {".json": _read_json, ".txt": _read_ava_txt, ".csv": _read_csv}
    reader = readers.get(Path(file).suffix.lower())
    if reader is None:
        raise LabelError(f"{file}: ratings are .json, .txt (AVA's) or .csv")
    images: list[RatedImage] = []
    names: set[str] = set()
    try:
        for entry in reader(file, scale, group):
            try:
                histogram = _histogram(entry, scale)
            except (TypeError, ValueError) as error:
                raise LabelError(f"{file}, {entry.place}: {error}") from None
            if entry.name in names:
                raise LabelError(f"{file}, {entry.place}: {entry.name} appears twice")
            names.add(entry.name)
            images.append(RatedImage(entry.name, histogram, group=entry.group))
    except UnicodeDecodeError:
        raise LabelError(f"{file}: not a text file in UTF-8") from None
    if not images:
        raise LabelError(f"{file}: it holds no ratings")
    return images


def _histogram(entry: _Entry, scale: tuple[float, float]) -> tuple[float, ...]:
    """10 shares of the votes 1-10."""
    lowest, highest = scale
    if entry.votes is None:
        assert entry.score is not None
        if not lowest <= entry.score <= highest:
            raise LabelError(f"a score of {entry.score:g} is not within {lowest:g}-{highest:g}")
        score = float(_to_ten(entry.score, scale))
        return tuple(normal_histogram(score, TYPICAL_STD, centres(BINS)).tolist())
    shares = normalise([float(vote) for vote in entry.votes])
    if len(shares) != highest - lowest + 1:
        raise LabelError(f"{len(shares)} votes instead of {highest - lowest + 1:g}")
    if scale != SCALE:
        shares = rebin(shares, _to_ten(centres(len(shares), lowest, highest), scale), centres(BINS))
    return tuple(shares.tolist())


def _to_ten(score: Any, scale: tuple[float, float]) -> Any:
    """A score, or an array of them, mapped linearly from a scale to 1-10."""
    return 1 + (BINS - 1) * (score - scale[0]) / (scale[1] - scale[0])


def _read_json(file: str | PathLike[str], scale: tuple[float, float], group: str) -> Iterator[_Entry]:
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{file}: not JSON ({error})") from None
    if not isinstance(rows, list):
        raise LabelError(f"{file}: not a list of images")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"image_id", "label"} <= set(row) or not isinstance(row["label"], list):
            raise LabelError(f"{file}, entry {number}: not {{image_id, label}}")
        yield _Entry(f"entry {number}", str(row["image_id"]), row["label"])


def _read_ava_txt(file: str | PathLike[str], scale: tuple[float, float], group: str) -> Iterator[_Entry]:
    if scale != SCALE:
        raise LabelError(f"{file}: the votes of AVA.txt are 1-10, not {scale[0]:g}-{scale[1]:g}")
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            columns = line.split()
            if len(columns) < 2 + BINS:
                raise LabelError(f"{file}, line {number}: {len(columns)} columns, AVA.txt has 15")
            yield _Entry(f"line {number}", columns[1], columns[2 : 2 + BINS])


class _Columns(NamedTuple):
    """Where a CSV has the name, the score, the votes in rising order and the group; and how many columns there are."""

    name: int
    score: int | None
    votes: list[int]
    group: int | None
    width: int


def _read_csv(file: str | PathLike[str], scale: tuple[float, float], group: str) -> Iterator[_Entry]:
    columns = None
    with open(file, newline="", encoding="utf-8-sig") as lines:
        rows = csv.reader(lines)
        try:
            for number, row in enumerate(rows, start=1):
                if number == 1 and _is_heading(row, group):
                    columns = _find_columns(row, scale, group, file)
                elif row:  # and not an empty line
                    place = f"line {rows.line_num}"
                    try:
                        yield _read_row(place, row, columns or _columns_by_position(row))
                    except LabelError as error:
                        raise LabelError(f"{file}, {place}: {error}") from None
        except csv.Error as error:
            raise LabelError(f"{file}, line {rows.line_num}: {error}") from None


def _is_heading(row: list[str], group: str) -> bool:
    known = {*NAME_COLUMNS, *SCORE_COLUMNS, group.lower()}
    return bool(row) and (bool(known & {cell.strip().lower() for cell in row}) or not _is_number(row[-1]))


def _columns_by_position(row: list[str]) -> _Columns:
    """The path first, then a score or the votes."""
    values = list(range(1, len(row)))
    return _Columns(0, 1, [], None, 2) if len(values) == 1 else _Columns(0, None, values, None, len(row))


def _find_columns(heading: list[str], scale: tuple[float, float], grouping: str, file: str | PathLike[str]) -> _Columns:
    """The columns that a heading names."""
    names = [cell.strip().lower() for cell in heading]
    votes = {int(name): index for index, name in enumerate(names) if name.removeprefix("-").isdecimal()}
    score = next((names.index(name) for name in SCORE_COLUMNS if name in names), None)
    grouping = grouping.strip().lower()
    group = names.index(grouping) if grouping in names else None
    if group is None and grouping != GROUP_COLUMN:
        raise LabelError(f"{file}, line 1: there is no column {grouping!r} to group by")
    name = next((names.index(name) for name in NAME_COLUMNS if name in names), 0)
    if not votes and score is None:
        if len(names) == 2:  # a heading in words of its own
            return _columns_by_position(heading)
        raise LabelError(f"{file}, line 1: the heading names neither votes such as 1 nor any of {', '.join(SCORE_COLUMNS)}")
    if votes:
        lowest, highest = min(votes), max(votes)
        if (lowest, highest) != scale:
            raise LabelError(
                f"{file}, line 1: the votes are {lowest}-{highest}, but the scale is {scale[0]:g}-{scale[1]:g}"
            )
        if len(votes) != highest - lowest + 1:
            raise LabelError(f"{file}, line 1: {len(votes)} columns of votes, not all of {lowest}-{highest}")
    if name in (score, group, *votes.values()):
        raise LabelError(f"{file}, line 1: the heading names none of {', '.join(NAME_COLUMNS)}")
    return _Columns(name, score, [votes[vote] for vote in sorted(votes)], group, len(names))


def _read_row(place: str, row: list[str], columns: _Columns) -> _Entry:
    if len(row) != columns.width:
        raise LabelError(f"{len(row)} columns instead of {columns.width}")
    name, group = row[columns.name], None
    if not name.strip():
        raise LabelError("the name is empty")
    if columns.group is not None:
        group = row[columns.group].strip() or None
    votes = [row[index].strip() for index in columns.votes]
    if any(votes):
        if not all(votes):
            raise LabelError("some of the votes are empty: write 0 for none, or leave all of them empty")
        return _Entry(place, name, votes, group=group)
    score = "" if columns.score is None else row[columns.score].strip()
    if not score:
        raise LabelError("neither votes nor a score" if columns.votes else "the score is empty")
    if not _is_number(score):
        raise LabelError(f"the score is not a number: {score!r}")
    return _Entry(place, name, None, float(score), group)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def locate_ratings(images: Sequence[RatedImage], folder: str | PathLike[str]) -> list[RatedImage]:
    """Find the file of each image: `folder`/NAME as it stands, or NAME with any suffix but those of label files.

    Returns:
        The images in their order, with the path of each that was found.
    """
    folder = Path(folder)
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() not in LABEL_SUFFIXES}
    located = []
    for image in images:
        exact = folder / image.name
        located.append(replace(image, path=exact if exact.is_file() else files.get(image.name)))
    return located


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

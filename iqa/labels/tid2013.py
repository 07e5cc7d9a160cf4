"""Label files and splits -> ids, paths, labels.

AVA labels its photographs with a histogram of votes 1-10, which come in several forms (`read_ratings`).

TID2013 labels its images in `mos_with_names.txt`, a line an image: the mean opinion score (0-9), then a name
`iRR_DD_L` of reference, distortion and level. The names there and on disk differ in case and suffix, so that both
are matched without regard to either. A set of one's own in the same form is read by the same code.
"""

import csv
import json
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from iqa.errors import LabelError
from iqa.labels.histograms import mean, normal_histogram, normalise

LABELS_NAME = "mos_with_names.txt"
_NAME = re.compile(r"(?P<reference>.+)_(?P<distortion>\d+)_(?P<level>\d+)", re.IGNORECASE)


# Files that may lie beside images under their names.
LABEL_SUFFIXES = (".json", ".txt", ".csv")


def _joined(reference, distortion, level):
    return f"{reference.lower()}_{int(distortion):02d}_{int(level)}"


def _name(match):
    return _joined(match["reference"], match["distortion"], match["level"])


@dataclass(frozen=True)
class LabelledImage:
    """An image of TID2013: its reference ("i01"), distortion (1-24), level (1-5), score (0-9) and, if found, file."""

    reference: str
    distortion: int
    level: int
    mos: float
    path: Path | None = None

    @property
    def name(self):
        return _joined(self.reference, self.distortion, self.level)

    @property
    def label(self):
        """What a network is to predict: the score."""
        return self.mos


def read_mos(file):
    """Read `mos_with_names.txt`.

    Returns:
        A list of `LabelledImage` in the order of the file, without paths.

    Raises:
        LabelError: if a line is not `score name`, a score is not within 0-9, or a name stands twice.
    """
    images = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        score, _, name = line.strip().partition(" ")
        match = _NAME.fullmatch(Path(name.strip()).stem)
        try:
            mos = float(score)
        except ValueError:
            mos = float("nan")
        if not match or not 0 <= mos <= 9:
            raise LabelError(f"{file}, line {number}: not a score of 0-9 and a name like i01_02_3: {line.strip()!r}")
        images.append(LabelledImage(match["reference"].lower(), int(match["distortion"]), int(match["level"]), mos))
    seen = set()
    for image in images:
        if image.name in seen:
            raise LabelError(f"{file}: {image.name} stands twice")
        seen.add(image.name)
    return images


def locate(images, folder):
    """Find the file of each image anywhere below `folder`, whatever its case and suffix.

    Returns:
        The images in their order, with the path of each that was found.
    """
    files = {}
    for path in sorted(Path(folder).rglob("*")):
        match = _NAME.fullmatch(path.stem)
        if match and path.is_file() and path.suffix.lower() not in LABEL_SUFFIXES:
            files.setdefault(_name(match), path)
    return [replace(image, path=files.get(image.name)) for image in images]


def split_by_reference(images, test=("i01", "i02", "i03")):
    """(train, test): the original's split, by scene, so that no scene stands in both."""
    held_out = set(test)
    train = [image for image in images if image.reference not in held_out]
    return train, [image for image in images if image.reference in held_out]


def ladders(images, levels=5):
    """Group images into ladders: one scene, one distortion, `levels` levels in rising order.

    Returns:
        (complete, incomplete): lists of lists of `LabelledImage`.
    """
    groups = {}
    for image in sorted(images, key=lambda image: (image.reference, image.distortion, image.level)):
        groups.setdefault((image.reference, image.distortion), []).append(image)
    complete = [group for group in groups.values() if len(group) == levels]
    return complete, [group for group in groups.values() if len(group) != levels]


# Stronger is not always worse: fewer and stronger blocks, a shift up or down, contrast lowered or raised.
UNORDERED = (15, 16, 17)


def read_ladders(folder, labels=None):
    """The ladders of a folder; says on stderr which images are missing and which ladders they leave incomplete."""
    images = locate(read_mos(labels or folder / LABELS_NAME), folder)
    for image in images:
        if not image.path:
            print(f"{folder}: {image.name} is missing", file=sys.stderr)
    complete, incomplete = ladders([image for image in images if image.path])
    for ladder in incomplete:
        print(f"{folder}: left out, not 5 levels: {', '.join(image.name for image in ladder)}", file=sys.stderr)
    return complete


def read_order(folder):
    """`read_ladders` of photographs of which only the order is known; their scores are NaN.

    Raises:
        LabelError: if a distortion is among them that people do not like the less the stronger it is.
    """
    found = read_ladders(folder)
    unordered = {ladder[0].distortion for ladder in found} & set(UNORDERED)
    if unordered:
        raise LabelError(f"{folder}: the order of distortion {', '.join(map(str, sorted(unordered)))} is not known")
    return [[replace(image, mos=math.nan) for image in ladder] for ladder in found]


def typical_mos(images):
    """The mean score of every distortion and level over the scenes given: what is known without seeing the scene.

    Returns:
        A dict {distortion: float64 array of the scores at levels 1-5}.
    """
    return {
        distortion: np.array(
            [np.mean([i.mos for i in images if (i.distortion, i.level) == (distortion, level)]) for level in range(1, 6)]
        )
        for distortion in sorted({image.distortion for image in images})
    }


# --- opinion histograms: AVA, and pictures of one's own -------------------------------------------------------------

BINS = 10


@dataclass(frozen=True)
class RatedImage:
    """An image with people's opinion of it.

    Attributes:
        name: AVA's image id, or the path as it stands in a CSV.
        histogram: 10 shares of the votes 1-10 that add to 1.
        path: the file, once it is located.
    """

    name: str
    histogram: tuple[float, ...]
    path: Path | None = None

    @property
    def mean(self):
        return mean(np.array(self.histogram))

    @property
    def label(self):
        """What a network is to predict: the histogram."""
        return self.histogram


def read_ratings(file):
    """Read opinion histograms in any of the forms they come in, told apart by their suffix.

    `.json`: idealo's `[{"image_id": "953619", "label": [ten votes]}, ...]`. `.txt`: the raw `AVA.txt`, whose columns are
    a number, the image id, ten votes, two tags and a challenge. `.csv`: `path,score` (a mean, 1-10; its histogram is the
    normal one with AVA's typical deviation of 1.4) or `path` and ten vote counts, with or without a heading.

    Returns:
        A list of `RatedImage` in the order of the file, without paths.

    Raises:
        LabelError: naming the file, the entry and what is wrong with it.
    """
    readers = {".json": _read_json, ".txt": _read_ava_txt, ".csv": _read_csv}
    reader = readers.get(Path(file).suffix.lower())
    if reader is None:
        raise LabelError(f"{file}: ratings are .json, .txt (AVA's) or .csv")
    images, seen = [], set()
    for entry, name, votes in reader(file):
        try:
            histogram = normalise([float(vote) for vote in votes])
        except (TypeError, ValueError) as error:
            raise LabelError(f"{file}, {entry}: {error}") from None
        if len(histogram) != BINS:
            raise LabelError(f"{file}, {entry}: {len(histogram)} votes instead of {BINS}")
        if name in seen:
            raise LabelError(f"{file}, {entry}: {name} stands twice")
        seen.add(name)
        images.append(RatedImage(name, tuple(histogram.tolist())))
    if not images:
        raise LabelError(f"{file}: it holds no ratings")
    return images


def _read_json(file):
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise LabelError(f"{file}: not JSON ({error})") from None
    if not isinstance(rows, list):
        raise LabelError(f"{file}: not a list of images")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"image_id", "label"} <= set(row) or not isinstance(row["label"], list):
            raise LabelError(f"{file}, entry {number}: not {{image_id, label}}")
        yield f"entry {number}", str(row["image_id"]), row["label"]


def _read_ava_txt(file):
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            columns = line.split()
            if len(columns) < 2 + BINS:
                raise LabelError(f"{file}, line {number}: {len(columns)} columns, AVA.txt has 15")
            yield f"line {number}", columns[1], columns[2 : 2 + BINS]


# The mean over AVA of the standard deviation of an image's votes (Murray, Marchesotti, Perronnin, CVPR 2012, fig. 4).
TYPICAL_STD = 1.4


def _read_csv(file):
    with open(file, newline="", encoding="utf-8-sig") as lines:
        for number, row in enumerate(csv.reader(lines), start=1):
            if not row or (number == 1 and (row[0].strip().lower() == "path" or not _is_number(row[-1]))):
                continue  # an empty line, or the heading, whose last column may be the vote "10"
            name, *values = row
            if len(values) == 1 and _is_number(values[0]):
                score = float(values[0])
                if not 1 <= score <= BINS:
                    raise LabelError(f"{file}, line {number}: a score of {score:g} is not within 1-{BINS}")
                values = normal_histogram(score, TYPICAL_STD, np.arange(1.0, BINS + 1))
            yield f"line {number}", name, values


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def locate_ratings(images, folder):
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


def check_apart(train, test):
    """Make sure that no image stands in both splits.

    Raises:
        LabelError: naming some that do.
    """
    both = sorted({image.name for image in train} & {image.name for image in test})
    if both:
        raise LabelError(f"{len(both)} images stand in both splits: {', '.join(both[:5])}{' ...' * (len(both) > 5)}")


def oversample(images, below=4.0, above=7.0, times=8):
    """Repeat images whose mean lies below or above: people's rare opinions, which a network otherwise never utters."""
    return [copy for image in images for copy in [image] * (times if not below <= image.mean <= above else 1)]

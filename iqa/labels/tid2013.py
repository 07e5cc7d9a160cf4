"""TID2013's labels, the scenes that are kept apart, and ladders: one scene, one distortion, rising levels.

TID2013 labels its images in `mos_with_names.txt`, a line an image: the mean opinion score (0-9), then a name
`iRR_DD_L` of reference, distortion and level. The names there and on disk differ in case and suffix, so they are
matched without regard to either. Your own set in the same form is read by the same code.
"""

import math
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, printable

LABELS_NAME = "mos_with_names.txt"

#: The references that the original tested on, and those by which checkpoints are chosen. Networks learn from the others.
TEST_REFERENCES = ("i01", "i02", "i03")
VALIDATION_REFERENCES = ("i04", "i05", "i06")

#: Distortions of which stronger is not always worse: fewer but stronger blocks, shifts up or down, contrast up or down.
UNORDERED = (15, 16, 17)

_NAME = re.compile(r"(.+)_(\d{1,9})_(\d{1,9})")


@dataclass(frozen=True)
class LabelledImage:
    """An image of TID2013: its reference ("i01"), distortion (1-24), level (1-5), score (0-9) and, if found, file."""

    reference: str
    distortion: int
    level: int
    mos: float
    path: Path | None = None

    @property
    def name(self) -> str:
        """`iRR_DD_L` in lower case, without suffix."""
        return f"{self.reference}_{self.distortion:02d}_{self.level}"

    @property
    def label(self) -> float:
        """What a network is to predict: the score."""
        return self.mos


Ladder = list[LabelledImage]


def _parse(stem: str, mos: float = math.nan, path: Path | None = None) -> LabelledImage | None:
    match = _NAME.fullmatch(stem.lower())
    return LabelledImage(match[1], int(match[2]), int(match[3]), mos, path) if match else None


def read_mos(file: str | PathLike[str]) -> list[LabelledImage]:
    """Read `mos_with_names.txt`.

    Returns:
        The images in the order of the file, without paths.

    Raises:
        LabelError: if a line is not `score name`, a score is not within 0-9, a name appears twice, or it is not text.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise LabelError(f"{file}: not a text file in UTF-8") from None
    images: dict[str, LabelledImage] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line:
            continue
        score, _, name = line.partition(" ")
        try:
            image = _parse(Path(name.strip()).stem, float(score))
        except ValueError:
            image = None
        if not image or not 0 <= image.mos <= 9:
            raise LabelError(f"{file}, line {number}: not a score of 0-9 and a name like i01_02_3: {line[:80]!r}")
        if image.name in images:
            raise LabelError(f"{file}, line {number}: {image.name} appears twice")
        images[image.name] = image
    return list(images.values())


def locate(images: Iterable[LabelledImage], folder: str | PathLike[str]) -> list[LabelledImage]:
    """Find the file of each image anywhere below `folder`, whatever its case and its suffix of image files.

    Returns:
        The images in their order, with the path of each that was found.
    """
    order = {suffix: number for number, suffix in enumerate(IMAGE_SUFFIXES)}
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*"), key=lambda path: (order.get(path.suffix.lower(), 0), path)):
        if path.suffix.lower() in order and path.is_file() and (image := _parse(path.stem)):
            files.setdefault(image.name, path)
    return [replace(image, path=files.get(image.name)) for image in images]


def split_by_reference(
    images: Sequence[LabelledImage], test: Collection[str] = TEST_REFERENCES
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(train, test): the original's split, by scene, so that no scene stands in both."""
    return [i for i in images if i.reference not in test], [i for i in images if i.reference in test]


def ladders(images: Iterable[LabelledImage], levels: int = 5) -> tuple[list[Ladder], list[Ladder]]:
    """Group images into ladders: one scene, one distortion, `levels` levels in rising order.

    Returns:
        (complete, incomplete): lists of ladders.
    """
    groups: dict[tuple[str, int], Ladder] = {}
    for image in sorted(images, key=lambda image: (image.reference, image.distortion, image.level)):
        groups.setdefault((image.reference, image.distortion), []).append(image)
    complete = [group for group in groups.values() if len(group) == levels]
    return complete, [group for group in groups.values() if len(group) != levels]


def read_ladders(folder: Path, labels: str | PathLike[str] | None = None) -> list[Ladder]:
    """The ladders of a folder; says on stderr which images are missing and which ladders they leave incomplete.

    Args:
        labels: the label file; by default `mos_with_names.txt` in the folder.
    """
    images = locate(read_mos(labels or folder / LABELS_NAME), folder)
    complete, incomplete = ladders([image for image in images if image.path])
    notes = [f"{image.name} is missing" for image in images if not image.path]
    notes += [f"left out, not 5 levels: {', '.join(image.name for image in ladder)}" for ladder in incomplete]
    for note in notes:
        print(printable(f"{folder}: {note}"), file=sys.stderr)
    return complete


def read_order(*folders: Path) -> list[Ladder]:
    """`read_ladders` of folders of photographs of which only the order is known; their scores are NaN.

    Raises:
        LabelError: if one of their distortions does not get worse as it gets stronger.
    """
    known: list[Ladder] = []
    for folder in folders:
        found = read_ladders(folder)
        unordered = {ladder[0].distortion for ladder in found} & set(UNORDERED)
        if unordered:
            raise LabelError(f"{folder}: the order of distortion {', '.join(map(str, sorted(unordered)))} is not known")
        known += [[replace(image, mos=math.nan) for image in ladder] for ladder in found]
    return known


def across_scenes(found: Iterable[Ladder], seed: int) -> list[Ladder]:
    """Ladders of the same images whose steps come from different scenes: how bad, whatever the picture shows.

    Within a scene a network need only see what changed; to rank pictures of different scenes it must ignore the scene. The
    steps of one distortion are exchanged among its ladders, so each image still appears once.

    Args:
        found: of `read_order`.
        seed: of the exchange.
    """
    groups: dict[int, list[Ladder]] = {}
    for ladder in found:
        groups.setdefault(ladder[0].distortion, []).append(ladder)
    rng = np.random.default_rng(seed)
    mixed: list[Ladder] = []
    for _, group in sorted(groups.items()):
        columns = [[group[place][step] for place in rng.permutation(len(group))] for step in range(len(group[0]))]
        mixed += [list(steps) for steps in zip(*columns, strict=True)]
    return mixed


def typical_mos(images: Sequence[LabelledImage]) -> dict[int, NDArray[np.float64]]:
    """The mean score of every distortion and level over the scenes given: what is known without seeing the scene.

    Returns:
        {distortion: the scores at levels 1-5}.

    Raises:
        LabelError: if no image has one of the levels of a distortion.
    """
    scores: dict[int, list[list[float]]] = {}
    for image in (image for image in images if 1 <= image.level <= 5):
        scores.setdefault(image.distortion, [[] for _ in range(5)])[image.level - 1].append(image.mos)
    for distortion, levels in scores.items():
        if not all(levels):
            missing = levels.index([]) + 1
            raise LabelError(f"no image of distortion {distortion} at level {missing}, so its typical score is unknown")
    return {distortion: np.array(list(map(np.mean, levels))) for distortion, levels in sorted(scores.items())}

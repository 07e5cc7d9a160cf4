"""TID2013's labels, the scenes that are kept apart, and ladders: one scene, one distortion, rising levels.

A line of `mos_with_names.txt` is a mean opinion score (0-9), then a name `iRR_DD_L` of reference, distortion and level.
"""

import math
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, printable

LABELS_NAME = "mos_with_names.txt"

#: The references that the original tested on, and those by which checkpoints are chosen. Networks learn from the others.
TEST_REFERENCES = ("i01", "i02", "i03")
VALIDATION_REFERENCES = ("i04", "i05", "i06")

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
    """The images of `mos_with_names.txt` in their order, without paths.

    Raises a `LabelError` if a line is not `score name`, a score is not within 0-9, a name appears twice, or it is not text.
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
    """The images with the path of each that is found anywhere below `folder`, whatever its case and suffix."""
    order = {suffix: number for number, suffix in enumerate(IMAGE_SUFFIXES)}
    files: dict[str, Path] = {}
    for path in sorted(Path(folder).rglob("*"), key=lambda path: (order.get(path.suffix.lower(), 0), path)):
        if path.suffix.lower() in order and path.is_file() and (image := _parse(path.stem)):
            files.setdefault(image.name, path)
    return [replace(image, path=files.get(image.name)) for image in images]


def split_by_reference(
    images: Sequence[LabelledImage], test: Collection[str] = TEST_REFERENCES
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(train, test): the original's split, so that no scene stands in both."""
    return [i for i in images if i.reference not in test], [i for i in images if i.reference in test]


def ladders(images: Iterable[LabelledImage], levels: int = 5) -> tuple[list[Ladder], list[Ladder]]:
    """(complete, incomplete) ladders of images: one scene, one distortion, `levels` levels in rising order."""
    groups: dict[tuple[str, int], Ladder] = {}
    for image in sorted(images, key=lambda image: (image.reference, image.distortion, image.level)):
        groups.setdefault((image.reference, image.distortion), []).append(image)
    complete = [group for group in groups.values() if len(group) == levels]
    return complete, [group for group in groups.values() if len(group) != levels]


def read_ladders(folder: Path, labels: str | PathLike[str] | None = None) -> list[Ladder]:
    """The complete ladders of a folder, after lines on stderr about what is missing; `labels`: another label file."""
    images = locate(read_mos(labels or folder / LABELS_NAME), folder)
    complete, incomplete = ladders([image for image in images if image.path])
    notes = [f"{image.name} is missing" for image in images if not image.path]
    notes += [f"left out, not 5 levels: {', '.join(image.name for image in ladder)}" for ladder in incomplete]
    for note in notes:
        print(printable(f"{folder}: {note}"), file=sys.stderr)
    return complete

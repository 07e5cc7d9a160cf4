"""BIQ2021 (Ahmed, Asif, Journal of Electronic Imaging 2022): 12,000 photographs, each graded by some thirty people.

The grades are those of ITU-R BT.500, bad 1, poor 2, fair 3, good 4, excellent 5; the tables hold their means mapped to 0-1.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from iqa.errors import LabelError

#: Every tenth photograph of the training table is kept apart, to choose settings by.
CHOOSING = 10


class Graded(NamedTuple):
    """A photograph: the name of its file, its mean grade 1-5, and the file, None if it is missing."""

    name: str
    label: float
    path: Path | None


def read_grades(table: Path, images: Path | None = None) -> list[Graded]:
    """The photographs of a table in its order, whose files lie in `images`; a `LabelError` names a line that is broken."""
    files = {path.name.lower(): path for path in images.iterdir()} if images else {}
    found = []
    with open(table, newline="", encoding="utf-8-sig") as file:
        for number, (name, grade, *_) in enumerate(csv.reader(file)):
            if number:  # not the heading
                try:
                    label = 1 + 4 * float(grade)
                except ValueError:
                    raise LabelError(f"{table}: line {number + 1}: {grade!r} is no grade of 0-1") from None
                found.append(Graded(name, label, files.get(name.lower())))  # one is called .JPG
    return found


#: {beginning of a name: where the photograph comes from}; those of "faults" were taken with them on purpose.
PARTS = {"ss01": "gallery", "ss02": "faults", "ss03": "unsplash"}

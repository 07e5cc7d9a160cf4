"""The forms of label files: idealo's JSON, the raw `AVA.txt`, and CSVs with or without a heading.

Each reader yields what a file says of each image, on the file's own scale.
"""

import csv
import json
import math
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from iqa.errors import LabelError
from iqa.files import printable

#: The votes that a histogram counts: 1-10, as in AVA.
BINS = 10
SCALE = (1.0, 10.0)

#: Columns of a CSV by the names that its heading may give them; of several the first counts.
NAME_COLUMNS = ("path", "image_id", "image_name", "name", "filename", "file_name", "file", "image", "id")
SCORE_COLUMNS = ("score", "mean", "mos")
GROUP_COLUMN = "group"

#: A column of votes: the vote, or as in KonIQ-10k the vote behind a "c".
_VOTE = re.compile("c?(-?[0-9]{1,3})")

#: What separates the columns of a CSV; where it is no comma, a number may have a decimal comma.
_SEPARATORS = (";", "\t", ",")


class Entry(NamedTuple):
    """What a file says of an image, on the file's own scale: votes, or a score where they are not known."""

    place: str
    name: str
    votes: list[Any] | None
    score: float | None = None
    group: str | None = None


def is_text(name: str) -> bool:
    """Whether a name can be written at all: JSON may hold half of a character."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str, longest: int = 80) -> str:
    """A name, or other text of a file, as an error shows it: short, on one line, and text whatever it is."""
    short = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return printable(short) if is_text(short) and short.isprintable() else repr(short)


def check_scale(scale: tuple[float, float]) -> None:
    """Refuse a scale that is none.

    Raises:
        LabelError: naming both its ends.
    """
    lowest, highest = scale
    if not (math.isfinite(lowest) and math.isfinite(highest) and lowest < highest):
        raise LabelError(f"a scale needs a lowest score below its highest, got {lowest:g}-{highest:g}")


def check_name(file: str | PathLike[str], entry: Entry, names: set[str]) -> None:
    """Refuse a name that was there before, and one that no file can have; adds it to `names`.

    Raises:
        LabelError: naming the file, the entry and the name.
    """
    name = entry.name
    if name in names:
        raise LabelError(f"{file}, {entry.place}: {shown(name)} appears twice")
    names.add(name)
    if "\0" in name or len(name) > 4096 or not is_text(name):
        raise LabelError(f"{file}, {entry.place}: no file can have the name {shown(name)}")


def read_json(file: str | PathLike[str], scale: tuple[float, float], group: str) -> Iterator[Entry]:
    """The entries of idealo's JSON; see `iqa.labels.ratings.read_ratings`."""
    try:
        rows = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{file}: not JSON ({error})") from None
    if not isinstance(rows, list):
        raise LabelError(f"{file}: not a list of images")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"image_id", "label"} <= set(row) or not isinstance(row["label"], list):
            raise LabelError(f"{file}, entry {number}: not {{image_id, label}}")
        if not isinstance(row["image_id"], str | int):
            raise LabelError(f"{file}, entry {number}: the image_id is not text")
        yield Entry(f"entry {number}", str(row["image_id"]), row["label"])


def read_ava_txt(file: str | PathLike[str], scale: tuple[float, float], group: str) -> Iterator[Entry]:
    """The entries of `AVA.txt`."""
    if scale != SCALE:
        raise LabelError(f"{file}: the votes of AVA.txt are 1-10, not {scale[0]:g}-{scale[1]:g}")
    for number, line in enumerate(Path(file).read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            columns = line.split()
            if len(columns) < 2 + BINS:
                raise LabelError(f"{file}, line {number}: {len(columns)} columns, AVA.txt has 15")
            yield Entry(f"line {number}", columns[1], columns[2 : 2 + BINS])


class _Columns(NamedTuple):
    """Where a CSV has the name, the score, the votes in rising order and the group; and how many columns there are."""

    name: int
    score: int | None
    votes: list[int]
    group: int | None
    width: int


def read_csv(
    file: str | PathLike[str], scale: tuple[float, float], group: str, scores_first: bool = False
) -> Iterator[Entry]:
    """The entries of a CSV.

    Args:
        group: the name of the column that keeps images together.
        scores_first: in a file with a column of scores, other columns are no votes, whatever their names.
    """
    columns = None
    with open(file, newline="", encoding="utf-8-sig") as lines:
        separator = _separator(lines.readline(1 << 16), scale, group)
        lines.seek(0)
        rows = csv.reader(lines, delimiter=separator)
        try:
            for number, row in enumerate(rows, start=1):
                if number == 1 and _is_heading(row, scale, group):
                    columns = _find_columns(row, scale, group, file, scores_first)
                elif row:  # and not an empty line
                    place = f"line {rows.line_num}"
                    try:
                        yield _read_row(place, row, columns or _columns_by_position(row), separator != ",")
                    except LabelError as error:
                        raise LabelError(f"{file}, {place}: {error}") from None
        except csv.Error as error:
            raise LabelError(f"{file}, line {rows.line_num}: {error}") from None


def _separator(line: str, scale: tuple[float, float], group: str) -> str:
    """What separates the columns, by the first line: what makes a heading of it, or ends it in a number."""
    for separator in _SEPARATORS:
        try:
            row = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            continue
        if len(row) > 1 and (_is_heading(row, scale, group) or _number(row[-1], separator != ",") is not None):
            return separator
    return ","


def _is_heading(row: list[str], scale: tuple[float, float], group: str) -> bool:
    """Whether a first row names columns; one with a mistyped score does not, nor a picture whose votes are 1, 2, 3 ..."""
    cells = [cell.strip().lower() for cell in row]
    if {*NAME_COLUMNS, *SCORE_COLUMNS, group.strip().lower()} & set(cells):
        return True
    rising = [f"{vote}" for vote in range(int(scale[0]), int(scale[1]) + 1)]
    return cells[1:] == rising and cells[0].isalpha()


def _columns_by_position(row: list[str]) -> _Columns:
    """The path first, then a score or the votes."""
    values = list(range(1, len(row)))
    return _Columns(0, 1, [], None, 2) if len(values) == 1 else _Columns(0, None, values, None, len(row))


def _find_columns(
    heading: list[str], scale: tuple[float, float], grouping: str, file: str | PathLike[str], scores_first: bool
) -> _Columns:
    """The columns that a heading names."""
    names = [cell.strip().lower() for cell in heading]
    score = next((names.index(name) for name in SCORE_COLUMNS if name in names), None)
    matches = {index: match for index, name in enumerate(names) if (match := _VOTE.fullmatch(name))}
    votes = {int(match[1]): index for index, match in matches.items()}
    if scores_first and score is not None:
        votes = {}
    grouping = grouping.strip().lower()
    group = names.index(grouping) if grouping in names else None
    if group is None and grouping != GROUP_COLUMN:
        raise LabelError(f"{file}, line 1: there is no column {grouping!r}")
    name = next((names.index(name) for name in NAME_COLUMNS if name in names), 0)
    if not votes and score is None:
        if len(names) == 2:  # a heading in words of its own
            return _columns_by_position(heading)
        raise LabelError(f"{file}, line 1: the heading names neither votes such as 1 nor any of {', '.join(SCORE_COLUMNS)}")
    if votes:
        lowest, highest = min(votes), max(votes)
        if (lowest, highest) != scale:
            remedy = "" if score is None else "; rename the columns if they are no votes"
            raise LabelError(
                f"{file}, line 1: the votes are {lowest}-{highest}, but the scale is {scale[0]:g}-{scale[1]:g}{remedy}"
            )
        if len(votes) != highest - lowest + 1:
            raise LabelError(f"{file}, line 1: {len(votes)} columns of votes, not all of {lowest}-{highest}")
    if name in (score, group, *votes.values()):
        raise LabelError(f"{file}, line 1: the heading names none of {', '.join(NAME_COLUMNS)}")
    return _Columns(name, score, [votes[vote] for vote in sorted(votes)], group, len(names))


def _read_row(place: str, row: list[str], columns: _Columns, decimal_comma: bool) -> Entry:
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
        return Entry(place, name, [vote.replace(",", ".") for vote in votes] if decimal_comma else votes, group=group)
    score = "" if columns.score is None else row[columns.score].strip()
    if not score:
        raise LabelError("neither votes nor a score" if columns.votes else "the score is empty")
    number = _number(score, decimal_comma)
    if number is None:
        raise LabelError(f"the score is not a number: {shown(score)!r}")
    return Entry(place, name, None, number, group)


def _number(text: str, decimal_comma: bool) -> float | None:
    """The number that a cell holds; None if it holds none."""
    try:
        return float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None

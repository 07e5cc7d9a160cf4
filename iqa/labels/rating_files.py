"""Label files in any form: idealo's JSON, `AVA.txt`, and tables (.csv) as pandas, R and spreadsheets write them."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from itertools import takewhile
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from iqa.errors import LabelError
from iqa.files import IMAGE_SUFFIXES, printable
from iqa.labels.histograms import normalise

#: The votes that a histogram counts: 1-10, as in AVA.
BINS = 10
SCALE = (1.0, 10.0)

#: Columns of a table by the names that its heading may give them.
NAME_COLUMNS = (
    *("path", "image_id", "image_name", "image_path", "name", "filename", "file_name", "file", "image", "img", "id"),
    *("picture", "photo"),
)
SCORE_COLUMNS = ("score", "mean", "mos", "rating")
GROUP_COLUMN = "group"

#: A column of votes, as in KonIQ-10k perhaps behind a "c", and a whole number whose thousands are set apart.
_VOTE = re.compile("c?(-?[0-9]{1,3})")
_GROUPED = re.compile(r"[1-9]\d{0,2}([.,])\d{3}(?:\1\d{3})*")


class Entry(NamedTuple):
    """What a file says of an image, on the file's own scale: votes, or a score where they are None."""

    place: str
    name: str
    votes: list[Any] | None
    score: float = math.nan
    group: str | None = None


def read_entries(
    file: str | PathLike[str], scale: tuple[float, float], group: str, scores_first: bool = False
) -> list[Entry]:
    """The entries of a label file; `iqa.labels.ratings.read_ratings` describes its forms and arguments.

    With `scores_first`, a table that has a column of scores has no votes, whatever the names of its other columns.

    Raises a `LabelError` naming the file, the entry and what is wrong with it.
    """
    lowest, highest = scale
    if not (math.isfinite(lowest) and math.isfinite(highest) and lowest < highest):
        raise LabelError(f"a scale needs a lowest score below its highest, got {lowest:g}-{highest:g}")
    suffix = Path(file).suffix.lower()
    if suffix not in (".json", ".txt", ".csv"):
        raise LabelError(f"{file}: ratings are .json, .txt (AVA's) or .csv")
    if suffix == ".txt" and scale != SCALE:
        raise LabelError(f"{file}: the votes of AVA.txt are 1-10, not {lowest:g}-{highest:g}")
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise LabelError(f"{file}: not a text file in UTF-8") from None
    entries: dict[str, Entry] = {}
    try:
        reader = {".json": _read_json, ".txt": _read_ava_txt}.get(suffix)
        for entry in reader(text) if reader else _read_table(text, scale, group, scores_first):
            try:
                checked = _check(entry, scale)
                if entries.setdefault(entry.name, checked) is not checked:
                    raise LabelError(f"{shown(entry.name)} appears twice")
            except (TypeError, ValueError, OverflowError, LabelError) as error:
                raise LabelError(f", {entry.place}: {shown(str(error), 200)}") from None
    except LabelError as error:
        raise LabelError(f"{file}{error}") from None
    if not entries:
        raise LabelError(f"{file}: it holds no ratings")
    return list(entries.values())


def _check(entry: Entry, scale: tuple[float, float]) -> Entry:
    """An entry whose votes are numbers, as many as the scale has, or whose score is within the scale."""
    lowest, highest = scale
    if entry.votes is None:
        if not lowest <= entry.score <= highest:
            raise LabelError(f"a score of {entry.score:g} is not within {lowest:g}-{highest:g}")
        return entry
    votes = [float(vote) for vote in entry.votes]
    if len(votes) != highest - lowest + 1:
        raise LabelError(f"{len(votes)} votes instead of {highest - lowest + 1:g}")
    if not (min(votes) >= 0 and 0 < sum(votes) < math.inf):
        normalise(votes)  # which says what is wrong
    return entry._replace(votes=votes)


def shown(text: str, longest: int = 80) -> str:
    """A text of a file as an error shows it: short, and on one line."""
    return printable(text if len(text) <= longest else f"{text[: longest - 3]}...")


# The readers of the three forms. What they raise is continued after the name of the file.


def _read_json(text: str) -> Iterator[Entry]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f": not JSON ({error})") from None
    if not isinstance(rows, list):
        raise LabelError(": not a list of images")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"image_id", "label"} <= set(row) or not isinstance(row["label"], list):
            raise LabelError(f", entry {number}: not {{image_id, label}}")
        if not isinstance(row["image_id"], str | int):
            raise LabelError(f", entry {number}: the image_id is not text")
        yield Entry(f"entry {number}", str(row["image_id"]), row["label"])


def _read_ava_txt(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if columns and len(columns) < 2 + BINS:
            raise LabelError(f", line {number}: {len(columns)} columns, AVA.txt has 15")
        if columns:
            yield Entry(f"line {number}", columns[1], columns[2 : 2 + BINS])


class _Columns(NamedTuple):
    """Where a table has the name, the score, the votes in rising order and the group; and its number of columns."""

    name: int
    score: int | None
    votes: list[int]
    group: int | None
    width: int


def _read_table(text: str, scale: tuple[float, float], group: str, scores_first: bool) -> Iterator[Entry]:
    group = group.strip().lower()
    declared = re.match(r'"?sep=(.)"?\n', text)  # Excel's first line
    separator = declared[1] if declared else _find_separator(text, scale, group)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))][1 if declared else 0 :]
    except csv.Error as error:
        raise LabelError(f", line {reader.line_num}: {error}") from None
    titles = len(list(takewhile(lambda row: sum(map(bool, map(str.strip, row[1]))) == 1, rows[:5])))
    start = next((n for n, (_, row) in enumerate(rows[: titles + 1]) if _is_heading(row, scale, group)), None)
    line, heading = rows[start or 0] if rows else (1, [])
    if start is None:
        heading = ["path", "score"] if len(heading) == 2 else ["path", *_votes_on(scale)]
    else:
        rows = rows[start + 1 :]
        if rows and all(len(row) == len(heading) + 1 and row[0].isdecimal() for _, row in rows):
            heading = ["", *heading]  # R leaves out the heading of its row numbers
    try:
        columns = _find_columns([cell.strip().lower() for cell in heading], rows, scale, group, scores_first)
        for line, row in rows:
            yield _read_row(f"line {line}", row, columns, scale, separator != ",")
    except LabelError as error:
        raise LabelError(f", line {line}: {error}") from None


def _find_separator(text: str, scale: tuple[float, float], group: str) -> str:
    """What makes a heading of one of the first lines, or a row that ends in a number."""
    for line in text[: 1 << 16].splitlines()[:3]:
        for separator in (";", "\t", "|", ",", *(" " if line.startswith('"') else "")):
            try:
                row = next(csv.reader([line], delimiter=separator), [])
            except csv.Error:
                continue
            if len(row) > 1 and (_is_heading(row, scale, group) or _number(row[-1], separator != ",") is not None):
                return separator
    return ","


def _is_heading(row: list[str], scale: tuple[float, float], group: str) -> bool:
    """Whether a row names columns: one with a mistyped score does not, nor a picture whose votes are 1, 2, 3 ..."""
    cells = [cell.strip().lower() for cell in row]
    named = {*NAME_COLUMNS, *SCORE_COLUMNS, group} & set(cells)
    return bool(named) or (cells[1:] == _votes_on(scale) and cells[0].isalpha())


def _votes_on(scale: tuple[float, float]) -> list[str]:
    return [f"{vote}" for vote in range(int(scale[0]), int(scale[1]) + 1)]


def _find_columns(
    names: list[str], rows: list[tuple[int, list[str]]], scale: tuple[float, float], group: str, scores_first: bool
) -> _Columns:
    score = next((name for name in SCORE_COLUMNS if name in names), None)
    votes = {int(match[1]): index for index, name in enumerate(names) if (match := _VOTE.fullmatch(name))}
    if scores_first and score:
        votes = {}
    if group not in names and group != GROUP_COLUMN:
        raise LabelError(f"there is no column {group!r}")
    if votes:
        lowest, highest = min(votes), max(votes)
        if (lowest, highest) != scale:
            remedy = "; rename the columns if they are no votes" if score else ""
            raise LabelError(f"the votes are {lowest}-{highest}, but the scale is {scale[0]:g}-{scale[1]:g}{remedy}")
        if len(votes) != highest - lowest + 1:
            raise LabelError(f"{len(votes)} columns of votes, not all of {lowest}-{highest}")
    elif score is None and len(names) != 2:
        raise LabelError(f"the heading names neither votes such as 1 nor any of {', '.join(SCORE_COLUMNS)}")
    elif score and names.count(score) > 1:
        raise LabelError(f"two columns are called {score!r}: rename one")
    scored, grouped = (names.index(name) if name in names else None for name in (score, group))
    name = _find_names(names, [row for _, row in rows], {scored, grouped, *votes.values()})
    if not votes and scored is None:  # two columns, of which one has the names
        scored = 1 - name
    return _Columns(name, scored, [votes[vote] for vote in sorted(votes)], grouped, len(names))


def _find_names(names: list[str], rows: list[list[str]], taken: set[int | None]) -> int:
    """The column of the names of pictures, which numbers of rows and names of raters are not."""
    if "path" in names:
        return names.index("path")

    def holds_pictures(index: int) -> bool:
        cells = [row[index].strip().lower() for row in rows if index < len(row)]
        return 2 * sum(cell.endswith(IMAGE_SUFFIXES) for cell in cells) > len(rows)

    free = [index for index in range(len(names)) if index not in taken]
    named = [index for index in free if names[index] in NAME_COLUMNS]
    pictures = list(filter(holds_pictures, free))
    for found in ([index for index in named if index in pictures], pictures or named):
        if len(found) == 1:
            return found[0]
    several = "several columns" if pictures or named else "none of the columns"
    listed = ", ".join(shown(name or "(no name)") for name in names)
    raise LabelError(f"{several} may hold the names of the pictures ({listed}): call the right one `path`")


def _read_row(place: str, row: list[str], columns: _Columns, scale: tuple[float, float], decimal_comma: bool) -> Entry:
    if len(row) != columns.width:
        raise LabelError(f"{len(row)} columns instead of {columns.width}")
    name, group = row[columns.name], None if columns.group is None else row[columns.group].strip() or None
    if not name.strip():
        raise LabelError("the name is empty")
    votes = [row[index].strip() for index in columns.votes]
    if any(votes):
        if not all(votes):
            raise LabelError("some of the votes are empty: write 0 for none, or leave all of them empty")
        return Entry(place, name, _read_votes(votes, decimal_comma), group=group)
    score = "" if columns.score is None else row[columns.score].strip()
    if not score:
        raise LabelError("neither votes nor a score" if columns.votes else "the score is empty")
    return Entry(place, name, None, _read_score(score, scale, decimal_comma), group)


def _read_votes(votes: list[str], decimal_comma: bool) -> list[str]:
    """Votes as plain numbers: "1,024" is a count if all votes of the row are whole then, else a share."""
    marks = ",." if decimal_comma else ","
    joined = [vote.translate(dict.fromkeys(map(ord, marks))) if _GROUPED.fullmatch(vote) else vote for vote in votes]
    if all(map(str.isdecimal, joined)):
        return joined
    return [vote.replace(",", ".") for vote in votes] if decimal_comma else votes


def _read_score(score: str, scale: tuple[float, float], decimal_comma: bool) -> float:
    number, match = _number(score, decimal_comma), _GROUPED.fullmatch(score)
    if match and (decimal_comma or match[1] == ","):
        whole = float(score.replace(match[1], ""))
        if scale[0] <= whole <= scale[1]:
            if number is not None and scale[0] <= number <= scale[1]:
                raise LabelError(f"the score {score} may be {whole:g} or {number:g}: write it without marks of thousands")
            return whole
    if number is None:
        raise LabelError(f"the score is not a number: {shown(score)!r}")
    return number


def _number(text: str, decimal_comma: bool) -> float | None:
    try:
        return None if "_" in text else float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None

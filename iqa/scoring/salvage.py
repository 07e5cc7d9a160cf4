"""Damaged SQLite files: what can still be read of them, page by page, and where they are kept.

SQLite gives up where a page that leads to others is damaged, and Python's `sqlite3` has no way around it. The rows
themselves lie in leaves, which the file format (https://www.sqlite.org/fileformat2.html, sections 1.5, 1.6, 2.1 and 4.1)
lets one read without their tree. Which of them are right, the caller has to know: old versions of rows lie there too.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Bytes of a page; `Journal` asks for them.
PAGE = 4096

_LEAF, _LEAF_HEAD = 0x0D, 8
_FILE_HEAD, _LOG_HEAD, _FRAME_HEAD = 100, 32, 24

#: Bytes of a row that lie in its leaf, at most: a longer one goes on elsewhere and is passed over.
_LONGEST = PAGE - 35

_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def any_content(database: Path) -> bool:
    """Whether there is anything in a database or in its write-ahead log."""
    return any(os.path.exists(file) and os.path.getsize(file) > 0 for file in (database, _log_of(database)))


def is_database(path: Path) -> bool:
    """Whether a file begins as SQLite's do. If it does not, SQLite would throw away its log."""
    if not path.exists():
        return False
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def set_aside(database: Path, why: str) -> Path | None:
    """Rename a database and its log to "NAME.why" or the like; returns that path, or None if there is neither."""
    if not any_content(database):
        return None
    aside = _unused(database, why)
    # The log first: without it the database is still one, but the log alone would be played into the next database.
    for file, kept in ((_log_of(database), _log_of(aside)), (database, aside)):
        with suppress(FileNotFoundError):
            os.replace(file, kept)
    return aside


def copy_aside(database: Path, why: str) -> Path:
    """As `set_aside`, but the database stays as well."""
    aside = _unused(database, why)
    for file, kept in ((_log_of(database), _log_of(aside)), (database, aside)):
        with suppress(FileNotFoundError):
            shutil.copyfile(file, kept)
    return aside


def _unused(database: Path, why: str) -> Path:
    for number in itertools.count(1):
        path = database.with_name(f"{database.name}.{why}" + (f"-{number}" if number > 1 else ""))
        if not path.exists() and not _log_of(path).exists():
            return path
    raise AssertionError


def _log_of(database: Path) -> Path:
    return Path(f"{database}-wal")


def read_rows(database: Path) -> Iterator[tuple[Any, ...]]:
    """All rows of all tables that lie in whole leaves of a database and of its write-ahead log, in no order.

    Raises:
        OSError: if a file that is there cannot be read.
    """
    yield from _rows_of(database, 0, 0)
    yield from _rows_of(_log_of(database), _LOG_HEAD, _FRAME_HEAD)


def _rows_of(path: Path, before: int, between: int) -> Iterator[tuple[Any, ...]]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(before)
        while len(page := file.read(between + PAGE)[between:]) >= _LEAF_HEAD:
            yield from _rows_on(page)


def _rows_on(page: bytes) -> Iterator[tuple[Any, ...]]:
    if page[0] != _LEAF:
        return
    count = int.from_bytes(page[3:5])
    for number in range(min(count, PAGE // 4)):
        place = _LEAF_HEAD + 2 * number
        try:
            row = _row_at(page, int.from_bytes(page[place : place + 2]))
        except (IndexError, ValueError):  # no row, whatever it was
            continue
        if row is not None:
            yield row


def _row_at(page: bytes, place: int) -> tuple[Any, ...] | None:
    length, place = _number_at(page, place)
    _, place = _number_at(page, place)  # of the row
    if not 0 < length <= _LONGEST or place + length > len(page):
        return None
    record = page[place : place + length]
    head, place = _number_at(record, 0)
    kinds = []
    while place < head:
        kind, place = _number_at(record, place)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        size = _INTEGERS.get(kind, (kind - 12) // 2 if kind >= 12 else 8 if kind == 7 else 0)
        content, place = record[place : place + size], place + size
        if len(content) != size:
            raise ValueError("a row that breaks off")
        values.append(_value(kind, content))
    return tuple(values)


def _value(kind: int, content: bytes) -> Any:
    if kind in _INTEGERS:
        return int.from_bytes(content, signed=True)
    if kind in (8, 9):
        return kind - 8
    if kind >= 12:
        return content.decode() if kind % 2 else content
    return None  # and a floating point number, which no journal has


def _number_at(content: bytes, place: int) -> tuple[int, int]:
    """(a number of SQLite's variable length, the place behind it)."""
    number = 0
    for step in range(9):
        byte = content[place + step]
        if step == 8:
            return number << 8 | byte, place + 9
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place + step + 1
    raise ValueError

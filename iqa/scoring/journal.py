"""The journal of a run over a collection, beside the file that the run will write: what is to be scored, and what was.

It is a database of SQLite, because a journal must take an entry every few milliseconds, survive a kill at any of them, and
find a path among a million without holding them in memory.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.errors import JournalError
from iqa.labels.histograms import mean
from iqa.labels.opinions import Prediction

_TABLES = """
CREATE TABLE run (head TEXT, listings INTEGER);
CREATE TABLE images (
    position INTEGER PRIMARY KEY, key BLOB UNIQUE, path BLOB, label BLOB, stamp TEXT, listing INTEGER,
    output BLOB, reason TEXT, warning TEXT
);
CREATE INDEX waiting ON images (position) WHERE output IS NULL AND reason IS NULL;
"""

_CHUNK = 1000

#: Of the tables above: a journal with others is one of another run.
_VERSION = 2


@dataclass(frozen=True)
class Entry:
    """A picture of a run.

    Attributes:
        key: what distinguishes it from all others: its path, or its name in the labels.
        path: the file, or None where none was found.
        label: float64 (1,) or (10,); None without labels.
        prediction: what the model says of it, or why it says nothing; None while it waits.
    """

    key: str
    path: Path | None
    label: NDArray[np.float64] | None = None
    prediction: Prediction | None = None

    @property
    def label_mean(self) -> float:
        """The score that people gave, or the mean of the histogram of their votes."""
        assert self.label is not None
        return float(self.label[0] if len(self.label) == 1 else mean(self.label))

    @property
    def output(self) -> NDArray[np.float32] | None:
        """float32 (1,) or (10,), if it is scored."""
        return self.prediction.output if self.prediction else None

    @property
    def reason(self) -> str | None:
        """Why it has no score, if that is known."""
        return self.prediction.reason if self.prediction else None


class Journal:
    """What a run has to do and has done; a context manager.

    If a journal of another run (`head`) lies at `path`, a new one takes its place, and `replaced` is True.

    Args:
        path: of the database.
        head: what the run is of: weights, geometry, runtime, what was named; as JSON holds it.

    Raises:
        JournalError: if it cannot be written, or another process is writing it.
    """

    def __init__(self, path: str | os.PathLike[str], head: dict[str, Any]) -> None:
        self.path, self.replaced = Path(path), False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        existed = self.path.exists()
        text = json.dumps(head | {"journal": _VERSION}, sort_keys=True, allow_nan=False)
        if self._open() != text:
            self.replaced = existed
            self.close()
            self._remove()
            self._open()
            with self._explain():
                self._database.executescript(_TABLES)
                self._database.execute("INSERT INTO run VALUES (?, 0)", (text,))
        ((self._listing,),) = self._fetch("SELECT listings FROM run")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> str | None:
        """Open the database; returns the head of its run, or None if it is new or no journal at all."""
        with self._explain():
            # Transactions only where one is opened: what is recorded is on its way to the disk, whatever happens next.
            self._database = sqlite3.connect(self.path, timeout=1, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # two runs would spoil one journal
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            ((head,),) = self._database.execute("SELECT head FROM run")
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            with self._explain():
                raise
        except (sqlite3.DatabaseError, ValueError):
            return None
        return str(head)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            why = "another run is writing it" if "locked" in str(error) else error
            raise JournalError(f"{self.path}: {why}") from None

    def _fetch(self, question: str, *values: Any) -> list[Any]:
        return self._do(question, *values).fetchall()

    def _do(self, command: str, *values: Any) -> sqlite3.Cursor:
        with self._explain():
            return self._database.execute(command, values)

    def enter(self, entries: Iterable[Entry], forget: bool = True) -> Iterator[tuple[str, str]]:
        """Note what is to be scored. A run that is resumed does it again, since files come, go and change.

        Args:
            entries: with a prediction, its reason, where no file was found.
            forget: leave out what is no longer named. That is not done if nothing is named any more or something could not
                be listed: a list or a folder that is out of reach for a moment must not cost what was scored. If False,
                what cannot be listed is told and not noted.

        Yields:
            (key, what) for what is unusual: "named twice"; "new since the run began"; "changed since it was scored", and
            then it is scored again; "no longer named", and then it is left out. What is gone keeps its score.
        """
        resumed, self._listing = self._listing > 0, self._listing + 1
        named, whole = False, True
        self._do("BEGIN")
        for entry in entries:
            if (
                entry.reason
                and not forget
                and not self._fetch("SELECT 1 FROM images WHERE key = ?", os.fsencode(entry.key))
            ):
                yield entry.key, entry.reason
                continue
            named, whole = True, whole and not entry.reason
            what = self._enter(entry)
            if what and (resumed or what == "named twice"):
                yield entry.key, what
        if forget and named and whole:
            yield from self._forget()
        self._do("UPDATE run SET listings = ?", self._listing)
        self._do("COMMIT")

    def _forget(self) -> Iterator[tuple[str, str]]:
        for position, key, path in self._fetch("SELECT position, key, path FROM images WHERE listing < ?", self._listing):
            if path is None or os.path.lexists(os.fsdecode(path)):
                self._do("DELETE FROM images WHERE position = ?", position)
                yield os.fsdecode(key), "no longer named"

    def _enter(self, entry: Entry) -> str | None:
        key, stamp = os.fsencode(entry.key), _stamp(entry.path)
        path = os.fsencode(entry.path) if entry.path else None
        found = self._fetch(
            "SELECT position, stamp, listing, coalesce(output, reason) IS NOT NULL FROM images WHERE key = ?", key
        )
        if not found:
            label = None if entry.label is None else np.asarray(entry.label, np.float64).tobytes()
            values = (key, path, label, stamp, self._listing, None, entry.reason)
            self._do("INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, NULL)", *values)
            return "new since the run began"
        ((position, before, listing, done),) = found
        if listing == self._listing:
            return "named twice"
        self._do("UPDATE images SET listing = ? WHERE position = ?", self._listing, position)
        if stamp is None or stamp == before:
            return None
        self._do(
            "UPDATE images SET path = ?, stamp = ?, output = NULL, warning = NULL, reason = ? WHERE position = ?",
            *(path, stamp, entry.reason, position),
        )
        return "changed since it was scored" if done else None

    def count(self) -> tuple[int, int]:
        """(all pictures, those that have a score or a reason)."""
        ((total, done),) = self._fetch("SELECT count(*), count(coalesce(output, reason)) FROM images")
        return total, done

    def waiting(self) -> Iterator[tuple[int, Path]]:
        """(position, path) of the pictures that have neither score nor reason, in order."""
        last = 0
        while chunk := self._fetch(
            "SELECT position, path FROM images WHERE output IS NULL AND reason IS NULL AND position > ?"
            f" ORDER BY position LIMIT {_CHUNK}",
            last,
        ):
            for position, path in chunk:
                yield position, Path(os.fsdecode(path))
            last = chunk[-1][0]

    def record(self, position: int, prediction: Prediction) -> None:
        """Note what the model says of a picture, or why it says nothing."""
        output = None if prediction.output is None else np.asarray(prediction.output, np.float32).tobytes()
        values = (output, prediction.reason, prediction.warning, position)
        self._do("UPDATE images SET output = ?, reason = ?, warning = ? WHERE position = ?", *values)

    def entries(self, scored: bool | None = None) -> Iterator[Entry]:
        """The pictures in order: all, those that are scored, or those that are not."""
        which = {None: "1", True: "output IS NOT NULL", False: "output IS NULL"}[scored]
        rows = self._do(f"SELECT key, path, label, output, reason, warning FROM images WHERE {which} ORDER BY position")
        for key, path, label, output, reason, warning in rows:
            done = output is not None or reason is not None
            array = None if output is None else np.frombuffer(output, np.float32)
            yield Entry(
                os.fsdecode(key),
                Path(os.fsdecode(path)) if path is not None else None,
                None if label is None else np.frombuffer(label, np.float64),
                Prediction(array, reason=reason, warning=warning) if done else None,
            )

    def close(self) -> None:
        """Close the database; what it holds stays."""
        self._database.close()

    def finish(self) -> None:
        """Close and remove it: a finished run needs no journal."""
        self.close()
        self._remove()

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)


def _stamp(path: Path | None) -> str | None:
    """What distinguishes a file from another of its name: its size, time of change and folder; None for no file."""
    try:
        found = os.stat(path) if path else None
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        found = None
    return f"{found.st_size} {found.st_mtime_ns} {os.fsencode(os.path.abspath(path)).hex()}" if found and path else None

"""The journal of a run over a collection: what is to be scored, and what was, beside the file that it will become.

It is a database of SQLite, because a journal must take an entry every few milliseconds, survive a kill at any of them, and
find a path among a million without holding them in memory.
"""

import json
import os
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iqa.errors import JournalError

_TABLES = """
CREATE TABLE run (head TEXT, listings INTEGER);
CREATE TABLE images (
    position INTEGER PRIMARY KEY, key BLOB UNIQUE, path BLOB, label BLOB, stamp TEXT, listing INTEGER,
    output BLOB, reason TEXT
);
CREATE INDEX waiting ON images (position) WHERE output IS NULL AND reason IS NULL;
"""

_CHUNK = 1000


class Image(NamedTuple):
    """An image of a run.

    Attributes:
        key: what tells it from all others: its path, or its name in the labels.
        path: the file, or None where none was found.
        label: float64 (1,), (10,) or, without labels, None.
        output: float32 (1,) or (10,), once it is scored.
        reason: why it is not.
    """

    key: str
    path: Path | None
    label: np.ndarray | None = None
    output: np.ndarray | None = None
    reason: str | None = None


class Journal:
    """What a run has to do and has done; a context manager.

    A journal of another run (`head`) that lies at `path` is begun anew; `replaced` tells so.

    Args:
        path: of the database.
        head: what the run is of: weights, geometry, runtime, what was named; as JSON can hold it.

    Raises:
        JournalError: if it cannot be written, or another process is at it.
    """

    def __init__(self, path, head):
        self.path, self.replaced = Path(path), False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        existed = self.path.exists()
        head = json.dumps(head, sort_keys=True)
        if self._open() != head:
            self.replaced = existed
            self.close()
            self._remove()
            self._open()
            with self._explained():
                self._database.executescript(_TABLES)
                self._database.execute("INSERT INTO run VALUES (?, 0)", (head,))
        ((self._listing,),) = self._all("SELECT listings FROM run")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self):
        """Open the database, and what it is the journal of; None if it is new, or no journal at all."""
        with self._explained():
            # No transaction but where one is opened: what was recorded is on its way to the disk, whatever happens next.
            self._database = sqlite3.connect(self.path, timeout=1, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # two runs at one journal would spoil both
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            ((head,),) = self._database.execute("SELECT head FROM run")
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            with self._explained():
                raise
        except (sqlite3.DatabaseError, ValueError):
            return None
        return head

    @contextmanager
    def _explained(self):
        try:
            yield
        except sqlite3.OperationalError as error:
            why = "another run is writing it" if "locked" in str(error) else error
            raise JournalError(f"{self.path}: {why}") from None

    def _all(self, question, *values):
        return self._do(question, *values).fetchall()

    def _do(self, command, *values):
        with self._explained():
            return self._database.execute(command, values)

    def list(self, images):
        """Note what is to be scored. On going on: again, since files come, go and change.

        Args:
            images: an iterable of `Image`, with a `reason` where no file was found.

        Yields:
            (key, what) as it turns out: "named twice", "new since the run began", "changed since it was scored", and then
            it is scored again, or "no longer named", and then it is left out. What is gone keeps its score.
        """
        resumed, self._listing = self._listing > 0, self._listing + 1
        self._do("BEGIN")
        for image in images:
            key, stamp = os.fsencode(image.key), _stamp(image.path)
            path = os.fsencode(image.path) if image.path else None
            found = self._all(
                "SELECT position, stamp, listing, coalesce(output, reason) IS NOT NULL FROM images WHERE key = ?", key
            )
            if not found:
                label = None if image.label is None else np.asarray(image.label, np.float64).tobytes()
                values = (key, path, label, stamp, self._listing, None, image.reason)
                self._do("INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", *values)
                if resumed:
                    yield image.key, "new since the run began"
                continue
            ((position, before, listing, done),) = found
            if listing == self._listing:
                yield image.key, "named twice"
                continue
            self._do("UPDATE images SET listing = ? WHERE position = ?", self._listing, position)
            if stamp != before and stamp is not None:
                self._do(
                    "UPDATE images SET path = ?, stamp = ?, output = NULL, reason = ? WHERE position = ?",
                    *(path, stamp, image.reason, position),
                )
                if done:
                    yield image.key, "changed since it was scored"
        for position, key, path in self._all("SELECT position, key, path FROM images WHERE listing < ?", self._listing):
            if path is None or os.path.lexists(os.fsdecode(path)):
                self._do("DELETE FROM images WHERE position = ?", position)
                yield os.fsdecode(key), "no longer named"
        self._do("UPDATE run SET listings = ?", self._listing)
        self._do("COMMIT")

    def count(self):
        """(all images, those that have a score or a reason)."""
        return self._all("SELECT count(*), count(coalesce(output, reason)) FROM images")[0]

    def waiting(self):
        """(position, path) of the images that have neither score nor reason, in order."""
        last = 0
        while chunk := self._all(
            "SELECT position, path FROM images WHERE output IS NULL AND reason IS NULL AND position > ?"
            f" ORDER BY position LIMIT {_CHUNK}",
            last,
        ):
            for position, path in chunk:
                yield position, Path(os.fsdecode(path))
            last = chunk[-1][0]

    def record(self, position, output=None, reason=None):
        """Note the output of an image, or the reason why there is none."""
        output = None if output is None else np.asarray(output, np.float32).tobytes()
        self._do("UPDATE images SET output = ?, reason = ? WHERE position = ?", output, reason, position)

    def images(self, scored=None):
        """The images in order: all, those that are scored, or those that are not."""
        which = {None: "1", True: "output IS NOT NULL", False: "output IS NULL"}[scored]
        rows = self._do(f"SELECT key, path, label, output, reason FROM images WHERE {which} ORDER BY position")
        for key, path, label, output, reason in rows:
            yield Image(
                os.fsdecode(key),
                Path(os.fsdecode(path)) if path is not None else None,
                None if label is None else np.frombuffer(label, np.float64),
                None if output is None else np.frombuffer(output, np.float32),
                reason,
            )

    def close(self):
        self._database.close()

    def finish(self):
        """Close and remove: a finished run needs its journal no more."""
        self.close()
        self._remove()

    def _remove(self):
        for end in ("", "-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)


def _stamp(path):
    """What tells one file from another of its name: its folder, size and time of change; None for no file."""
    try:
        found = os.stat(path) if path else None
    except (OSError, ValueError):  # a name with a zero byte is none
        found = None
    return found and f"{found.st_size} {found.st_mtime_ns} {os.fsencode(os.path.abspath(path)).hex()}"

"""The journal of a run over a collection, beside the file that the run will write: what is to be scored, and what was.

It is a table of SQLite, which takes a row every few milliseconds, survives a kill at any of them, and finds a path among a
million on disk. A row holds a `Result` as JSON.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from iqa.errors import JournalError
from iqa.images.stored import StoredFile, path_of
from iqa.scoring.results import Result

_TABLES = """
CREATE TABLE run (head TEXT, listings INTEGER, finished INTEGER, runtimes TEXT);
CREATE TABLE pictures (
    position INTEGER PRIMARY KEY, path BLOB UNIQUE, fingerprint TEXT, result TEXT, features BLOB,
    listing INTEGER, place INTEGER
);
CREATE INDEX waiting ON pictures (position) WHERE result IS NULL;
"""

_VERSION = 4  # of the tables above: a journal with others is one of another run
_CHUNK = 1000


def fingerprint_of(path: Path | StoredFile) -> str:
    """What distinguishes a file from another of its name, by its size, times, number and folder; "" for no file."""
    try:
        if isinstance(path, StoredFile):
            facts: tuple[Any, ...] = (path.url, path.facts)
        else:
            found = os.stat(path)
            facts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, os.path.abspath(path))
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return ""
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


class Journal(AbstractContextManager["Journal"]):
    """What a run has to do and has done; a context manager.

    A journal of the same models at `path` is resumed; anything else there is renamed, and its pictures are scored again.

    Args:
        head: what a score depends on apart from the picture; its "features" name the model whose features are kept.
        runtime: the inference backend, which moves a score by less than anybody could see.

    Attributes:
        notes, runtimes: lines about what was found at `path`, and all runtimes that have scored for this journal.

    Raises:
        JournalError: from all methods, if it cannot be written, or another process is writing it.
    """

    def __init__(self, path: str | os.PathLike[str], head: dict[str, Any], runtime: str = "") -> None:
        self.path, self.notes = Path(path), list[str]()
        self._features = str(head.get("features") or "")
        self._head = json.dumps(head | {"journal": _VERSION}, sort_keys=True, allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise JournalError(f"{self.path}: another run is writing it") from None
        self._database = sqlite3.connect(":memory:")
        try:
            with self._explain():
                self._open()
                ((self._listing, self._finished, runtimes),) = self._do("SELECT listings, finished, runtimes FROM run")
                self.runtimes: list[str] = json.loads(runtimes)
                if runtime and runtime not in self.runtimes:
                    if self.runtimes:
                        so_far = f"{', '.join(self.runtimes)} scored so far, {runtime} scores the rest"
                        self.notes.append(f"{so_far}: scores may differ by 0.000001")
                    self.runtimes.append(runtime)
                    self._do("UPDATE run SET runtimes = ?", json.dumps(self.runtimes))
        except BaseException:
            self.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        """Connect to the database at the path, or to a new one if what lies there is none of this run."""
        if os.path.exists(self.path) and os.path.getsize(self.path):
            why = self._examine()
            if not why:
                return
            self._database.close()
            aside, number = Path(f"{self.path}.{why}"), 1
            while aside.exists():
                number += 1
                aside = Path(f"{self.path}.{why}-{number}")
            os.replace(self.path, aside)
            what = "is of another model" if why == "other" else "cannot be read, its pictures are scored again"
            self.notes.append(f"{self.path} {what}; it is kept as {aside.name}")
        Path(f"{self.path}-wal").unlink(missing_ok=True)  # the log of a damaged journal
        self._connect()
        self._database.executescript(f"BEGIN; {_TABLES}")
        self._do("INSERT INTO run VALUES (?, 0, 0, '[]')", self._head)
        self._do("COMMIT")

    def _connect(self) -> None:
        # Transactions only where one is opened: what is recorded is on its way to the disk, whatever happens next.
        self._database = sqlite3.connect(self.path, timeout=1, isolation_level=None)
        # A power cut costs at most the rows of the log since the last 4 MB, which are scored again.
        for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._database.execute(f"PRAGMA {setting}")

    def _examine(self) -> str:
        """Connect to the journal at the path; returns "" if it is of this run, otherwise "other" or "damaged"."""
        try:
            self._connect()
            whole = self._database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            rows = self._database.execute("SELECT head FROM run").fetchall() if whole else []
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise  # locked, full, read only ...
            rows = []
        return "damaged" if not rows else "" if rows == [(self._head,)] else "other"

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise JournalError(f"{self.path}: {error}") from None

    def _do(self, command: str, *values: Any) -> sqlite3.Cursor:
        with self._explain():
            return self._database.execute(command, values)

    def enter(self, listed: Iterable[Result], forget: bool = True) -> Iterator[tuple[str, str]]:
        """Note what is to be scored. A run that is resumed does it again, since files come, go and change.

        Args:
            listed: in the order of the output: the path alone, or with the error why there is no picture.
            forget: leave out what is no longer named, unless nothing is named or something could not be listed. If False,
                what cannot be listed is told and not noted, and what has no score is tried again though it is not listed.

        Yields:
            (path, what) for what is unusual: "named twice", "new since the run began", "changed since it was scored", "no
            longer named". What is gone keeps its score until the run is finished.
        """
        resumed, self._listing = self._listing > 0, self._listing + 1
        named, whole = 0, True
        self._do("BEGIN")
        for result in listed:
            path, fingerprint = os.fsencode(result.path), fingerprint_of(result.path)
            refused = json.dumps(result.to_json()) if result.error else None
            row = self._do("SELECT position, fingerprint, result, listing FROM pictures WHERE path = ?", path).fetchone()
            if not forget and not row and (result.error or not fingerprint):
                yield str(result.path), result.error or "there is no such file"
                continue
            named, whole = named + 1, whole and not result.error
            if not row:
                new = "INSERT INTO pictures (path, fingerprint, result, listing, place) VALUES (?, ?, ?, ?, ?)"
                self._do(new, path, fingerprint, refused, self._listing, named)
                if resumed and not self._finished:
                    yield str(result.path), "new since the run began"
                continue
            position, before, done, listing = row
            if listing == self._listing:
                yield str(result.path), "named twice"
                continue
            self._do("UPDATE pictures SET listing = ?, place = ? WHERE position = ?", self._listing, named, position)
            scored = done is not None and "scores" in json.loads(done)
            if not scored or fingerprint not in ("", before):
                changed = "UPDATE pictures SET fingerprint = ?, result = ?, features = NULL WHERE position = ?"
                self._do(changed, fingerprint, refused, position)
                if scored:
                    yield str(result.path), "changed since it was scored"
        if forget and named and whole:
            gone = self._do("SELECT position, path FROM pictures WHERE listing < ?", self._listing).fetchall()
            for position, path in gone:
                if self._finished or os.path.lexists(path):
                    self._do("DELETE FROM pictures WHERE position = ?", position)
                    yield os.fsdecode(path), "no longer named"
        if not forget:  # what the listing missed may be there again; of a folder that is, it named the pictures
            lost = "result NOT LIKE '{\"scores\"%' AND listing < ?"
            for position, path in self._do(f"SELECT position, path FROM pictures WHERE {lost}", self._listing).fetchall():
                back = "DELETE FROM pictures" if os.path.isdir(path) else "UPDATE pictures SET result = NULL"
                self._do(f"{back} WHERE position = ?", position)
        self._do("UPDATE run SET listings = ?, finished = 0", self._listing)
        self._do("COMMIT")
        self._finished = False

    def count(self) -> tuple[int, int]:
        """The numbers of all pictures and of those that have a result."""
        return tuple(self._do("SELECT count(*), count(result) FROM pictures").fetchone())

    def waiting(self) -> Iterator[tuple[int, Path | StoredFile]]:
        """(position, path) of the pictures that have no result, in the order in which they came."""
        command = "SELECT position, path FROM pictures WHERE result IS NULL AND position > ? ORDER BY position LIMIT ?"
        last = 0
        while chunk := self._do(command, last, _CHUNK).fetchall():
            for last, path in chunk:
                yield last, path_of(os.fsdecode(path))

    def record(self, position: int, result: Result) -> None:
        """Note the result of a picture, with its features in half precision if it has any."""
        features, text = result.features.get(self._features), json.dumps(result.to_json())
        kept = None if features is None else features.astype(np.float16).tobytes()
        self._do("UPDATE pictures SET result = ?, features = ? WHERE position = ?", text, kept, position)

    def results(self) -> Iterator[Result]:
        """The results in the order of the last listing."""
        command = "SELECT path, result, features FROM pictures WHERE result IS NOT NULL ORDER BY place, position"
        with self._explain():
            yield from (self._result_of(*row) for row in self._do(command))

    def find(self, path: Path | StoredFile) -> Result | None:
        """The result of a picture; None if it has none."""
        command = "SELECT path, result, features FROM pictures WHERE result IS NOT NULL AND path = ?"
        return next((self._result_of(*row) for row in self._do(command, os.fsencode(path))), None)

    def _result_of(self, path: bytes, text: str, features: bytes | None) -> Result:
        result = Result.from_json(os.fsdecode(path), json.loads(text))
        if features:
            result.features[self._features] = np.frombuffer(features, np.float16).astype(np.float32)
        return result

    def close(self) -> None:
        """Close the database; what it holds stays."""
        self._database.close()
        if self._lock.is_locked:
            with suppress(OSError):  # before it is released: afterwards it may be another run's
                os.remove(self._lock.lock_file)
            self._lock.release()

    def finish(self, keep: bool = False) -> None:
        """Close the journal of a run whose output is safe, and remove it unless it is to be kept for a later run."""
        if keep:
            self._do("UPDATE run SET finished = 1")
        self._database.close()
        if not keep:
            self.path.unlink(missing_ok=True)
        self.close()

"""The journal of a run over a collection, beside the file that the run will write: what is to be scored, and what was.

It is a table of SQLite, because a journal must take a row every few milliseconds, survive a kill at any of them, and find a
path among a million without holding them in memory. A row holds a `Result` as JSON.
"""

import hashlib
import itertools
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from iqa.errors import JournalError
from iqa.files import keep_on_disk
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

#: Of the tables above: a journal with others is one of another run.
_VERSION = 4

_CHUNK = 1000


def fingerprint_of(path: Path | StoredFile) -> str:
    """What distinguishes a file from another of its name, from its size, times, number and folder; "" for no file.

    A picture may be replaced by another one of the same size and time. Of a stored file it is what the storage says of it.
    """
    if isinstance(path, StoredFile):
        facts: tuple[Any, ...] = (path.url, path.facts)
    else:
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # ValueError: a name with a zero byte
            return ""
        facts = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, os.fsencode(os.path.abspath(path)))
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


class Journal:
    """What a run has to do and has done; a context manager.

    A journal of the same models that lies at `path` is resumed: what it has of the same files is taken over. Anything else
    that lies there is renamed, and its pictures are scored again.

    Args:
        path: of the database.
        head: what a score depends on apart from the picture: weights, geometry ...; as JSON holds it. Its "features" name
            the model whose features are kept, if any.
        runtime: the inference backend, whose name and version move a score by less than anybody could see.

    Attributes:
        notes: lines about what was found at `path`, if that is unusual.
        runtimes: all that have scored for this journal.

    Raises:
        JournalError: if it cannot be written, or another process is writing it.
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
                self._note_runtime(runtime)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        """Connect to the database at the path, or to a new one if what lies there is none of this run."""
        why = self._examine()
        if why:
            self._database.close()
            aside = next(
                name
                for number in itertools.count(1)
                if not os.path.lexists(name := f"{self.path}.{why}" + (f"-{number}" if number > 1 else ""))
            )
            with suppress(FileNotFoundError):  # its log, without which it may lack the last rows
                os.replace(f"{self.path}-wal", f"{aside}-wal")
            os.replace(self.path, aside)
            what = "is of another model" if why == "other" else "cannot be read, its pictures are scored again"
            self.notes.append(f"{self.path} {what}; it is kept as {Path(aside).name}")
        if why is not None:
            self._connect()
            self._database.executescript(f"BEGIN; {_TABLES}")
            self._do("INSERT INTO run VALUES (?, 0, 0, '[]')", self._head)
            self._do("COMMIT")

    def _connect(self) -> None:
        # Transactions only where one is opened: what is recorded is on its way to the disk, whatever happens next.
        self._database = sqlite3.connect(self.path, timeout=1, isolation_level=None)
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        # A power cut costs at most the rows of the log since the last 4 MB, which are scored again.
        self._database.execute("PRAGMA synchronous = NORMAL")

    def _examine(self) -> str | None:
        """None if the database at the path is of this run; "" if there is none, otherwise "other" or "damaged"."""
        if not os.path.exists(self.path) or not os.path.getsize(self.path):
            with suppress(FileNotFoundError):
                os.remove(f"{self.path}-wal")
            return ""
        with open(self.path, "rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                return "damaged"
        try:
            self._connect()
            if self._database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return "damaged"
            rows = self._database.execute("SELECT head FROM run").fetchall()
            for (text,) in self._database.execute("SELECT result FROM pictures WHERE result IS NOT NULL"):
                Result.from_json("", json.loads(text))
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                raise  # locked, full, read only ...
            return "damaged"
        return None if rows == [(self._head,)] else "other" if rows else "damaged"

    def _note_runtime(self, runtime: str) -> None:
        if runtime and runtime not in self.runtimes:
            if self.runtimes:
                before = ", ".join(self.runtimes)
                self.notes.append(f"{before} scored so far, {runtime} scores the rest: scores may differ by 0.000001")
            self.runtimes.append(runtime)
            self._do("UPDATE run SET runtimes = ?", json.dumps(self.runtimes))

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError) and type(error) is not sqlite3.DatabaseError:
                raise  # a bug of ours
            why = "another run is writing it" if "locked" in str(error) else error
            raise JournalError(f"{self.path}: {why}") from None

    def _do(self, command: str, *values: Any) -> sqlite3.Cursor:
        with self._explain():
            return self._database.execute(command, values)

    # --- what is to be scored --------------------------------------------------------------------------------------

    def enter(self, listed: Iterable[Result], forget: bool = True) -> Iterator[tuple[str, str]]:
        """Note what is to be scored. A run that is resumed does it again, since files come, go and change.

        Args:
            listed: in the order of the output: the path alone, or with the error why there is no picture.
            forget: leave out what is no longer named. That is not done if nothing is named any more or something could not
                be listed: a folder that is out of reach for a moment must not cost what was scored. If False, what cannot
                be listed is told and not noted.

        Yields:
            (path, what) for what is unusual: "named twice"; "new since the run began"; "changed since it was scored", and
            then it is scored again; "no longer named", and then it is left out. What is gone keeps its score until the run
            is finished. What could not be scored before is tried again: the reason may have passed.
        """
        resumed, self._listing = self._listing > 0, self._listing + 1
        named, whole = 0, True
        self._do("BEGIN")
        for result in listed:
            known = self._do("SELECT 1 FROM pictures WHERE path = ?", os.fsencode(result.path)).fetchone()
            if result.error and not forget and not known:
                yield str(result.path), result.error
                continue
            named, whole = named + 1, whole and not result.error
            what = self._enter(result, named)
            if what and ((resumed and not (self._finished and what.startswith("new"))) or what == "named twice"):
                yield str(result.path), what
        if forget and named and whole:
            gone = self._do("SELECT position, path FROM pictures WHERE listing < ?", self._listing).fetchall()
            for position, path in gone:
                if self._finished or os.path.lexists(path):
                    self._do("DELETE FROM pictures WHERE position = ?", position)
                    yield os.fsdecode(path), "no longer named"
        self._do("UPDATE run SET listings = ?, finished = 0", self._listing)
        self._do("COMMIT")
        self._finished = False

    def _enter(self, result: Result, place: int) -> str | None:
        path, fingerprint = os.fsencode(result.path), fingerprint_of(result.path)
        refused = json.dumps(result.to_json()) if result.error else None
        found = self._do("SELECT position, fingerprint, result, listing FROM pictures WHERE path = ?", path).fetchone()
        if not found:
            self._do(
                "INSERT INTO pictures (path, fingerprint, result, listing, place) VALUES (?, ?, ?, ?, ?)",
                *(path, fingerprint, refused, self._listing, place),
            )
            return "new since the run began"
        position, before, done, listing = found
        if listing == self._listing:
            return "named twice"
        self._do("UPDATE pictures SET listing = ?, place = ? WHERE position = ?", self._listing, place, position)
        scored = done is not None and "scores" in json.loads(done)
        if scored and fingerprint in ("", before):
            return None
        self._do(
            "UPDATE pictures SET fingerprint = ?, result = ?, features = NULL WHERE position = ?",
            *(fingerprint, refused, position),
        )
        return "changed since it was scored" if scored else None

    def count(self) -> tuple[int, int]:
        """(all pictures, those that have a result)."""
        total, done = self._do("SELECT count(*), count(result) FROM pictures").fetchone()
        return total, done

    def waiting(self) -> Iterator[tuple[int, Path | StoredFile]]:
        """(position, path) of the pictures that have no result, in the order in which they came."""
        last = 0
        while chunk := self._do(
            "SELECT position, path FROM pictures WHERE result IS NULL AND position > ? ORDER BY position LIMIT ?",
            last,
            _CHUNK,
        ).fetchall():
            for position, path in chunk:
                yield position, path_of(os.fsdecode(path))
            last = chunk[-1][0]

    def record(self, position: int, result: Result) -> None:
        """Note the result of a picture, with its features in half precision if it has any."""
        features = result.features.get(self._features)
        kept = None if features is None else features.astype(np.float16).tobytes()
        text = json.dumps(result.to_json())
        self._do("UPDATE pictures SET result = ?, features = ? WHERE position = ?", text, kept, position)

    def results(self) -> Iterator[Result]:
        """The results in the order of the last listing."""
        with self._explain():
            for row in self._do(
                "SELECT path, result, features FROM pictures WHERE result IS NOT NULL ORDER BY place, position"
            ):
                yield self._result_of(*row)

    def find(self, path: Path | StoredFile) -> Result | None:
        """The result of a picture; None if it has none."""
        row = self._do("SELECT path, result, features FROM pictures WHERE path = ?", os.fsencode(path)).fetchone()
        return self._result_of(*row) if row and row[1] else None

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
            self._do("VACUUM")
            self.close()
            keep_on_disk(self.path)
        else:
            self._database.close()
            for end in ("-wal", "-shm", ""):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
            self.close()

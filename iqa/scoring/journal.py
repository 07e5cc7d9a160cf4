"""The journal of a run over a collection, beside the file that the run will write: what is to be scored, and what was.

It is a database of SQLite, because a journal must take an entry every few milliseconds, survive a kill at any of them, and
find a path among a million without holding them in memory. Each score bears a seal, a hash of it and of the model, so that
neither a damaged disk nor another model's journal can slip a wrong one into the output.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.errors import JournalError
from iqa.files import Lock, keep_on_disk, printable
from iqa.images.stored import StoredFile, path_of
from iqa.labels.histograms import mean
from iqa.labels.opinions import Prediction
from iqa.scoring.salvage import PAGE, any_content, copy_aside, is_database, read_rows, set_aside
from iqa.scoring.stamps import stamp_of

_TABLES = """
CREATE TABLE run (head TEXT, listings INTEGER, finished INTEGER, runtimes TEXT);
CREATE TABLE images (
    position INTEGER PRIMARY KEY, key BLOB UNIQUE, path BLOB, stamp BLOB, output BLOB, reason TEXT, warning TEXT, seal BLOB,
    label BLOB, listing INTEGER, place INTEGER
);
CREATE INDEX waiting ON images (position) WHERE output IS NULL AND reason IS NULL;
"""

#: Of the tables above: a journal with others is one of another run.
_VERSION = 3

#: What is sealed of an image, in this order, and where it stands in a row.
_SEALED = "key, path, stamp, output, reason, warning"
_FIRST, _LAST = 1, 7

_CHUNK = 1000

#: The path of an image whose key it is.
_AS_KEY = b""


@dataclass(frozen=True)
class Entry:
    """A picture of a run.

    Attributes:
        key: what distinguishes it from all others: its path, or its name in the labels.
        path: the file, here or on shared storage, or None where none was found.
        label: float64 (1,) or (10,); None without labels.
        prediction: what the model says of it, or why it says nothing; None while it waits.
    """

    key: str
    path: Path | StoredFile | None
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

    A journal of the same model that lies at `path` is gone on with: what it has of the same files is taken over. Another
    one is set aside under a name of its own. So is a damaged one, after what is still readable was taken out of it.

    Args:
        path: of the database.
        head: what a score depends on apart from the picture: weights, geometry ...; as JSON holds it.
        runtime: what computes, whose name and version move a score by less than anybody could see.

    Attributes:
        notes: lines about what was found at `path`, if that is unusual.
        runtimes: all that have scored for this journal.

    Raises:
        JournalError: if it cannot be written, or another process is writing it.
    """

    def __init__(self, path: str | os.PathLike[str], head: dict[str, Any], runtime: str = "") -> None:
        self.path, self.notes = Path(path), list[str]()
        self._head = json.dumps(head | {"journal": _VERSION}, sort_keys=True, allow_nan=False)
        self._key = hashlib.blake2b(self._head.encode(), digest_size=32).digest()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = Lock(self._beside("lock"))
        except BlockingIOError:
            raise JournalError(f"{self.path}: another run is writing it") from None
        self._database = sqlite3.connect(":memory:")
        try:
            with self._explain():
                self._take_up()
                ((self._listing, self._finished, runtimes),) = self._fetch("SELECT listings, finished, runtimes FROM run")
                self.runtimes: list[str] = json.loads(runtimes)
                self._note_runtime(runtime)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- opening ---------------------------------------------------------------------------------------------------

    def _beside(self, end: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{end}")

    def _take_up(self) -> None:
        """Open the journal at the path, whatever lies there."""
        rescued = self._beside("rescued")
        if rescued.exists():  # a kill came between saving what could be read and putting it in its place
            self._put_in_place(rescued)
        elif not any_content(self.path):
            self._create(self.path)
        what = self._examine()
        if what:
            self._database.close()
            self._rescue(rescued)
            self._put_in_place(rescued, what == "damaged")
            self._connect()

    def _connect(self) -> None:
        # Transactions only where one is opened: what is recorded is on its way to the disk, whatever happens next.
        self._database = sqlite3.connect(self.path, timeout=1, isolation_level=None)
        self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._database.execute("PRAGMA journal_mode = WAL")
        # The log reaches the disk when it is played into the database, every 4 MB. A power cut before that costs these
        # entries, which are scored again, and no others.
        self._database.execute("PRAGMA synchronous = NORMAL")

    def _examine(self) -> str | None:
        """Open the database; returns "other" or "damaged", or None if it is of this model and whole."""
        if not is_database(self.path):
            return "damaged"
        try:
            self._connect()
            ((head,),) = self._database.execute("SELECT head FROM run")
            if head != self._head:
                return "other"
            whole = self._database.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
            rows = self._database.execute(f"SELECT {_SEALED}, seal FROM images")
            return None if whole and all(self._seal(row[:-1]) == row[-1] for row in rows) else "damaged"
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):  # locked, full, read only ...
                raise
        except (sqlite3.DatabaseError, ValueError):
            pass
        return "damaged"

    def _create(self, path: Path) -> None:
        """Make an empty journal, whole or not at all."""
        part = self._beside("new")
        for end in ("", "-journal"):
            Path(f"{part}{end}").unlink(missing_ok=True)
        with closing(sqlite3.connect(part, isolation_level=None)) as database:
            database.execute(f"PRAGMA page_size = {PAGE}")
            database.executescript(f"BEGIN; {_TABLES}")
            database.execute("INSERT INTO run VALUES (?, 0, 0, '[]')", (self._head,))
            database.execute("COMMIT")
        os.replace(part, path)

    def _rescue(self, rescued: Path) -> None:
        """Make a journal of those rows of the one at the path whose seals are right."""
        part = self._beside("part")
        self._create(part)
        with closing(sqlite3.connect(part)) as database, database:
            for row in read_rows(self.path):
                sealed, seal = row[_FIRST:_LAST], row[_LAST : _LAST + 1]
                if seal == (self._seal(sealed),) and sealed[3:5] != (None, None):
                    columns = f"{_SEALED}, seal, listing"
                    database.execute(
                        f"INSERT OR IGNORE INTO images ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 0)", sealed + seal
                    )
            database.execute("UPDATE run SET listings = 1")
        keep_on_disk(part)
        os.replace(part, rescued)

    def _put_in_place(self, rescued: Path, damaged: bool = True) -> None:
        with closing(sqlite3.connect(rescued)) as database:
            ((count,),) = database.execute("SELECT count(*) FROM images")
        damaged = damaged or count > 0
        kept = set_aside(self.path, "damaged" if damaged else "other")
        os.replace(rescued, self.path)
        what = f"was damaged: what it says of {count} pictures could be read and is taken over"
        self.notes.append(
            f"{self.path} {what if damaged else 'is of another model'}" + (f"; it is kept as {kept.name}" if kept else "")
        )

    def _note_runtime(self, runtime: str) -> None:
        if runtime and runtime not in self.runtimes:
            if self.runtimes:
                before = ", ".join(self.runtimes)
                self.notes.append(f"{before} scored so far, {runtime} goes on: their scores may differ by 0.000001")
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

    def _fetch(self, question: str, *values: Any) -> list[Any]:
        return self._do(question, *values).fetchall()

    def _do(self, command: str, *values: Any) -> sqlite3.Cursor:
        with self._explain():
            return self._database.execute(command, values)

    def _seal(self, values: Iterable[Any]) -> bytes:
        """What proves that this model said this of an image."""
        return hashlib.blake2b(repr(tuple(values)).encode("utf-8", "replace"), digest_size=8, key=self._key).digest()

    # --- what is to be scored --------------------------------------------------------------------------------------

    def enter(self, entries: Iterable[Entry], forget: bool = True) -> Iterator[tuple[str, str]]:
        """Note what is to be scored. A run that is resumed does it again, since files come, go and change.

        Args:
            entries: in the order of the output; with a prediction, its reason, where no file was found.
            forget: leave out what is no longer named. That is not done if nothing is named any more or something could not
                be listed: a list or a folder that is out of reach for a moment must not cost what was scored. If False,
                what cannot be listed is told and not noted.

        Yields:
            (key, what) for what is unusual: "named twice"; "new since the run began"; "changed since it was scored", and
            then it is scored again; "no longer named", and then it is left out. What is gone keeps its score until the run
            is finished.
        """
        resumed, self._listing = self._listing > 0, self._listing + 1
        named, whole, taken_over, done_before = 0, True, 0, self.count()[1]
        self._do("BEGIN")
        for entry in entries:
            known = self._fetch("SELECT 1 FROM images WHERE key = ?", os.fsencode(entry.key))
            if entry.reason and not forget and not known:
                yield entry.key, entry.reason
                continue
            named, whole = named + 1, whole and not entry.reason
            what = self._enter(entry, named)
            taken_over += bool(known) and what is None
            if what and ((resumed and not (self._finished and what.startswith("new"))) or what == "named twice"):
                yield entry.key, what
        if forget and named and whole:
            yield from self._forget(keep=done_before > 0 and not taken_over)
        self._do("UPDATE run SET listings = ?, finished = 0", self._listing)
        self._do("COMMIT")
        self._finished = False

    def _forget(self, keep: bool) -> Iterator[tuple[str, str]]:
        """Leave out what this listing did not name. If nothing of the run is left (`keep`), a copy is set aside first."""
        gone = self._fetch("SELECT position, key, path FROM images WHERE listing < ?", self._listing)
        rows = [row for row in gone if self._finished or row[2] is None or os.path.lexists(_path_of(row[1], row[2]) or "")]
        if keep and rows:
            kept = copy_aside(self.path, "other")  # as it was before this transaction, which is not yet committed
            yield str(self.path), f"it is of other pictures; it is kept as {kept.name}"
        for position, key, _ in rows:
            self._do("DELETE FROM images WHERE position = ?", position)
            if not keep:
                yield os.fsdecode(key), "no longer named"

    def _enter(self, entry: Entry, place: int) -> str | None:
        key, stamp = os.fsencode(entry.key), stamp_of(entry.path)
        path = os.fsencode(entry.path) if entry.path else None
        path = _AS_KEY if path == key else path
        label = None if entry.label is None else np.asarray(entry.label, np.float64).tobytes()
        found = self._fetch(
            "SELECT position, stamp, listing, label, coalesce(output, reason) IS NOT NULL FROM images WHERE key = ?", key
        )
        fresh = (key, path, stamp, None, entry.reason, None)
        if not found:
            self._do(
                f"INSERT INTO images ({_SEALED}, seal, label, listing, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(*fresh, self._seal(fresh), label, self._listing, place),
            )
            return "new since the run began"
        ((position, before, listing, known_label, done),) = found
        if listing == self._listing:
            return "named twice"
        self._do("UPDATE images SET listing = ?, place = ? WHERE position = ?", self._listing, place, position)
        if label != known_label:  # which changes no score
            self._do("UPDATE images SET label = ? WHERE position = ?", label, position)
        if stamp is None or stamp == before:
            return None
        names = ", ".join(f"{name} = ?" for name in f"{_SEALED}, seal".split(", "))
        self._do(f"UPDATE images SET {names} WHERE position = ?", *fresh, self._seal(fresh), position)
        return "changed since it was scored" if done else None

    def count(self) -> tuple[int, int]:
        """(all pictures, those that have a score or a reason)."""
        ((total, done),) = self._fetch("SELECT count(*), count(coalesce(output, reason)) FROM images")
        return total, done

    def waiting(self) -> Iterator[tuple[int, Path | StoredFile]]:
        """(position, path) of the pictures that have neither score nor reason, in the order in which they came."""
        last = 0
        while chunk := self._fetch(
            "SELECT position, key, path FROM images WHERE output IS NULL AND reason IS NULL AND position > ?"
            f" ORDER BY position LIMIT {_CHUNK}",
            last,
        ):
            for position, key, path in chunk:
                found = _path_of(key, path)
                assert found is not None
                yield position, found
            last = chunk[-1][0]

    def record(self, position: int, prediction: Prediction) -> None:
        """Note what the model says of a picture, or why it says nothing."""
        output = None if prediction.output is None else np.asarray(prediction.output, np.float32).tobytes()
        ((key, path, stamp),) = self._fetch("SELECT key, path, stamp FROM images WHERE position = ?", position)
        said = (output, *(text and printable(text) for text in (prediction.reason, prediction.warning)))
        self._do(
            "UPDATE images SET output = ?, reason = ?, warning = ?, seal = ? WHERE position = ?",
            *(*said, self._seal((key, path, stamp, *said)), position),
        )

    def entries(self, scored: bool | None = None) -> Iterator[Entry]:
        """The pictures in the order of the last listing: all, those that are scored, or those that are not."""
        which = {None: "1", True: "output IS NOT NULL", False: "output IS NULL"}[scored]
        columns = "key, path, label, output, reason, warning"
        with self._explain():
            for key, path, label, output, reason, warning in self._do(
                f"SELECT {columns} FROM images WHERE {which} ORDER BY place, position"
            ):
                done = output is not None or reason is not None
                array = None if output is None else np.frombuffer(output, np.float32)
                yield Entry(
                    os.fsdecode(key),
                    _path_of(key, path),
                    None if label is None else np.frombuffer(label, np.float64),
                    Prediction(array, reason=reason, warning=warning) if done else None,
                )

    def close(self) -> None:
        """Close the database; what it holds stays."""
        self._database.close()
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
            for end in ("-wal", ""):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
            self._lock.release()


def _path_of(key: bytes, path: bytes | None) -> Path | StoredFile | None:
    return None if path is None else path_of(os.fsdecode(path if path != _AS_KEY else key))

"""The file in which `iqa.training.frozen_views` keeps what it computes: float16, one photograph behind the other.

A note beside it, `FILE.views.json`, says what it is made of.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from iqa.errors import OutputError
from iqa.files import Lock, check_target, holds, printable, read_json, write_json

#: What a note says.
ORIGIN = ("photographs", "layers", "seed", "cut")


def note_of(file: Path) -> Path:
    """The note beside a file."""
    return file.with_name(f"{file.name}.views.json")


def check_views_target(file: Path, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Make sure, before the work begins, that a file of views and its note may be written; the folder is made.

    Args:
        file: a new one, or one that an earlier run made.
        inputs: see `iqa.files.check_target`.

    Raises:
        OutputError: if one of them is another file, or cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    inputs = list(inputs)
    check_target(note_of(file), known=holds(*ORIGIN), inputs=inputs)
    check_target(file, known=lambda _: note_of(file).exists(), inputs=inputs)


@contextmanager
def appending(file: Path, origin: dict[str, Any], size: int, count: int) -> Iterator[tuple[IO[bytes], int]]:
    """A file of views, to be gone on with; one run at a time.

    Args:
        origin: what the views are made of: `ORIGIN` and its values.
        size: bytes of a photograph.
        count: how many photographs it will have.

    Yields:
        (file, done): open behind the last whole one of its `done` photographs.

    Raises:
        OutputError: if it holds other views, or another run is making them.
    """
    try:
        lock = Lock(file.with_name(f"{file.name}.lock"))
    except BlockingIOError:
        raise OutputError(
            f"{printable(file)}: another run is making these views; wait for it, or name another file"
        ) from None
    with lock:
        known = json.loads(json.dumps(origin))
        there = file.stat().st_size if file.exists() else 0
        same = there == 0 or (note_of(file).exists() and read_json(note_of(file)) == known)
        if not same or there > size * count:
            raise OutputError(
                f"{printable(file)}: not the views of these photographs by these layers; name another file, or delete it"
            )
        write_json(note_of(file), known)
        with open(file, "ab") as whole:
            done = whole.tell() // size
            whole.truncate(done * size)
            yield whole, done

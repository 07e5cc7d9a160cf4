"""Files that are either whole or not there."""

import glob
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path, durable=False):
    """Write a file under a temporary name beside `path` and rename it when all of it is there.

    Args:
        durable: wait until the disk has it, so that a power cut after the rename does not leave it empty.

    Yields:
        A binary file object. If the block raises, nothing is left behind and an older file at `path` stays.
    """
    with temporary_beside(path, durable) as name, open(name, "wb") as file:
        yield file


@contextmanager
def temporary_beside(path, durable=False):
    """As `written_whole`, for savers that take a name: yields a path with the suffixes of `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(folder) / path.name
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.rmdir(folder)


def remove_leftovers(folder, name="*"):
    """Remove what writers of `temporary_beside` that were killed left in a folder, of all files or of one `name`."""
    for left in Path(folder).glob(f".{name if name == '*' else glob.escape(name)}.????????"):
        if left.is_dir() and {inner.name for inner in left.iterdir()} <= {left.name[1:-9]}:
            for inner in left.iterdir():
                inner.unlink()
            left.rmdir()

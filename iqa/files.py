"""Files that are either whole or not there."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path):
    """Write a file under a temporary name beside `path` and rename it when all of it is there.

    Yields:
        A binary file object. If the block raises, nothing is left behind and an older file at `path` stays.
    """
    with temporary_beside(path) as name, open(name, "wb") as file:
        yield file


@contextmanager
def temporary_beside(path):
    """As `written_whole`, for savers that take a name: yields a path with the suffixes of `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(folder) / path.name
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.rmdir(folder)

"""Files that are either whole or not there, names that any reader can show, and JSON without NaN."""

import glob
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: Suffixes of image files, in the order in which one is preferred where two files differ in it alone.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".avif", ".avifs"),
    *(".heic", ".heif", ".heics", ".heifs", ".hif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".mpo"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
)


@contextmanager
def written_whole(path: str | os.PathLike[str], durable: bool = False) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name beside `path` and rename it when all of it is there.

    Args:
        durable: wait until the disk has it, so that a power cut after the rename does not leave it empty.

    Yields:
        A binary file object. If the block raises, nothing is left behind and an older file at `path` stays.
    """
    with temporary_beside(path, durable) as name, open(name, "wb") as file:
        yield file


@contextmanager
def temporary_beside(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
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


def remove_leftovers(folder: str | os.PathLike[str], name: str = "*") -> None:
    """Remove the temporary files that killed processes left in a folder: of all files, or of the file `name`."""
    for left in Path(folder).glob(f".{name if name == '*' else glob.escape(name)}.????????"):
        if left.is_dir() and {inner.name for inner in left.iterdir()} <= {left.name[1:-9]}:
            for inner in left.iterdir():
                inner.unlink()
            left.rmdir()


def printable(name: str | os.PathLike[str]) -> str:
    """A file name as text that any reader can show: undecodable bytes as `\\xNN`."""
    name = str(name)
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """A value as JSON can hold it: what is not a finite number becomes None, in lists and objects too."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike[str], value: Any, durable: bool = False) -> None:
    """Write a value as JSON, whole or not at all; what is not finite becomes null (see `finite`)."""
    with written_whole(path, durable) as file:
        file.write(json.dumps(finite(value), indent=1, allow_nan=False).encode())

"""What distinguishes a file from another of its name, by which a journal knows that a picture has changed."""

import hashlib
import os
from pathlib import Path

from iqa.images.stored import StoredFile


def stamp_of(path: Path | StoredFile | None) -> bytes | None:
    """The stamp of a file, bytes (16,); None for no file.

    It is made of size, the times of its change, its number on the disk and its folder: a picture may be replaced by another
    one of the same size and the same time. Of a stored file it is what the storage says of it.
    """
    if isinstance(path, StoredFile):
        return _hash((path.url, path.facts)) if path.facts else None
    try:
        found = os.stat(path) if path else None
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        found = None
    if not found or not path:
        return None
    return _hash((found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, os.fsencode(os.path.abspath(path))))


def _hash(facts: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).digest()

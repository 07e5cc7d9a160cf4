"""Pictures on shared storage, which URLs name: s3://bucket/folder, gs://..., and whatever else fsspec knows.

fsspec comes with the extra `ray`; s3fs, gcsfs and their like are the user's to install.
"""

import contextlib
import glob
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.reading import MAX_BYTES

#: Seconds to wait before a file is asked for again that could not be fetched.
PAUSES = (0.5, 3.0)
#: What storages call the facts that tell a file from an older one of its name; each has some of them.
_FACTS = ("size", "ETag", "etag", "generation", "LastModified", "last_modified", "mtime", "updated", "created", "ino")

_URL = re.compile("[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class StoredFile(os.PathLike[str]):
    """A file on shared storage. As a path it is its URL, which nothing but fsspec can open.

    `facts` distinguish it from an older one of that name; they are empty if it was not looked up.
    """

    url: str
    facts: str = field(default="", compare=False)

    def __fspath__(self) -> str:
        return self.url

    __str__ = __fspath__

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]


def path_of(name: str) -> Path | StoredFile:
    """What a name means: a URL, or a path of this machine. A `Path` is never a URL: it has no two slashes in a row."""
    return StoredFile(name) if _URL.match(name) else Path(name)


def local(path: Path | StoredFile | None) -> Path | None:
    """A path if it is one of this machine."""
    return path if isinstance(path, Path) else None


def is_there(path: Path | StoredFile) -> bool:
    """Whether a file exists; not, if its storage is out of reach."""
    if isinstance(path, Path):
        return os.path.exists(path)
    with contextlib.suppress(Exception):  # each storage has errors of its own
        system, name = _open(path.url)
        return bool(system.exists(name))
    return False


def stored_files(url: str) -> Iterator[tuple[StoredFile, tuple[str, ...] | None, str | None]]:
    """What a URL names: a file, all files below a folder, or those that match a pattern, in the order of their paths.

    Yields (file, the parts of its path below the folder or None if it is no folder's, None); or (the URL, None, reason).
    """
    try:
        system, name = _open(url)
        system.invalidate_cache()
        pattern = glob.has_magic(name)
        folder = not pattern and system.isdir(name)
        list_files = system.find if folder else system.glob
        found = list_files(name, detail=True) if folder or pattern else {name: system.info(name)}
    except FileNotFoundError:
        yield StoredFile(url), None, "there is no such file"
        return
    except Exception as error:  # each storage has errors of its own
        yield StoredFile(url), None, f"the storage cannot be read: {_in_a_line(error)}"
        return
    for path in sorted(found, key=lambda path: path.split("/")):
        if found[path].get("type") != "directory":
            facts = repr({fact: found[path][fact] for fact in _FACTS if fact in found[path]})
            below = tuple(path[len(name) :].strip("/").split("/")) if folder else None
            yield StoredFile(system.unstrip_protocol(path), facts), below, None


def fetch(url: str, place: Path) -> None:
    """Copy a stored file to a place on this machine; ImageError if that fails, after each of the `PAUSES` once more."""
    for pause in (*PAUSES, None):
        try:
            system, name = _open(url)
            if (size := system.size(name) or 0) > MAX_BYTES:
                raise ImageError(f"{size} bytes are more than {MAX_BYTES}")
            system.get_file(name, str(place))
            return
        except ImageError:
            raise
        except (FileNotFoundError, PermissionError) as error:
            missing = isinstance(error, FileNotFoundError)
            raise ImageError("there is no such file" if missing else "no permission to read the file") from None
        except Exception as error:  # each storage has errors of its own, for a network that is down for a moment too
            if pause is None:
                raise ImageError(f"it cannot be fetched: {_in_a_line(error)}") from None
        time.sleep(pause)


def _open(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ImportError("it needs fsspec: pip install fsspec") from None
    system, path = url_to_fs(url)
    return system, path


def _in_a_line(error: Exception) -> str:
    return printable(" ".join(str(error).split())) or type(error).__name__

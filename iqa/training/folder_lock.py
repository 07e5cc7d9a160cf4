"""One session at a time in a run folder: two would write each other's checkpoints away."""

import os
import socket
import sys
import warnings
from pathlib import Path
from typing import IO

from iqa.environment import now
from iqa.errors import RunError

#: The open lock files of this process. The system lets go of them when the process ends, however it ends.
_held: dict[Path, IO[str]] = {}


def lock_folder(folder: Path) -> None:
    """Keep other processes out of a run folder until this process ends; a folder that it holds already stays its own.

    Where the file system knows no locks, a warning says so, and the session goes on.

    Raises:
        RunError: if another process holds it; the message says which.
        OSError: if the folder cannot be written.
    """
    place = folder.resolve() / "session.lock"
    held = _held.get(place)
    if held and place.exists() and os.path.samestat(os.fstat(held.fileno()), place.stat()):
        return
    file = open(place, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the process lives
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read(200)
        file.close()
        known = f" ({holder})" if holder and holder.isprintable() else ""
        raise RunError(
            f"{folder}: another session{known} is open on it: end it, or choose another folder (--run)"
        ) from None
    except OSError as error:
        warnings.warn(f"{folder}: it cannot be locked ({error.strerror}), so open no second session on it", stacklevel=2)
    else:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {now()}")
        file.flush()
    _held[place] = file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1 << 30)  # behind the text, which others may then read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

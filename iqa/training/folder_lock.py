"""One session at a time in a run folder: two would write each other's checkpoints away."""

import os
import socket
import warnings
from pathlib import Path

from iqa.environment import now
from iqa.errors import RunError
from iqa.files import lock_file

#: The open lock files of this process. The system lets go of them when the process ends, however it ends.
_held: dict[Path, int] = {}


def lock_folder(folder: Path) -> None:
    """Keep other processes out of a run folder until this process ends; a folder that it holds already stays its own.

    Where the file system knows no locks, a warning says so, and the session goes on.

    Raises:
        RunError: if another process holds it; the message says which.
        OSError: if the folder cannot be written.
    """
    place = folder.resolve() / "session.lock"
    held = _held.get(place)
    if held is not None and place.exists() and os.path.samestat(os.fstat(held), place.stat()):
        return
    file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # Windows locks a place in a file: one behind the text, which others may read
        known = lock_file(file)
    except BlockingIOError:
        os.lseek(file, 0, os.SEEK_SET)
        holder = os.read(file, 200).decode(errors="replace")
        os.close(file)
        who = f" ({holder})" if holder and holder.isprintable() else ""
        raise RunError(f"{folder}: another session{who} is open on it: end it, or choose another folder (--run)") from None
    if known:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {now()}".encode())
    else:
        warnings.warn(f"{folder}: its file system has no locks, so open no second session on it", stacklevel=2)
    _held[place] = file

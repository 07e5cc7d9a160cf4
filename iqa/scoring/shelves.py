"""Pictures sorted into folders: links to them, or copies, in `best/`, `good/`, `rest/` and `worst/`."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from iqa.errors import OutputError
from iqa.scoring.ranking import SHELVES


def check_folder(folder: Path, named: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Make sure that pictures can be sorted into a folder.

    Args:
        named: where the pictures come from.

    Raises:
        OutputError: if it holds anything: nothing is ever overwritten or mixed with what an earlier run sorted. Or if it
            lies in a folder that was named, where the next run would find each picture twice.
    """
    place = folder.resolve()
    for name in named:
        if os.path.isdir(name) and place.is_relative_to(Path(name).resolve()):
            raise OutputError(
                f"{folder}: it lies in {name}, where the next run would find each picture twice; name another"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: pictures are sorted into a new or an empty folder; name another one")


def sort_into(folder: Path, pictures: Iterable[tuple[Path, str]], copy: bool = False) -> tuple[int, list[str]]:
    """Make the folder with its shelves; it is whole or not there.

    Args:
        folder: see `check_folder`.
        pictures: (path, shelf), each shelf one of `iqa.scoring.ranking.SHELVES`. Pictures of the same name get a number.
        copy: copy the files, with their times; otherwise make links, and copy only where links cannot be made.

    Returns:
        How many pictures were sorted, and a line for each that could not be.

    Raises:
        OutputError: see `check_folder`.
        OSError: if the folder cannot be written.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    count, failed = 0, []
    try:
        place.chmod(0o777 & ~_umask())
        for shelf in SHELVES:
            (place / shelf).mkdir()
        for path, shelf in pictures:
            try:
                _put(path, place / shelf, copy)
                count += 1
            except OSError as error:
                failed.append(f"{path}: not sorted ({error.strerror or error})")
        if folder.exists():
            folder.rmdir()
        os.replace(place, folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return count, failed


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _put(path: Path, shelf: Path, copy: bool) -> None:
    target, number = shelf / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = shelf / f"{path.stem} ({number}){path.suffix}"
    if not copy:
        try:
            os.symlink(os.path.abspath(path), target)
            return
        except (OSError, NotImplementedError):  # a file system or a Windows without links
            pass
    shutil.copy2(path, target)

"""Pictures sorted into folders: links to them, or copies, in `best/`, `good/`, `rest/` and `worst/`."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from iqa.errors import OutputError
from iqa.files import printable
from iqa.scoring.ranking import SHELVES, shelf_of


def check_folder(folder: Path, named: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raise `OutputError` if a folder to sort into holds anything, or lies in a folder whose pictures were named."""
    place = folder.resolve()
    for name in named:
        if os.path.isdir(name) and place.is_relative_to(Path(name).resolve()):
            why = "where the next run would find each picture twice"
            raise OutputError(f"{folder}: it lies in {name}, {why}; name another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: pictures are sorted into a new or an empty folder; name another one")


def sort_into(folder: Path, pictures: Iterable[tuple[Path, float]], copy: bool = False) -> tuple[int, list[str]]:
    """Make the folder with its shelves; it is whole or not there.

    Args:
        pictures: (path, place 0-1); see `iqa.scoring.ranking.shelf_of`. Pictures of the same name get a number.
        copy: copy the files, with their times; otherwise make links, and copy only where links cannot be made.

    Returns:
        How many pictures could not be sorted, and lines that say which, and how many were.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place, count, failed = folder.with_name(f".{folder.name}.{os.getpid()}"), 0, []
    place.mkdir()
    try:
        for shelf in SHELVES:
            (place / shelf).mkdir()
        for path, position in pictures:
            try:
                _put(path, place / shelf_of(position), copy)
                count += 1
            except OSError as error:
                failed.append(f"{printable(path)}: not sorted ({error.strerror or error})")
        if folder.exists():
            folder.rmdir()
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return len(failed), [*failed, f"{printable(folder)}: {count} pictures sorted"]


def _put(path: Path, shelf: Path, copy: bool) -> None:
    target, number = shelf / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = shelf / f"{path.stem} ({number}){path.suffix}"
    if not copy:
        try:
            return os.symlink(os.path.abspath(path), target)
        except (OSError, NotImplementedError):  # a file system or a Windows without links
            pass
    shutil.copy2(path, target)

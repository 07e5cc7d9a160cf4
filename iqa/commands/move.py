"""Move the pictures of a list into a folder, with their sidecars; nothing is deleted and nothing is overwritten.

    iqa move pictures.txt aside/                # a list that the page saved, or one path a line
    find sorted/worst | iqa move - aside/       # of a link, the picture is moved that it leads to
    iqa move --undo aside/moved.jsonl

A raw file and the JPEG of the same shot move together. Where FOLDER has the name already, the picture and its sidecars get
a number: a (2).jpg, a (2).jpg.xmp. What was moved is noted in FOLDER/moved.jsonl before it is done.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from iqa.commands.terminal import parser_of
from iqa.errors import OutputError
from iqa.files import IMAGE_SUFFIXES, RAW_SUFFIXES, keep_on_disk, name_to_text, printable, temporary_beside, text_to_name
from iqa.images.finding import read_list, resolve_listed
from iqa.scoring.runs import complain

#: What programs put beside a picture: a.xmp or a.jpg.xmp, and so on.
SIDECARS = (".xmp", ".pp3", ".dop", ".aae", ".thm")


def main(words: Sequence[str]) -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.prog = "iqa move"
    add = parser.add_argument
    add("list", nargs="?", metavar="LIST", help="file of paths, one per line; - reads stdin")
    add("folder", nargs="?", type=Path, metavar="FOLDER", help="folder to move to; it is made if it is not there")
    add("--undo", type=Path, metavar="FILE", help="move back what FILE, a moved.jsonl, says was moved")
    add("-0", "--null", action="store_true", help="paths in the list are separated by zero bytes")
    arguments = parser.parse_args(words)
    if arguments.undo and not arguments.list:
        return undo(arguments.undo)
    if arguments.undo or not arguments.folder:
        parser.error("give LIST and FOLDER, or --undo FILE alone")
    named = (resolve_listed(name, arguments.list) for name in read_list(arguments.list, arguments.null))
    return move(named, arguments.folder)


def move(pictures: Iterable[str], folder: Path) -> int:
    """Move pictures and what belongs to them; returns the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    files = 0
    moved, failed, done = 0, 0, set[Path]()
    note = next(path for number in count(1) if not (path := folder / f"moved{f'-{number}' * (number > 1)}.jsonl").exists())
    for name in pictures:
        try:
            path = Path(name).resolve(strict=True)
            if path in done:
                continue
            if not path.is_file():
                raise OutputError(f"{name}: not a file")
            if path.parent == folder.resolve():
                raise OutputError(f"{name}: it is in {folder} already")
            group = [path, *belongings(path)]
            for old, new in _targets(group, folder):
                _note(note, old, new)
                _move(old, new)
                files += 1
            done |= {*group}
            moved += 1
        except (OSError, OutputError, ValueError) as error:  # ValueError: a name with a zero byte
            failed += Path(name).absolute() not in done  # the raw file of a JPEG that stands before it in the list
            if Path(name).absolute() not in done:
                complain(str(error) if isinstance(error, OutputError) else f"{name}: not moved ({error})")
    if moved:
        more = f" with {files - moved} files that belong to them" if files > moved else ""
        print(f"{moved} pictures moved{more}; to undo it: iqa move --undo {printable(note)}")
    return 0 if moved and not failed else 1 if moved else 2


def belongings(picture: Path) -> Iterator[Path]:
    """The files that belong to a picture: its raw file or its JPEG, and the sidecars of both.

    A sidecar such as a.xmp, which may be of a.jpg or of a.png, stays where another a is left behind.
    """
    beside = sorted(path for path in picture.parent.iterdir() if path.name.startswith(picture.stem) and path != picture)
    images = [path for path in beside if path.stem == picture.stem and path.suffix.lower() in IMAGE_SUFFIXES]
    is_raw = picture.suffix.lower() in RAW_SUFFIXES
    shots = [path for path in images if (path.suffix.lower() in RAW_SUFFIXES) != is_raw]
    names = [path.name for path in (picture, *shots)] + [picture.stem] * (len(images) == len(shots))
    yield from shots
    yield from (path for path in beside if path.suffix.lower() in SIDECARS and path.name[: -len(path.suffix)] in names)


def _targets(group: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Where the files of one picture go, all with the same number if the folder has one of the names."""
    stem = group[0].stem
    for number in count(1):
        new = [folder / f"{stem}{f' ({number})' * (number > 1)}{path.name[len(stem) :]}" for path in group]
        if not any(map(os.path.lexists, new)):
            break
    return list(zip(group, new, strict=True))


def _note(note: Path, old: Path, new: Path) -> None:
    row = {"from": name_to_text(old), "to": name_to_text(new.absolute())}
    with open(note, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    keep_on_disk(note)


def _move(old: Path, new: Path) -> None:
    """Move a file to a name that is free; on another disk it is there, whole, before it is removed here."""
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "the name is taken", str(new))
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with temporary_beside(new, durable=True) as copy:
            shutil.copy2(old, copy)
        old.unlink()


def undo(note: Path) -> int:
    """Move back what a list of `move` says was moved, the last first; returns the exit code."""
    try:
        rows = [json.loads(line) for line in note.read_text(encoding="utf-8").splitlines()]
        moves = [(Path(text_to_name(row["from"])), Path(text_to_name(row["to"]))) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise OutputError(f"{note}: not a list that iqa move wrote") from None
    back, failed = 0, 0
    for old, new in reversed(moves):
        if not os.path.lexists(new) and os.path.lexists(old):
            continue  # it was not moved, or is back
        try:
            old.parent.mkdir(parents=True, exist_ok=True)
            _move(new, old)
            back += 1
        except OSError as error:
            complain(f"{new}: not moved back ({error})")
            failed += 1
    print(f"{back} files moved back")
    return 1 if failed else 0

"""Move the pictures of a list into a folder, with their sidecars; nothing is deleted and nothing is overwritten.

    iqa move pictures.txt aside/                # a list that the page saved, or one path a line
    find sorted/worst | iqa move - aside/       # of a link, the picture is moved that it leads to
    iqa move --undo aside/moved.jsonl

A raw file and the JPEG of the same shot move together. Where FOLDER has the name already, the picture and its sidecars get
a number: a (2).jpg, a (2).jpg.xmp. Each move is noted in FOLDER/moved.jsonl before it is done.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from iqa.commands.terminal import parser_of
from iqa.errors import ImageError, OutputError
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
    names = [resolve_listed(name, arguments.list) for name in read_list(arguments.list, arguments.null)]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return move(names, arguments.folder.resolve())


def move(pictures: Sequence[str], folder: Path) -> int:
    """Move pictures, and what belongs to them, to an absolute folder; returns the exit code."""
    note = next(path for n in count(1) if not (path := folder / f"moved{f'-{n}' * (n > 1)}.jsonl").exists())
    done, moved, failed = dict[Path, Path](), 0, 0
    for name in pictures:
        try:
            if Path(os.path.abspath(name)) in done:
                continue  # with another of the same shot
            path = Path(name).resolve(strict=True)
            if not path.is_file() or path.parent == folder:
                raise ImageError("it is in that folder already" if path.is_file() else "not a file")
            for old, new in _targets([path, *belongings(path)], folder):
                with open(note, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"from": name_to_text(old), "to": name_to_text(new)}) + "\n")
                keep_on_disk(note)
                _move(old, new)
                done[old] = new
            moved += 1
        except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
            complain(f"{name}: not moved ({getattr(error, 'strerror', None) or error})")
            failed += 1
    if done:
        beside = f" with {len(done) - moved} files that belong to them" if len(done) > moved else ""
        print(f"{moved} pictures moved{beside}; to undo it: iqa move --undo {printable(note)}")
    return 2 if not done else 1 if failed else 0


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
    yield from (path for path in beside if path.suffix.lower() in SIDECARS and path.stem in names)


def _targets(files: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Where the files of one picture go, all with the same number if the folder has one of the names."""
    stem = files[0].stem
    for number in count(1):
        new = [folder / f"{stem}{f' ({number})' * (number > 1)}{path.name[len(stem) :]}" for path in files]
        if not any(map(os.path.lexists, new)):
            break
    return list(zip(files, new, strict=True))


def _move(old: Path, new: Path) -> None:
    """Move a file to a name that is free; on another disk it is there, whole, before it is removed here."""
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, f"{new.name} is there already")
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
            complain(f"{new}: not moved back ({error.strerror or error})")
            failed += 1
    print(f"{back} files moved back")
    return 1 if failed else 0

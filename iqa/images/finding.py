"""Which images are meant: files, folders, patterns and lists of paths -> one path after the other, however many."""

import fnmatch
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from iqa.errors import ImageError

#: What is looked for in a folder; a file that is named itself is read whatever its suffix.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm")
)

#: A path, and None or the reason why there is no image.
Found = tuple[Path, str | None]


def named_images(named: Sequence[str | os.PathLike[str]], lists: Sequence[str | os.PathLike[str]] = ()) -> Iterator[Found]:
    """The images that were named on a command line.

    Args:
        named: files, which are taken whatever their suffix; folders, for what is below them; or patterns such as
            `photos/**/*.jpg` that the shell has not expanded. If nothing is named, the sample photograph is taken, and
            stderr says so.
        lists: files of paths, or "-" for stdin; see `read_list`.

    Yields:
        (path, None), or (path, reason) for what holds no image.
    """
    if not named and not lists:
        sample = sample_photograph()
        print(f"no image named: taking {sample.name}, the photograph that matplotlib ships", file=sys.stderr)
        yield sample, None
    for name in named:
        yield from _find(name)
    for file in lists:
        try:
            for name in read_list(file):
                yield from _find(name)
        except OSError as error:
            yield Path(file), f"the list cannot be read ({error.strerror})"


def _find(name: str | os.PathLike[str]) -> Iterator[Found]:
    name = str(name)
    found: Iterable[Found]
    if os.path.isdir(name):
        found, reason = images_below(name), "a folder without images"
    elif not os.path.lexists(name) and glob.has_magic(name):
        found, reason = _match(name), "no file matches this pattern"
    else:
        yield Path(name), None
        return
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        yield Path(name), reason


def _match(pattern: str) -> Iterator[Found]:
    """What a pattern stands for; `**` is any number of folders, of which linked ones are not entered."""
    parts = Path(pattern).parts
    if "**" not in parts:
        for match in sorted(glob.glob(pattern)):
            yield from images_below(match) if os.path.isdir(match) else [(Path(match), None)]
        return
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    for path, reason in files_below(os.path.join(*parts[:fixed]) if fixed else "."):
        if reason or _fits(Path(path).parts[fixed:], parts[fixed:]):
            yield Path(path), reason


def _fits(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        return len(parts) == 1 or any(_fits(names[start:], parts[1:]) for start in range(len(names)))
    return fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def read_list(file: str | os.PathLike[str]) -> Iterator[str]:
    """The paths in a file, or in stdin for "-": one a line, in whatever encoding the file system has.

    A name may hold a newline, so `find -print0` separates names by zero bytes; such a list is read too.
    """
    stream: BinaryIO = sys.stdin.buffer if str(file) == "-" else open(file, "rb")  # noqa: SIM115, closed below
    try:
        ahead = stream.peek(1 << 16) if hasattr(stream, "peek") else b""
        for line in _split(stream, b"\0" if b"\0" in ahead else b"\n"):
            if line:
                yield os.fsdecode(line)
    finally:
        if str(file) != "-":
            stream.close()


def _split(stream: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(separator)
        yield from (line.removesuffix(b"\r") if separator == b"\n" else line for line in whole)
    yield rest.removesuffix(b"\r") if separator == b"\n" else rest


def images_below(folder: str | os.PathLike[str]) -> Iterator[Found]:
    """The image files below a folder, by suffix, in the order of their paths; linked folders are not entered.

    Yields:
        (path, None), or (path, reason) for a folder that cannot be read.
    """
    for path, reason in files_below(folder):
        if reason or os.path.splitext(path)[1].lower() in SUFFIXES:
            yield Path(path), reason


def files_below(folder: str | os.PathLike[str]) -> Iterator[tuple[str, str | None]]:
    """All files below a folder, in the order and form of `images_below`, but as text."""
    try:
        with os.scandir(folder) as found:
            # Names alone, not entries: a folder may hold a million.
            names = [f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found]
    except OSError as error:
        yield os.fspath(folder), f"the folder cannot be read ({error.strerror})"
        return
    for name in sorted(names, key=lambda name: name.removesuffix("/")):
        path = os.path.join(folder, name.removesuffix("/"))
        if name.endswith("/"):
            yield from files_below(path)
        elif os.path.isfile(path):  # and no link that goes in circles
            yield path, None


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """`images_below` as a list of paths.

    Raises:
        ImageError: if a folder cannot be read.
    """
    found = list(images_below(folder))
    for path, reason in found:
        if reason:
            raise ImageError(f"{path}: {reason}")
    return [path for path, _ in found]


def sample_photograph() -> Path:
    """The path of the photograph that matplotlib ships (Grace Hopper, 1984, 512x600, public domain)."""
    from matplotlib.cbook import get_sample_data

    return Path(get_sample_data("grace_hopper.jpg", asfileobj=False))

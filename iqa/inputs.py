"""The images that were meant: files, folders, patterns and lists of paths -> one path after the other, however many."""

import glob
import os
import sys
from pathlib import Path

from iqa.images import SUFFIXES, sample_photograph


def images_below(folder):
    """The image files below a folder, by suffix, in the order of their paths; linked folders are not entered.

    Yields:
        (path, None), or (path, reason) for a folder that cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Path(folder), f"the folder cannot be read ({error.strerror})"
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from images_below(entry.path)
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and _is_file(entry):
            yield Path(entry.path), None


def _is_file(entry):
    try:
        return entry.is_file()
    except OSError:  # a link that goes in circles
        return False


def named_images(named, lists=()):
    """The images behind what was named on a command line.

    Args:
        named: files, which are taken whatever their suffix; folders, for what is below them; or patterns such as
            `photos/**/*.jpg`, for those that their shell has not expanded. Nothing at all means the sample photograph,
            which is announced on stderr.
        lists: files of paths, one a line, or "-" for stdin; see `listed`.

    Yields:
        (path, None), or (path, reason) for what holds no image.
    """
    if not named and not lists:
        sample = sample_photograph()
        print(f"no image named: taking {sample.name}, the photograph that matplotlib ships", file=sys.stderr)
        yield sample, None
    for name in named:
        yield from _meant(name)
    for file in lists:
        for name in listed(file):
            yield from _meant(name)


def _meant(name):
    path = Path(name)
    if path.is_dir():
        found = images_below(path)
        reason = "a folder without images"
    elif not path.exists() and glob.has_magic(str(name)):
        found = ((Path(match), None) for match in glob.iglob(str(name), recursive=True) if os.path.isfile(match))
        reason = "no file is called so"
    else:
        yield path, None
        return
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        yield path, reason


def listed(file):
    """The paths in a file, or in stdin for "-": one a line, in whatever encoding the file system has.

    `find -print0` separates them by zero bytes, because a name may hold a line's end; so may a list.
    """
    stream = sys.stdin.buffer if str(file) == "-" else open(file, "rb")  # noqa: SIM115, closed below
    try:
        ahead = stream.peek(1 << 16) if hasattr(stream, "peek") else b""
        for line in _split(stream, b"\0" if b"\0" in ahead else b"\n"):
            if line:
                yield os.fsdecode(line)
    finally:
        if str(file) != "-":
            stream.close()


def _split(stream, separator):
    rest = b""
    while chunk := stream.read(1 << 16):
        *whole, rest = (rest + chunk).split(separator)
        yield from (line.removesuffix(b"\r") if separator == b"\n" else line for line in whole)
    yield rest.removesuffix(b"\r") if separator == b"\n" else rest

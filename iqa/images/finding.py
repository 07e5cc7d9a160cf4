"""The images that were meant: files, folders, patterns and lists of paths -> one path after the other, however many."""

import fnmatch
import glob
import os
import sys
from pathlib import Path

from iqa.images.reading import files_below, images_below, sample_photograph


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
        try:
            for name in listed(file):
                yield from _meant(name)
        except OSError as error:
            yield Path(file), f"the list cannot be read ({error.strerror})"


def _meant(name):
    name = str(name)
    if os.path.isdir(name):
        found, reason = images_below(name), "a folder without images"
    elif not os.path.lexists(name) and glob.has_magic(name):
        found, reason = _matching(name), "no image is called so"
    else:
        yield Path(name), None
        return
    empty = True
    for entry in found:
        empty = False
        yield entry
    if empty:
        yield Path(name), reason


def _matching(pattern):
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


def _fits(names, parts):
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        return len(parts) == 1 or any(_fits(names[start:], parts[1:]) for start in range(len(names)))
    return fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


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

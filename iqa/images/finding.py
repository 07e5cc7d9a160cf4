"""Which images are meant: files, folders, patterns and lists of paths -> one path after the other, however many."""

import codecs
import contextlib
import fnmatch
import glob
import importlib.util
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from iqa.environment import processors
from iqa.errors import ImageError
from iqa.files import (
    HEIC_SUFFIXES,
    IMAGE_SUFFIXES,
    MADE_BY,
    RAW_SUFFIXES,
    name_to_text,
    printable,
    read_json,
    text_to_name,
    write_json,
)
from iqa.images.reading import read_image
from iqa.images.stored import StoredFile, path_of, stored_files

#: What is looked for in a folder; and of this, what is looked for only where an extra is installed, and its package.
SUFFIXES = frozenset(IMAGE_SUFFIXES)
EXTRAS = {"heic": (HEIC_SUFFIXES, "pillow_heif"), "raw": (RAW_SUFFIXES, "rawpy")}
#: What file managers, storage boxes and our own scripts put beside pictures: folders of thumbnails, and notes. So are .xmp.
_FOLDERS = ("@eaDir", ".thumbnails", ".thumb", ".thumbs", ".@__thumb", "__MACOSX", ".AppleDouble")
PASSED_OVER = frozenset((*_FOLDERS, ".DS_Store", "Thumbs.db", "desktop.ini", MADE_BY))
#: Where systems put what was deleted or found again; and the notes that Windows keeps of what was deleted.
_TRASH = re.compile(r"(?i)(\$recycle\.bin|recycler|#recycle|@recycle|\.trash(?:es|-\d+)?|lost\+found)|\$I\w{6}(?:\..*)?")
#: Why a URL holds no image unless shared storage is looked at.
NOT_STORED = "URLs are for --engine ray, without --report, --sort-into and --xmp"
#: A path, and None or the reason why there is no image; and the same of one that may lie on shared storage.
Found = tuple[Path, str | None]
FoundAnywhere = tuple[Path | StoredFile, str | None]
#: How many files of each kind (".pdf", "linked folder") were left out.
LeftOut = Counter[str]


def named_images(
    named: Sequence[str | os.PathLike[str]],
    lists: Sequence[str | os.PathLike[str]] = (),
    null: bool = False,
    left_out: LeftOut | None = None,
    stored: bool = False,
) -> Iterator[FoundAnywhere]:
    """The images that were named on a command line: (path, None), or (path, reason) for what holds no image.

    Args:
        named: files, taken whatever their suffix; folders, for what is below them; or patterns such as `photos/**/*.jpg`
            that the shell has not expanded. If nothing is named, the sample photograph is taken, and stderr says so.
        lists: files of paths, or "-" for stdin; see `read_list`. A path in them is never a pattern.
        null: the paths in the lists are separated by zero bytes, as `find -print0` does.
        left_out: counts what lies in the folders and is not looked for; see `in_words`.
        stored: whether URLs are looked up; if not, they hold no image.
    """
    left_out = LeftOut() if left_out is None else left_out
    if not named and not lists:
        sample = sample_photograph()
        print(f"no image named: taking {sample.name}, the photograph that matplotlib ships", file=sys.stderr)
        yield sample, None
    for name in named:
        yield from _find(str(name), left_out, stored, pattern=True)
    for file in lists:
        try:
            for name in read_list(file, null):
                yield from _find(resolve_listed(name, file), left_out, stored, pattern=False)
        except OSError as error:
            yield Path(file), f"the list cannot be read ({error.strerror})"
        except ImageError as error:
            yield Path(file), str(error)


def in_words(left_out: LeftOut) -> str:
    """What was left out in one line, the most frequent kind first, and what to install for pictures that were.

    >>> in_words(Counter({".pdf": 1, ".txt": 12}))
    'left out: 12 .txt, 1 .pdf'
    >>> in_words(Counter({".cr2": 2, ".nef": 1}))
    'left out: 2 .cr2, 1 .nef (pictures: pip install rawpy)'
    """
    words = ", ".join(f"{number} {printable(kind)}" for kind, number in left_out.most_common())
    needed = [module.replace("_", "-") for suffixes, module in EXTRAS.values() if left_out.keys() & set(suffixes)]
    remedy = f" (pictures: pip install {' '.join(needed)})" if needed else ""
    return f"left out: {words}{remedy}"


def _find(name: str, left_out: LeftOut, stored: bool, pattern: bool) -> Iterator[FoundAnywhere]:
    found: Iterable[FoundAnywhere]
    path, reason = path_of(name), "a folder without images"
    if isinstance(path, StoredFile):
        found = _find_stored(name, left_out) if stored else [(path, NOT_STORED)]
    elif os.path.isdir(name):
        found = images_below(name, left_out)
    elif pattern and not os.path.lexists(name) and glob.has_magic(name):
        found, reason = _match(name, left_out), "no file matches this pattern"
    else:
        found = [(path, None)]
    some = iter(found)
    yield next(some, (path, reason))
    yield from some


def _find_stored(url: str, left_out: LeftOut) -> Iterator[FoundAnywhere]:
    for file, below, reason in stored_files(url):
        suffix = os.path.splitext(file.url)[1].lower()
        passed = any(_is_passed_over(name, left_out) for name in below or ())
        if below and not passed and suffix not in SUFFIXES:
            left_out[suffix or "without a suffix"] += 1
        elif not passed:
            yield file, reason


def _match(pattern: str, left_out: LeftOut) -> Iterator[Found]:
    """What a pattern stands for; `**` is any number of folders, of which linked ones are not entered."""
    parts = Path(pattern).parts
    if "**" not in parts:
        for match in sorted(glob.glob(pattern)):
            yield from images_below(match, left_out) if os.path.isdir(match) else [(Path(match), None)]
        return
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    for path, reason in files_below(os.path.join(*parts[:fixed]) if fixed else "."):
        if reason or _fits(Path(path).parts[fixed:], parts[fixed:]):
            yield Path(path), reason


def _fits(names: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Whether the names of a path fit the parts of a pattern."""
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _fits(names, parts[1:]) or _fits(names[1:], parts)
    return fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def read_list(file: str | os.PathLike[str], null: bool = False) -> Iterator[str]:
    """The paths in a file, or in stdin for "-": one a line, in whatever encoding the file system has.

    With `null` they are separated by zero bytes, since a name may hold a newline; without, ImageError if there are any.
    """
    with contextlib.nullcontext(sys.stdin.buffer) if str(file) == "-" else open(file, "rb") as stream:
        first = stream.readline().removeprefix(codecs.BOM_UTF8)
        lines: Iterable[bytes]
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes it
            text = (first + stream.read()).decode("utf-16", "replace")
            lines = map(os.fsencode, text.split("\0" if null else "\n"))
        else:
            lines = (first + stream.read()).split(b"\0") if null else itertools.chain([first], stream)
        for number, line in enumerate(lines, start=1):
            if not null and b"\0" in line:
                remedy = "give -0 for a list of find -print0, and save a list in UTF-16 as UTF-8"
                raise ImageError(f"the list has a zero byte in line {number}: {remedy}")
            path = line if null else line.removesuffix(b"\n").removesuffix(b"\r")
            if path:
                yield os.fsdecode(path)


def resolve_listed(name: str, file: str | os.PathLike[str]) -> str:
    """A path in a list: as seen from the list's folder if it is there, otherwise from where the command runs.

    A page writes names that no line can hold as `iqa.files.name_to_text` does: they are read so if no file has that name.
    """
    for path in dict.fromkeys((name, text_to_name(name))):
        for folder in (os.path.dirname(file), ""):
            if os.path.lexists(os.path.join(folder, path)):
                return os.path.join(folder, path)
    return name


def images_below(folder: str | os.PathLike[str], left_out: LeftOut | None = None) -> Iterator[Found]:
    """The image files below a folder, by suffix, in the order of their paths; linked folders are not entered.

    HEIC and raw files are left out where what reads them is not installed; `left_out` counts what is not looked for.

    Yields:
        (path, None), or (path, reason) for a folder that cannot be read, or a link to nothing with an image's name.
    """
    left_out = LeftOut() if left_out is None else left_out
    missing = (suffixes for suffixes, package in EXTRAS.values() if not importlib.util.find_spec(package))
    suffixes = SUFFIXES.difference(*missing)
    for path, reason in files_below(folder, left_out):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in suffixes or (reason and not os.path.islink(path)):
            yield Path(path), reason
        else:
            left_out["broken link" if reason else suffix or "without a suffix"] += 1


def files_below(folder: str | os.PathLike[str], left_out: LeftOut | None = None) -> Iterator[tuple[str, str | None]]:
    """All files below a folder, as of `images_below`, but as text; `left_out` counts linked folders."""
    # The next one is the last; each has a character behind it: a file, a folder or a link. Of a million, text takes little.
    waiting = [f"{os.fspath(folder)}d"]
    while waiting:
        path, kind = waiting[-1][:-1], waiting.pop()[-1]
        if kind == "d":
            try:
                with os.scandir(path) as entries:
                    names = [entry.name + _kind_of(entry) for entry in entries if not _is_passed_over(entry.name, left_out)]
            except OSError as error:
                yield path, f"the folder cannot be read ({error.strerror})"
            else:
                waiting += [os.path.join(path, name) for name in sorted(names, key=lambda name: name[:-1], reverse=True)]
        elif kind == "l" and os.path.isdir(path):
            if left_out is not None:
                left_out["linked folder"] += 1
        else:
            yield path, "a link to a file that does not exist" if kind == "l" and not os.path.exists(path) else None


def _is_passed_over(name: str, left_out: LeftOut | None = None) -> bool:
    deleted = _TRASH.fullmatch(name)
    if deleted and left_out is not None:
        left_out["trash folder" if deleted[1] else "note of a deleted file"] += 1
    return bool(deleted) or name.startswith("._") or name.endswith((".xmp", ".XMP")) or name in PASSED_OVER


def _kind_of(entry: os.DirEntry[str]) -> str:
    try:
        return "l" if entry.is_symlink() else "d" if entry.is_dir(follow_symlinks=False) else "f"
    except OSError:
        return "f"  # whatever reads it says what is the matter


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """`images_below` as a list of paths; ImageError if a folder cannot be read, or a link leads nowhere."""
    paths = []
    for path, reason in images_below(folder):
        if reason:
            raise ImageError(f"{path}: {reason}")
        paths.append(path)
    return paths


def usable_images(images: Sequence[Any], smallest: int, memory: Path) -> list[Any]:
    """The images that can be decoded, with `smallest` pixels in the shorter side; the others are named on stderr.

    The file `memory` remembers the verdict on each file, by its size and time of change.
    """
    try:
        known = read_json(memory, most=1 << 28)
    except (OSError, ValueError):  # the images are decoded again
        known = {}

    def verdict(image: Any) -> tuple[dict[str, Any] | None, str | None]:
        if image.path is None:
            return None, "there is no such file"
        try:
            state = image.path.stat()
        except OSError as error:
            return None, str(error.strerror)
        size_and_time = [state.st_size, state.st_mtime_ns]
        entry = known.get(name_to_text(image.path))
        if entry is None or entry.get("size and time") != size_and_time:
            try:
                entry = {"size and time": size_and_time, "side": min(read_image(image.path).shape[:2]), "reason": None}
            except ImageError as error:
                entry = {"size and time": size_and_time, "side": 0, "reason": str(error)}
        if entry["reason"] or entry["side"] >= smallest:
            return entry, entry["reason"]
        return entry, f"its shorter side has {entry['side']} pixels, and at least {smallest} are needed"

    with ThreadPoolExecutor(processors()) as pool:
        verdicts = list(tqdm(pool.map(verdict, images), total=len(images), unit="image", file=sys.stderr))
    judged = list(zip(images, verdicts, strict=True))
    write_json(memory, known | {name_to_text(str(image.path)): entry for image, (entry, _) in judged if entry})
    good = [image for image, (_, reason) in judged if reason is None]
    for image, (_, reason) in judged:
        if reason:
            print(printable(f"{image.name}: {reason}"), file=sys.stderr)
    if len(good) < len(images):
        print(f"{len(images) - len(good)} of {len(images)} images cannot be used", file=sys.stderr)
    return good


def sample_photograph() -> Path:
    """The path of the photograph that matplotlib ships (Grace Hopper, 1984, 512x600, public domain)."""
    # Found without loading matplotlib, which wants a folder that it can write.
    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations  # type: ignore[union-attr, misc]
    return Path(folder, "mpl-data", "sample_data", "grace_hopper.jpg")

"""Files that are either whole or not there and take no other's place, names that any reader can show, JSON without NaN."""

import glob
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from iqa.errors import OutputError

#: Suffixes of HEIC, and of the raw files of cameras: the extras `heic` and `raw` read them.
HEIC_SUFFIXES = (".heic", ".heif", ".heics", ".heifs", ".hif")
_RAW = "dng cr2 cr3 crw nef nrw arw srf sr2 orf rw2 rwl raf pef srw x3f mrw dcr kdc erf mef 3fr fff iiq mos gpr"
RAW_SUFFIXES = tuple(f".{name}" for name in _RAW.split())
#: Suffixes of image files, in the order in which one is preferred where two files differ in it alone.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".webp", ".avif", ".avifs", *HEIC_SUFFIXES),
    *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".mpo", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".ppm", ".pgm", ".pbm", ".pnm", *RAW_SUFFIXES),
)


@contextmanager
def written_whole(path: str | os.PathLike[str], durable: bool = False) -> Iterator[IO[bytes]]:
    """Write a binary file whole or not at all, under a temporary name beside `path`; for `durable` see `keep_on_disk`."""
    with temporary_beside(path, durable) as name, open(name, "wb") as file:
        yield file


@contextmanager
def temporary_beside(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """As `written_whole`, for savers that take a name: yields a path with the suffixes of `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(folder) / path.name
    try:
        yield temporary
        if durable:
            keep_on_disk(temporary)
        os.replace(temporary, path)
        if durable:
            keep_on_disk(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.rmdir(folder)


def keep_on_disk(path: str | os.PathLike[str]) -> None:
    """Wait until the disk has a file and its name, so that a power cut takes neither."""
    path = Path(path)
    for place in (path,) if os.name == "nt" else (path, path.parent):  # Windows does not know how to do this for a folder
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: str | os.PathLike[str], name: str = "*") -> None:
    """Remove the temporary files that killed processes left in a folder: of all files, or of the file `name`."""
    for left in Path(folder).glob(f".{name if name == '*' else glob.escape(name)}.????????"):
        if left.is_dir() and {inner.name for inner in left.iterdir()} <= {left.name[1:-9]}:
            for inner in left.iterdir():
                inner.unlink()
            left.rmdir()


def check_target(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    known: Callable[[Path], bool] | None = None,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Make sure, before the work begins, that its result may be written.

    Args:
        path: of the file to write.
        overwrite: whether it may take the place of any other file.
        known: says of the file there whether it is an older result of the command, which may be replaced unasked.
        inputs: files that the work reads. They are never overwritten.

    Raises an `OutputError` if the file may not or cannot be written; the message names it and the reason.
    """
    path, shown = Path(path), printable(path)
    if os.path.exists(path) and any(os.path.exists(other) and os.path.samefile(path, other) for other in inputs):
        raise OutputError(f"{shown}: this file is read, and an input is never overwritten: choose another name")
    if os.path.isdir(path):
        raise OutputError(f"{shown}: it is a folder; give the name of a file")
    if not os.path.isdir(path.parent):
        raise OutputError(f"{shown}: there is no folder {printable(path.parent)}")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        found = path.stat() if path.exists() else None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise OutputError(f"{shown}: it cannot be written ({getattr(error, 'strerror', None) or error})") from None
    if found is None or (stat.S_ISREG(found.st_mode) and not found.st_size):
        return
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{shown}: it is a pipe or a device; give the name of a file")
    if overwrite:
        return
    with suppress(Exception):  # of a file of any kind, which is not the kind that is looked for
        if known and known(path):
            return
    raise OutputError(
        f"{shown}: a file of that name exists, and it is not an older result of this command: "
        "choose another name, or give --overwrite"
    )


def holds(*names: str) -> Callable[[Path], bool]:
    """For `check_target`: whether a file is an object of JSON with these names."""
    return lambda path: set(names) <= dict(json.loads(read_beginning(path))).keys()


def read_beginning(path: str | os.PathLike[str], most: int = 1 << 26) -> bytes:
    """The first bytes of a file, of any size and kind, that is looked at before it is replaced."""
    with open(path, "rb") as file:
        return file.read(most)


#: A file in a folder that a command filled, which names the command.
MADE_BY = ".made-by"


def claim_folder(folder: str | os.PathLike[str], maker: str, overwrite: bool = False) -> None:
    """Make a folder for what a command makes, or take up an empty one or the one that `maker`, a command, made before.

    Raises an `OutputError` if there is something else in it, unless `overwrite` is true, or it cannot be written.
    """
    folder, mark = Path(folder), Path(folder, MADE_BY)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").strip() == maker
        if not ours:
            if not overwrite and any(folder.iterdir()):
                reason = f"the folder holds what {maker} did not make: choose another folder, or give --overwrite"
                raise OutputError(f"{printable(folder)}: {reason}")
            with written_whole(mark) as file:
                file.write(f"{maker}\n".encode())
    except OSError as error:
        raise OutputError(f"{printable(folder)}: the folder cannot be written ({error.strerror})") from None


#: What must reach neither a terminal nor a page as it is: control characters, marks of direction, halves of characters.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(name: str | os.PathLike[str]) -> str:
    """A name or a message as text that any reader can show, on one line.

    Undecodable bytes and control characters become `\\xNN`; marks of direction and halves of characters become `\\uNNNN`.

    >>> print(printable("a\\nb"))
    a\\x0ab
    """
    text = str(name)
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, as Python carries it along
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


_HALVES = re.compile(r"[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})")


def name_to_text(name: str | os.PathLike[str]) -> str:
    """A file name as text for a table, of which `text_to_name` makes the name again, even after `printable`."""
    return _HALVES.sub(_escape, _LOOKS_ESCAPED.sub(r"\\x5c", str(name)))


def text_to_name(text: str) -> str:
    """The file name of which `name_to_text` made this text.

    >>> text_to_name(printable(name_to_text("a\\nb"))) == "a\\nb"
    True
    """
    return _ESCAPED.sub(_restore, text)


def _restore(match: re.Match[str]) -> str:
    code = int(match[1] or match[2], 16)
    return chr(code if match[2] or code < 0x80 else 0xDC00 + code)


#: What a spreadsheet would take for a formula, in its wide forms too.
_FORMULA = re.compile("[\\s'\"]*[=+@\uff1d\uff0b\uff0d\uff20-]")


def csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a CSV, whose texts are on one line and, by `./` before a path and `'` before others, no formula.

    >>> csv_row({"path": "=1+1.jpg", "mean": -0.5, "error": "@SUM(A1)"})
    {'path': './=1+1.jpg', 'mean': -0.5, 'error': "'@SUM(A1)"}
    """
    cells = dict(row)
    for name, value in row.items():
        if isinstance(value, str):
            cells[name] = ("./" if name == "path" else "'") * bool(_FORMULA.match(value)) + printable(value)
    return cells


def finite(value: Any) -> Any:
    """A value as JSON can hold it: what is not a finite number becomes None, in lists and objects too."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: str | os.PathLike[str], most: int = 1 << 24) -> Any:
    """Read JSON that anybody may have written; ValueError, in one line, if it is none in UTF-8 or has over `most` bytes."""
    if not Path(path).is_file() and Path(path).exists():
        raise ValueError("not an ordinary file")
    content = read_beginning(path, most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most / 1e6:.0f} MB")
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise ValueError("not text in UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"the number {text} cannot be read")


def write_json(path: str | os.PathLike[str], value: Any, durable: bool = False) -> None:
    """Write a value as JSON, whole or not at all; what is not finite becomes null (see `finite`)."""
    with written_whole(path, durable) as file:
        file.write(json.dumps(finite(value), indent=1, allow_nan=False).encode())

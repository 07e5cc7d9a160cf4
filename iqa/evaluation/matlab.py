"""Read the variables of a `.mat` that are wanted: numbers, texts, cells of texts and a struct of texts.

SciPy reads them. It takes a file at its word, though: one of 3 MB can unpack to gigabytes, name a shape of terabytes, or
nest cells until the process crashes. So each wanted variable is unpacked here, within a bound, and everything that it
declares is compared with the bytes that are there; only then does SciPy see it.

The format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

import io
import math
import struct
import zlib
from collections.abc import Container
from os import PathLike
from typing import Any, NamedTuple

import scipy

from iqa.errors import PredictionsError

#: Bytes of a file, and of its wanted variables when they are unpacked: a million images need 220 MB.
_LARGEST = 1 << 28

#: Variables of a file, and fields of a struct.
_VARIABLES, _FIELDS = 10_000, 200

_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_CELL, _STRUCT, _TEXT = 1, 2, 4
_NUMBERS = range(6, 16)

#: {type of stored numbers: bytes of each}, and the types of stored texts.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_TEXTS = (1, 2, 4, 16, 17, 18)


def read_variables(path: str | PathLike[str], names: Container[str]) -> dict[str, Any]:
    """The variables of a MATLAB 5 file that are named in `names`, as `scipy.io.loadmat` gives them; others stay unread.

    Raises:
        PredictionsError: if a variable is something else, or not what it declares; or if the file is of another version or
            unpacks to more than 256 MB. The message does not name the file.
        OSError: if it cannot be opened.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise PredictionsError(f"larger than {_LARGEST >> 20} MB")
    if content[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise PredictionsError("a file of MATLAB 7.3; save it with -v7")
    if content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI") or 0 in content[:4]:
        raise PredictionsError("not a file of MATLAB 5 (its first 128 bytes are of another format)")
    try:
        variables = _unpack(content, names)
        return dict(scipy.io.loadmat(io.BytesIO(b"".join([content[:128], *variables]))))
    except PredictionsError as error:
        raise PredictionsError(f"not a file of MATLAB 5 that can be read here ({error})") from None
    except Exception as error:  # whatever NumPy, zlib or SciPy make of it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PredictionsError(f"not a file of MATLAB 5 ({reason})") from None


def _unpack(content: bytes, names: Container[str]) -> list[bytes]:
    """The wanted variables of a file, unpacked and checked."""
    order = "<" if content[126:128] == b"IM" else ">"
    found: dict[str, bytes] = {}
    at, left = 128, _LARGEST
    for _ in range(_VARIABLES):
        if at >= len(content):
            return list(found.values())
        kind, size = struct.unpack_from(order + "2I", content, at)
        if kind not in (_MATRIX, _COMPRESSED) or at + 8 + size > len(content):
            raise PredictionsError(f"it is broken at byte {at}")
        packed = kind == _COMPRESSED
        part = content[at + 8 : at + 8 + size] if packed else content[at : at + 8 + size]
        at += 8 + size
        # A name and what stands before it have 300 bytes at most.
        name = _Reader(zlib.decompressobj().decompress(part, 512) if packed else part[:512], order).read_head().name
        if name not in names:
            continue
        if name in found:
            raise PredictionsError(f"it has two variables {name!r}")
        if packed:
            unpacker = zlib.decompressobj()
            part = unpacker.decompress(part, left + 1)
            if len(part) > left or not unpacker.eof:
                raise PredictionsError(f"its {name!r} unpack to more than {_LARGEST >> 20} MB, or are cut off")
        left -= len(part)
        reader = _Reader(part, order)
        reader.check_matrix(name)
        if reader.at != len(part) or left < 0:
            raise PredictionsError(f"its {name!r} have more or fewer bytes than they declare")
        found[name] = part
    raise PredictionsError(f"it has more than {_VARIABLES} variables")


class _Head(NamedTuple):
    """What a variable says of itself.

    Attributes:
        end: where it ends.
        kind: its class in MATLAB.
        complex: whether imaginary parts follow.
        elements: how many.
        name: of the variable; "" within others.
    """

    end: int
    kind: int
    complex: bool
    elements: int
    name: str


class _Reader:
    """Follows the bytes of a variable as SciPy does, and compares what they declare with what is there."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.at = data, order, 0
        self.text = struct.Struct(order + "14I")

    def read_element(self) -> tuple[int, int, int]:
        """(type, start, bytes) of the next element; four bytes or fewer may stand in the second half of its tag."""
        first, size = struct.unpack_from(self.order + "2I", self.data, self.at)
        if first >> 16:
            kind, size, start = first & 0xFFFF, first >> 16, self.at + 4
            self.at += 8
        else:
            kind, start = first, self.at + 8
            self.at = start + size + -size % 8
        if self.at > len(self.data) or (first >> 16 and size > 4):
            raise PredictionsError("it ends within a variable")
        return kind, start, size

    def read_head(self) -> _Head:
        """What the next variable says of itself."""
        kind, size, flags, flags_size, facts, _ = struct.unpack_from(self.order + "6I", self.data, self.at)
        end = self.at + 8 + size
        if (kind, flags, flags_size) != (_MATRIX, _UINT32, 8):
            raise PredictionsError(f"it is broken at byte {self.at} of a variable")
        self.at += 24
        kind, start, size = self.read_element()
        if kind != _INT32 or not 8 <= size <= 128 or size % 4:
            raise PredictionsError("a variable without a shape")
        shape = struct.unpack_from(f"{self.order}{size // 4}i", self.data, start)
        kind, start, size = self.read_element()
        if kind != _INT8 or size > 64 or min(shape) < 0:
            raise PredictionsError("a variable without a name")
        name = self.data[start : start + size].decode("latin-1")
        return _Head(end, facts & 0xFF, bool(facts & 0x800), math.prod(shape), name)

    def check_matrix(self, name: str, of: int | None = None) -> None:
        """Check the next variable, which may be a part of another; `of` is the class of that one."""
        if self.data[self.at + 4 : self.at + 8] == bytes(4):  # how MATLAB writes an empty cell
            (kind, _), self.at = struct.unpack_from(self.order + "2I", self.data, self.at), self.at + 8
            if kind != _MATRIX or of is None:
                raise PredictionsError(f"its {name!r} are broken")
            return
        head = self.read_head()
        if head.kind == _TEXT:
            kind, _, size = self.read_element()
            right = kind in _TEXTS and head.elements <= max(size, 1)
        elif head.kind in _NUMBERS and (of != _CELL or head.elements == 0):
            parts = [self.read_element() for _ in range(2 if head.complex else 1)]
            right = all(kind in _SIZES and size == head.elements * _SIZES[kind] for kind, _, size in parts)
        elif head.kind == _CELL and of is None:
            # An element has 8 bytes or more.
            right = head.elements * 8 <= len(self.data)
            for _ in range(head.elements if right else 0):
                if not self._pass_over_text():
                    self.check_matrix(name, _CELL)
        elif head.kind == _STRUCT and of is None:
            right = head.elements == 1 and self._check_fields(name)
        else:
            raise PredictionsError(f"its {name!r} hold something else than numbers and texts")
        if not right or self.at != head.end:
            raise PredictionsError(f"its {name!r} are not what they declare")

    def _pass_over_text(self) -> bool:
        """Pass over a text in a cell that looks as most do; the check of a million is twenty times as fast."""
        if self.at + 56 > len(self.data):
            return False
        whole = self.text.unpack_from(self.data, self.at)
        kind, size = whole[12:] if whole[12] < 1 << 16 else (whole[12] & 0xFFFF, whole[12] >> 16)
        end = self.at + 56 + (size + -size % 8 if whole[12] < 1 << 16 else 0)
        # tags of variable and class, the class itself, the shape (1, n), no name
        usual = whole[:1] + whole[2:5] + whole[6:9] + whole[10:12] == (_MATRIX, _UINT32, 8, _TEXT, _INT32, 8, 1, _INT8, 0)
        right = kind in _TEXTS and whole[9] <= max(size, 1) and self.at + 8 + whole[1] == end <= len(self.data)
        if usual and right and (size <= 4 or whole[12] < 1 << 16):
            self.at = end
            return True
        return False

    def _check_fields(self, name: str) -> bool:
        """Check the fields of a struct; False if they have no names."""
        kind, start, size = self.read_element()
        if (kind, size) != (_INT32, 4):
            return False
        (length,) = struct.unpack_from(self.order + "i", self.data, start)
        kind, _, size = self.read_element()
        if kind != _INT8 or not 0 < length <= 64 or size % length or size // length > _FIELDS:
            return False
        for _ in range(size // length):
            self.check_matrix(name, _STRUCT)
        return True

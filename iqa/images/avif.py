"""What decoders of AVIF leave to others: the part that is meant to be seen, its clean aperture, and its colours."""

import struct
from collections.abc import Iterator
from fractions import Fraction

#: Left, top, right, bottom, in pixels.
Box = tuple[int, int, int, int]


def clean_aperture(content: bytes, width: int, height: int) -> Box | None:
    """The part of the picture that its `clap` keeps, before it is turned; None if there is none, or no valid one.

    Args:
        content: the file.
        width, height: of what was decoded, in pixels.
    """
    try:
        return _clean_aperture(content, width, height)
    except (ValueError, KeyError, IndexError, ZeroDivisionError, struct.error):
        return None


def colour_codes(content: bytes) -> tuple[int, int, bool] | None:
    """ITU-T H.273's numbers of primaries and transfer, and that the pixels have the full range, which decoders give them.

    Args:
        content: the file.

    Returns:
        None if the file does not say.
    """
    try:
        for name, value in _properties(content):
            if name == b"colr" and value[:4] == b"nclx":
                primaries, transfer = struct.unpack(">HH", value[4:8])
                return primaries, transfer, True
    except (ValueError, KeyError, IndexError, struct.error):
        pass
    return None


def _properties(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of what is said of the picture."""
    meta = dict(_boxes(dict(_boxes(content))[b"meta"][4:]))
    version, item = meta[b"pitm"][0], meta[b"pitm"][4:]
    primary = int.from_bytes(item[: 4 if version else 2], "big")
    iprp = list(_boxes(meta[b"iprp"]))
    properties = list(_boxes(dict(iprp)[b"ipco"]))
    for index in _associated(dict(iprp)[b"ipma"], primary):
        yield properties[index - 1]


def _clean_aperture(content: bytes, width: int, height: int) -> Box | None:
    for name, value in _properties(content):
        if name == b"clap":
            w_n, w_d, h_n, h_d, x_n, x_d, y_n, y_d = struct.unpack(">IIIIiIiI", value[:32])
            kept, offset = (Fraction(w_n, w_d), Fraction(h_n, h_d)), (Fraction(x_n, x_d), Fraction(y_n, y_d))
            left, top = ((whole - part) / 2 + off for whole, part, off in zip((width, height), kept, offset, strict=True))
            box = (left, top, left + kept[0], top + kept[1])
            if all(edge.denominator == 1 for edge in box) and 0 <= left < box[2] <= width and 0 <= top < box[3] <= height:
                return int(box[0]), int(box[1]), int(box[2]), int(box[3])
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of the boxes that follow one another."""
    position = 0
    while position + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[position : position + 8])
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", content[position + 8 : position + 16])
            head = 16
        size = size or len(content) - position
        if size < head:
            raise ValueError("a box of no size")
        yield name, content[position + head : position + size]
        position += size


def _associated(ipma: bytes, wanted: int) -> list[int]:
    """The numbers, from 1, of the properties of an item."""
    version, wide = ipma[0], ipma[3] & 1
    (count,) = struct.unpack(">I", ipma[4:8])
    position = 8
    for _ in range(count):
        length = 4 if version else 2
        item = int.from_bytes(ipma[position : position + length], "big")
        number = ipma[position + length]
        position += length + 1
        step = 2 if wide else 1
        cells = [int.from_bytes(ipma[at : at + step], "big") for at in range(position, position + number * step, step)]
        position += number * step
        if item == wanted:
            return [cell & (0x7FFF if wide else 0x7F) for cell in cells]
    return []

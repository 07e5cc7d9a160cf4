"""What a PNG says of its colours and Pillow does not tell: its chunk `cICP`, and the low bytes of 16-bit pixels."""

import contextlib
import io
import os
import struct
from typing import Any

import numpy as np
from PIL import Image

#: A path, or a whole file in memory.
Source = str | os.PathLike[str] | io.BytesIO

#: ITU-T H.273's numbers of primaries and transfer, and whether the values have the full range.
Codes = tuple[int, int, bool]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: No PNG has so many chunks before its pixels.
_MOST = 1000


def source_of(image: Image.Image) -> Source | None:
    """The file of a PIL image that is opened and not yet decoded; None for any other image."""
    stream: Any = getattr(image, "fp", None)
    if stream is None or not getattr(image, "tile", None):
        return None
    try:
        before = stream.tell()
        stream.seek(0)
        content = stream.read()
        stream.seek(before)
        return io.BytesIO(content)
    except (OSError, ValueError):  # closed, or a stream that cannot go back
        return None


def colour_codes(source: Source) -> Codes | None:
    """What the chunk `cICP` of a PNG says of its colours; None if there is none before the pixels, or it is not for RGB."""
    with contextlib.nullcontext(source) if isinstance(source, io.BytesIO) else open(source, "rb") as file:
        file.seek(0)
        if file.read(8) != _SIGNATURE:
            return None
        for _ in range(_MOST):
            head = file.read(8)
            if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
                return None
            (length,) = struct.unpack(">I", head[:4])
            if head[4:] == b"cICP" and length == 4 and len(codes := file.read(4)) == 4:
                primaries, transfer, matrix, full = codes
                return None if matrix else (primaries, transfer, bool(full))
            file.seek(length + 4, 1)
    return None


def transparent_colour(image: Image.Image) -> Any:
    """The transparent colour of an image in the values that its pixels will have; a PNG has it in those of the file."""
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or key is None or not tiles:
        return key
    raw = tiles[0][3] if isinstance(tiles[0][3], str) else tiles[0][3][0]
    if isinstance(key, tuple) and raw.endswith(";16B"):
        return tuple(value >> 8 for value in key)
    return key * {"1": 255, "L;2": 85, "L;4": 17}.get(raw, 1) if isinstance(key, int) else key


def opaque_pixels(image: Image.Image, source: Source) -> Image.Image | None:
    """Where an opened PNG of 16-bit RGB with a transparent colour is opaque: 255 or 0, mode L; None of any other.

    Pillow keeps the high bytes of the pixels alone, in which other colours may be the same as the transparent one. They
    are decoded twice here: as they are, and as if their bytes came in the other order.
    """
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or not isinstance(key, tuple) or not tiles or tiles[0][3] != "RGB;16B":
        return None
    opaque = np.zeros((image.height, image.width), bool)
    for shift, raw in ((8, "RGB;16B"), (0, "RGB;16L")):
        with Image.open(source, formats=("PNG",)) as opened:
            tile: Any = opened
            tile.tile = [part._replace(args=raw) for part in tile.tile]
            opaque |= (np.asarray(opened) != [value >> shift & 255 for value in key]).any(axis=-1)
    return Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))

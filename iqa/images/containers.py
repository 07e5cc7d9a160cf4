"""What Pillow does not tell of PNG and AVIF files, and PNGs that browsers show although something in them is broken."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, PngImagePlugin

from iqa.errors import ImageError

#: ITU-T H.273's numbers of primaries and transfer, and whether the values have the full range.
Codes = tuple[int, int, bool]

_PNG = b"\x89PNG\r\n\x1a\n"
#: Chunks of a PNG that its pixels need; and those that say how to show them.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MEANING = (b"iCCP", b"eXIf", b"cICP", b"sRGB", b"gAMA", b"cHRM")

#: Brands of a HEIC.
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
#: How the boxes of an AVIF begin that give its colours in numbers, and that cut its picture.
_NCLX, _CLAP = b"colrnclx", b"\0\0\0\x28clap"


def _keep_codes(stream: PngImagePlugin.PngStream, position: int, length: int) -> bytes:
    content: bytes = stream.fp.read(length)  # type: ignore[union-attr]
    stream.im_info["cicp"] = content
    return content


# Pillow asks for a method by the name of each chunk, and has none for the colours that a PNG gives in numbers.
PngImagePlugin.PngStream.chunk_cICP = _keep_codes  # type: ignore[attr-defined]


def note_avif(image: Image.Image, file: BinaryIO) -> None:
    """Put the colours that an AVIF gives in numbers into `info`; ImageError if Pillow would not crop it (clap)."""
    file.seek(0)
    content = file.read()
    if _CLAP in content:
        raise ImageError("an AVIF of which only a part is to be seen (clap) cannot be read rightly")
    place = content.find(_NCLX) + len(_NCLX)
    if place >= len(_NCLX) and len(content) >= place + 4:
        primaries, transfer = struct.unpack(">HH", content[place : place + 4])
        image.info["nclx_profile"] = {"color_primaries": primaries, "transfer_characteristics": transfer}


def colour_codes(image: Image.Image) -> Codes | None:
    """The colours of an opened PNG, AVIF or HEIC in numbers; None if it does not say, or has a profile that counts more."""
    codes, said = image.info.get("cicp", b""), image.info.get("nclx_profile")
    if len(codes) == 4 and not codes[2]:  # for RGB
        return codes[0], codes[1], bool(codes[3])
    if said and not image.info.get("icc_profile"):
        return said["color_primaries"], said["transfer_characteristics"], True  # decoders give the full range
    return None


def transparent_colour(image: Image.Image) -> object:
    """The transparent colour of an image in the values that its pixels will have; a PNG has it in those of the file.

    ImageError if it has 16 bits a channel, of which Pillow keeps 8.
    """
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or key is None or not tiles:
        return key
    mode = tiles[0][3]
    if isinstance(key, tuple) and mode == "RGB;16B":
        raise ImageError("a PNG of 16-bit colours, one of them transparent, cannot be read rightly")
    return key * {"L;2": 85, "L;4": 17}.get(mode, 1) if isinstance(key, int) else key


def without_metadata(content: bytes) -> Iterator[bytes]:
    """Copies of a PNG with less and less metadata, and with none whose checksum is wrong; nothing of any other file."""
    for kept in (_PIXELS + _MEANING, _PIXELS) if content.startswith(_PNG) else ():
        file, parts = io.BytesIO(content[len(_PNG) :]), [_PNG]
        while len(head := file.read(8)) == 8 and parts[-1][4:8] != b"IEND":
            chunk = head + file.read(int.from_bytes(head[:4], "big") + 4)
            needed = head[4:] in _PIXELS and head[4:] != b"tRNS"
            if head[4:] in kept and (needed or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")):
                parts.append(chunk)
        yield b"".join(parts)

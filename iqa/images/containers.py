"""What Pillow does not tell of PNG, AVIF and JPEG files; PNGs that browsers show although something in them is broken."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from iqa.errors import ImageError

#: ITU-T H.273's numbers of primaries and transfer, and whether the values have the full range.
Codes = tuple[int, int, bool]

_PNG = b"\x89PNG\r\n\x1a\n"
#: Chunks of a PNG that its pixels need; and those that say how to show them.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MEANING = (b"iCCP", b"eXIf", b"cICP", b"sRGB", b"gAMA", b"cHRM")

#: Brands of a HEIC.
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"miaf", b"msf1"}
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


def brand_of(content: bytes) -> bytes:
    """A brand by which decoders know an AVIF or a HEIC, of those that it calls compatible; b"" for other files."""
    if content[4:8] != b"ftyp":
        return b""
    brands = {content[at : at + 4] for at in range(8, min(int.from_bytes(content[:4], "big"), 1024), 4)}
    return b"avif" if b"avif" in brands else b"heic" if brands & _HEIC else b""


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


def what_is_lost(image: Image.Image, file: BinaryIO) -> str | None:
    """What a JPEG lacks although it has an end marker, in words; None for nothing. libjpeg knows, but Pillow does not ask.

    Blocks without data become grey. Only of a picture that ends in grey is it tried whether its data are too few: then
    other data before the end marker become pixels. A progressive JPEG may lack whole scans, which it lists.
    """
    width, height = image.size
    corner = np.array(image.crop((max(0, width - 2), max(0, height - 2), width, height)).getextrema())
    grey = ((corner == 127) | (corner == 128)).all()
    if not grey and not image.info.get("progressive"):
        return None
    file.seek(0)
    content, start = file.read(), 2
    while content[start : start + 2] not in (b"\xff\xda", b""):
        start += 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    end = content.find(b"\xff\xd9", start)
    if grey and end > 0:
        found, other = _at_an_eighth(content), _at_an_eighth(content[:end] + NONSENSE + content[end:])
        if (found != other).any():
            rows = ((found == 127) | (found == 128)).reshape(len(found), -1).all(axis=1)
            share = np.logical_and.accumulate(rows[::-1]).mean()
            return f"a part of its data is missing: the lower {max(1, round(100 * share))} % of the picture is grey"
    if image.info.get("progressive") and _lacks_scans(content[start:end], getattr(image, "layers", 3)):
        return "a part of its data is missing: it shows less detail than it had"
    return None


#: Data of a JPEG that mean something, without the markers at which some of them restart and with these.
_WORDS = b"\x5a\xa5\x33\x0f" * 64
NONSENSE = _WORDS + b"".join(bytes((0xFF, 0xD0 + number)) + _WORDS for number in range(8))


def _at_an_eighth(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        image.draft(None, (1, 1))
        return np.asarray(image)


def _lacks_scans(content: bytes, components: int) -> bool:
    """Whether the scans of a progressive JPEG leave out bits of any coefficient."""
    left = dict[tuple[int, int], int]()  # bits that are still to come of each
    for scan in content.split(b"\xff\xda")[1:]:
        last = 3 + 2 * scan[2]
        for component in scan[3:last:2]:
            left |= dict.fromkeys(
                ((component, place) for place in range(scan[last], scan[last + 1] + 1)), scan[last + 2] & 15
            )
    return len(left) < 64 * components or any(left.values())


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

"""What Pillow does not tell of PNG, AVIF and JPEG files; PNGs that browsers show although something in them is broken."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
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
    image.info.pop("xmp", None)  # by which Pillow would turn it, and no standard
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


#: Data of a JPEG that mean something, without the markers at which some of them restart and with these.
_WORDS = b"\x5a\xa5\x33\x0f" * 64
_MORE = _WORDS + b"".join(bytes((0xFF, 0xD0 + number)) + _WORDS for number in range(8))


def share_lost(content: bytes) -> float:
    """The share of a JPEG's rows, 0.01 or more, that are grey for lack of data; 0 if more data would change no pixel."""
    before, end, after = content.rpartition(b"\xff\xd9")
    files = (content, before + _MORE + end + after)
    found, other = (np.asarray(Image.open(io.BytesIO(file), formats=("JPEG",))) for file in files)
    grey = np.isin(found, (127, 128)).reshape(len(found), -1).min(axis=1)
    return 0.0 if (found == other).all() else max(0.01, float(np.minimum.accumulate(grey[::-1]).mean()))


def what_is_lost(image: Image.Image, file: BinaryIO) -> str | None:
    """What a JPEG lacks although it has an end marker, in words, or None: only grey at its end and scans are looked at."""
    grey = np.isin(image.crop((image.width - 1, image.height - 1, *image.size)).getextrema(), (127, 128)).all()
    if not grey and not image.info.get("progressive"):
        return None
    file.seek(0)
    content = file.read()
    if grey and (share := share_lost(content)):
        return f"a part of its data is missing: the lower {share:.0%} of the picture is grey"
    scans = [scan[2:8] for scan in content.split(b"\xff\xda")]  # those of one component end with all bits of place 63
    whole = {scan[1] for scan in scans if scan[:1] == b"\1" and scan[4:5] == b"\x3f" and scan[5:] and not scan[5] % 16}
    if image.info.get("progressive") and len(whole) < getattr(image, "layers", 3):
        return "a part of its data is missing: it shows less detail than it had"
    return None


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

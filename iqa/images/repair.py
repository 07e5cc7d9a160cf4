"""Files that every browser shows although something in them is broken: metadata, or a JPEG's last two bytes.

All functions take and give back whole files.
"""

import struct
import zlib
from collections.abc import Iterator

#: Chunks of a PNG that its pixels need; and those that say how to show them.
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MEANING = (b"iCCP", b"eXIf", b"cICP", b"sRGB", b"gAMA", b"cHRM")

_PNG = b"\x89PNG\r\n\x1a\n"


def without_metadata(content: bytes) -> Iterator[bytes]:
    """Copies of a PNG, WebP or AVIF with less and less metadata; none of any other file."""
    if content.startswith(_PNG):
        yield _png_of(content, _PIXELS + _MEANING)
        yield _png_of(content, _PIXELS)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        yield _webp_without(content, (b"EXIF", b"XMP "))
        yield _webp_without(content, (b"EXIF", b"XMP ", b"ICCP"))
    elif content[4:8] == b"ftyp" and (start := content.find(b"meta")) > 0:
        (size,) = struct.unpack(">I", content[start - 4 : start])
        end = start - 4 + size
        # An item of a type that nobody knows is passed over.
        yield content[:start] + content[start:end].replace(b"Exif", b"skip") + content[end:]


def _png_of(content: bytes, kept: tuple[bytes, ...]) -> bytes:
    """The chunks of these names; without those that are not needed for the pixels and whose checksum is wrong."""
    parts, position = [_PNG], len(_PNG)
    while position + 8 <= len(content):
        (length,), name = struct.unpack(">I", content[position : position + 4]), content[position + 4 : position + 8]
        chunk = content[position : position + 12 + length]
        position += 12 + length
        critical = name in _PIXELS and name != b"tRNS"
        if name in kept and (critical or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")):
            parts.append(chunk)
        if name == b"IEND":
            break
    return b"".join(parts)


def _webp_without(content: bytes, dropped: tuple[bytes, ...]) -> bytes:
    parts, position = [], 12
    while position + 8 <= len(content):
        name, (length,) = content[position : position + 4], struct.unpack("<I", content[position + 4 : position + 8])
        chunk = content[position : position + 8 + length + length % 2]
        position += 8 + length + length % 2
        if name == b"VP8X" and len(chunk) > 8:
            flags = {b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}
            chunk = chunk[:8] + bytes([chunk[8] & ~sum(flags[name] for name in dropped)]) + chunk[9:]
        if name not in dropped:
            parts.append(chunk)
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ended(content: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG that lacks its end, twice: ended, and with nonsense before its end.

    If both are the same picture, the decoder needed nothing of the nonsense: all pixels were there. If they differ, the
    picture is truncated. None if the file is no JPEG.
    """
    if not content.startswith(b"\xff\xd8"):
        return None
    whole = content[:-1] if content.endswith(b"\xff") else content
    return whole + b"\xff\xd9", whole + b"\x5a\xa5\x33\x0f" * 64 + b"\xff\xd9"

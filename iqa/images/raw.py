"""Raw files of cameras (CR2, CR3, NEF, ARW, DNG and others), by LibRaw: rawpy, the extra `raw`.

The preview that the camera put into the file is read if its longer side has at least half as many pixels as that of the raw
data. Otherwise the data are developed, with a note.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from PIL import ExifTags, Image, TiffImagePlugin

from iqa.errors import ImageError
from iqa.files import RAW_SUFFIXES, printable

#: How a TIFF begins.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: How raw files begin that are no TIFF: of Fujifilm, Panasonic and Leica, Olympus, Sigma, Minolta, and Canon before CR2.
_BEGINNINGS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_CR3 = b"ftypcrx "
_JPEG = b"\xff\xd8"
#: What a TIFF has in its place 8 if it is a CR2, or of Phase One.
_TIFF_OF_MAKERS = (b"CR\2\0", b"IIII", b"MMMM")
#: Values of the tag PhotometricInterpretation: a colour filter array, and raw data of all colours.
RAW_DATA = (32803, 34892)
#: Tags that say where the strips and tiles of a page begin, and how many bytes they have.
_PARTS = ((273, 279), (324, 325))
#: No file has more pages that matter, and no camera packs so many pixels of raw data into a byte.
_PAGES, _PIXELS_PER_BYTE = 32, 32
#: Data are developed at half their size, a pixel for each 2x2 of the colour filter, if the shorter side has so many then.
#: That takes a sixth of the time, and no colour is guessed from the neighbours.
ENOUGH = 1344
#: How LibRaw says that a picture was taken with the camera turned -> EXIF's tag.
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}


def is_raw(file: BinaryIO) -> bool:
    """Whether a file is a raw file, by its content; a TIFF, or what nobody knows, by its suffix as well."""
    named = os.path.splitext(_name_of(file))[1].lower() in RAW_SUFFIXES
    file.seek(0)
    head = file.read(32)
    if head[:4] in TIFF:
        with contextlib.suppress(Exception):  # of a broken file, of which its reader will say so
            known = named or head[8:12] in _TIFF_OF_MAKERS
            return known or any(page.get(262) in RAW_DATA for page in _list_pages(file))
        return False
    return head.startswith(_BEGINNINGS) or head[4:12] == _CR3 or (named and not head.startswith(_JPEG))


def _name_of(file: BinaryIO) -> str:
    name = getattr(file, "name", "")
    return name if isinstance(name, str) else ""


def _list_pages(file: BinaryIO) -> Iterator[TiffImagePlugin.ImageFileDirectory_v2]:
    """The directories of a TIFF, or of a raw file that is built like one; each is valid until the next is asked for."""
    file.seek(0)
    head = file.read(16)
    mark = head[:4] if head[:4] in TIFF else TIFF[head[:2] == b"MM"]
    page = TiffImagePlugin.ImageFileDirectory_v2(mark + head[4 : 16 if mark[2:].strip(b"\0") == b"+" else 8])
    places = [page.next]
    for number in range(_PAGES):
        if number == len(places):
            break
        file.seek(places[number])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that Pillow cannot make sense of
            page.load(file)
        places += _numbers(page, 330)
        places += [page.next] if page.next else []
        yield page


def _numbers(page: TiffImagePlugin.ImageFileDirectory_v2, tag: int) -> list[int]:
    value = page.get(tag, ())
    return [value] if isinstance(value, int) else list(value)


def _check_whole(file: BinaryIO, pixels: int) -> None:
    """Refuse a truncated file, of which LibRaw takes what is missing for black: a TIFF says where its data end."""
    size = file.seek(0, os.SEEK_END)
    ends = [0]
    with contextlib.suppress(Exception):  # of a file that is not built like a TIFF
        for page in _list_pages(file):
            if page.get(262) in RAW_DATA:
                for places, counts in _PARTS:
                    ends += map(sum, zip(_numbers(page, places), _numbers(page, counts), strict=True))
    if size * _PIXELS_PER_BYTE < pixels or max(ends) > size:
        raise ImageError("it is truncated")


def open_raw(file: BinaryIO, most: int, smallest: int | None, notes: list[str]) -> Image.Image:
    """The preview in a raw file if it is large enough, or the developed picture, with EXIF that says how to turn it.

    Args:
        most: the most pixels that it may have; a third of them if its data have all colours in each pixel.
        smallest: a preview of so many pixels a side is large enough too.
        notes: is told if the picture was developed.

    ImageError or MemoryError if rawpy is not installed, or LibRaw cannot read the file.
    """
    with _libraw(file) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        extent, pixels = f"{raw.sizes.raw_width}x{raw.sizes.raw_height}", raw.sizes.raw_width * raw.sizes.raw_height
        if pixels > most:
            raise ImageError(f"{extent} pixels are more than {most}")
        preview = _preview(raw, most, smallest)
        if preview and (2 * max(preview.size) >= max(width, height) or (smallest and min(preview.size) >= smallest)):
            return preview
        _check_whole(file, pixels)
        if raw.raw_type.name != "Flat" and pixels > most // 3:
            raise ImageError(f"{extent} pixels of all colours are more than {most // 3}")
        half = min(width, height) >= 2 * ENOUGH or pixels > most // 4
        # The camera's white balance, sRGB, so bright that a hundredth of the pixels is white.
        developed = Image.fromarray(raw.postprocess(half_size=half, use_camera_wb=True, gamma=(2.4, 12.92)))
        found = f"its preview has {preview.width}x{preview.height}" if preview else "it has no preview that can be read"
        notes.append(f"a raw file, developed at {developed.width}x{developed.height} pixels: {found}")
        return developed


def read_time(file: BinaryIO) -> datetime | None:
    """The local time of the capture, in whole seconds; None if the file does not say it. Errors as of `open_raw`."""
    with _libraw(file) as raw:
        time: datetime = raw.other.timestamp
        return time if time.year > 1970 else None


@contextlib.contextmanager
def _libraw(file: BinaryIO) -> Iterator[Any]:
    try:
        import rawpy
    except ImportError:
        raise ImageError("a raw file needs rawpy: pip install rawpy") from None
    try:
        with rawpy.RawPy() as raw:
            name = _name_of(file)
            # LibRaw, which takes names in UTF-8 and prints them, reads no more of a named file than it needs.
            if name and printable(name) == name and os.fsencode(name) == name.encode():
                raw.open_file(name)
            else:
                file.seek(0)
                raw.open_buffer(file)
            yield raw
    except rawpy.LibRawUnsufficientMemoryError:
        raise MemoryError from None
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ImageError(f"LibRaw cannot read it: {text[:1].lower()}{text[1:]}") from None


def _preview(raw: Any, most: int, smallest: int | None) -> Image.Image | None:
    """The largest preview in a file, decoded; None if there is none that can be."""
    import rawpy

    preview: Image.Image
    try:
        found = raw.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            preview = Image.open(io.BytesIO(found.data), formats=("JPEG",))
        else:  # a bitmap; of more than 8 bits there is no preview
            preview = Image.fromarray(found.data.squeeze(-1) if found.data.shape[-1] == 1 else found.data)
        if preview.width * preview.height > most:
            return None
        if smallest:
            preview.draft(None, (smallest, smallest))
        exif = preview.getexif()
        # Most previews lie as the sensor lay, some stand upright already, and few say it themselves.
        turned = said = _ORIENTATIONS.get(raw.sizes.flip, 1)
        if turned in (6, 8):
            said = turned if (preview.width > preview.height) == (raw.sizes.width > raw.sizes.height) else 1
        elif exif.get(ExifTags.Base.Orientation):
            said = exif[ExifTags.Base.Orientation]
        exif[ExifTags.Base.Orientation] = said
        preview.load()
    except (MemoryError, rawpy.LibRawFatalError):
        raise
    except Exception:  # decoders raise whatever their parsing runs into
        return None
    return preview

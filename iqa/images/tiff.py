"""TIFFs that Pillow reads wrongly or not at all, by tifffile and imagecodecs (the extra `tiff`).

What Pillow is known to read rightly is left to Pillow. What has no known black and white (signed numbers, floating point,
32 bits, raw data of a camera) is refused.
"""

import logging
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from iqa.errors import ImageError
from iqa.images.raw import RAW_DATA

# What tifffile would say of a broken file on stderr; what is broken has its reason here.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

#: Bits of the tag NewSubfileType, and values of the older SubfileType.
_PREVIEW, _MASK = 1, 4
#: Pages that are searched for one that is no preview, and bytes that a pixel may take where there are as many as may be.
_PAGES, _HELD = 100, 4
#: PhotometricInterpretation -> channels of colour: grey from white, grey, RGB, CMYK, YCbCr.
_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4, 6: 3}


def to_first_picture(image: Image.Image) -> None:
    """Move an opened TIFF to its first page that is neither a preview nor a mask; to the largest if all of them are."""
    sizes = []
    for page in range(min(getattr(image, "n_frames", 1), _PAGES)):
        image.seek(page)
        if not _is_aside(_tags(image).get(254), _tags(image).get(255)):
            return
        sizes.append(image.width * image.height)
    image.seek(sizes.index(max(sizes)))


def _is_aside(kind: object, old_kind: object) -> bool:
    return bool(isinstance(kind, int) and kind & (_PREVIEW | _MASK)) or old_kind == 2


def beyond_pillow(image: Image.Image) -> str | None:
    """What Pillow would read wrongly of an opened TIFF, in words, or None; ImageError if nothing could read it rightly."""
    tags = _tags(image)
    bits, photometric = tags.get(258, (1,)), tags.get(262)
    if 2 in tags.get(339, ()):
        raise ImageError("signed pixels, whose range is unknown")
    if photometric in RAW_DATA:
        raise ImageError("raw data of a camera: develop it first")
    if 50706 in tags:
        raise ImageError("a raw file (DNG), of which Pillow reads a preview: give its path instead of a PIL image")
    if 330 in tags and _is_aside(tags.get(254), tags.get(255)):
        raise ImageError("a TIFF whose picture lies behind its preview cannot be read rightly")
    if len(set(bits)) > 1 or bits[0] not in (1, 2, 4, 8, 16, 32):
        return f"a TIFF of {'/'.join(map(str, dict.fromkeys(bits)))} bits"
    planes = tags.get(284, 1) == 2 and len(bits) > 1
    if bits[0] == 16 and (planes or photometric not in (1, 2, 5)):
        return "a TIFF of 16 bits in this layout"
    odd = planes and (photometric not in (2, 5, 6) or 1 in tags.get(338, ()))
    return "a TIFF in this layout" if odd or (photometric == 6 and tags.get(259) not in (6, 7)) else None


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def read_tiff(file: BinaryIO, what: str, most: int) -> Image.Image:
    """The first page of a TIFF that is no preview, in mode L, RGB, RGBA or CMYK, with its orientation and colour profile.

    Args:
        what: what Pillow cannot read of it, for the message where the extra is not installed.
        most: the most pixels that it may have.

    Raises an `ImageError` if the extra is not installed, or the range or the meaning of the pixels is unknown.
    """
    try:
        import imagecodecs  # noqa: F401, tifffile needs it for all but the plainest files
        import tifffile
    except ImportError:
        raise ImageError(f"{what} needs tifffile and imagecodecs: pip install tifffile imagecodecs") from None
    file.seek(0)
    with tifffile.TiffFile(file) as opened:
        pages = [opened.pages.get(number, aspage=True) for number in range(min(len(opened.pages), _PAGES))]
        whole = (page for page in pages if not _is_aside(page.tags.valueof(254), page.tags.valueof(255)))
        page = next(whole, None) or max(pages, key=lambda page: page.imagewidth * page.imagelength)
        _check(page, most, file.seek(0, 2))
        pixels = page.asarray(maxworkers=1)
        planes = np.moveaxis(pixels, 0, -1) if page.planarconfig == 2 and pixels.ndim == 3 else pixels
        image = _to_image(planes.reshape(page.imagelength, page.imagewidth, -1), page)
        image.getexif()[ExifTags.Base.Orientation] = page.tags.valueof(274)
        if profile := page.tags.valueof(34675):
            image.info["icc_profile"] = bytes(profile)
        return image


def _check(page: Any, most: int, size: int) -> None:
    if page.imagewidth * page.imagelength > most:
        raise ImageError(f"{page.imagewidth}x{page.imagelength} pixels are more than {most}")
    held = page.samplesperpixel * (1 if page.bitspersample <= 8 else 2)
    if page.imagewidth * page.imagelength * held > _HELD * most:
        raise ImageError(f"{page.imagewidth}x{page.imagelength} pixels of {held} bytes are more than {_HELD * most} bytes")
    if page.sampleformat not in (1, 4) or page.bitspersample > 16:
        raise ImageError("pixels of floating point, with a sign or of more than 16 bits, whose range is unknown")
    channels = _CHANNELS.get(page.photometric, 9)  # of palettes those of 8 bits are left, which Pillow reads
    if page.imagedepth != 1 or not channels <= page.samplesperpixel <= 8:
        kind = getattr(page.photometric, "name", page.photometric)
        raise ImageError(f"a TIFF of {kind}, {page.samplesperpixel} channels and {page.imagedepth} layers is no picture")
    if page.photometric == 6 and page.compression not in (6, 7):
        raise ImageError("a TIFF of YCBCR that is no JPEG cannot be read rightly")
    places, counts = page.dataoffsets, page.databytecounts
    ends = [count and place + count for place, count in zip(places, counts, strict=False)]
    if not ends or len(places) != len(counts) or not all(0 < end <= size for end in ends):
        raise ImageError("it cannot be decoded: the file is truncated, or does not say where its pixels are")


def _to_image(planes: NDArray[Any], page: Any) -> Image.Image:
    """(H, W, channels) of any number of bits as an image of 8 bits."""
    highest = 2**page.bitspersample - 1 if planes.dtype != bool else 1
    levels = np.rint(np.arange(highest + 1) * (255 / highest)).astype(np.uint8)
    eight = levels[np.minimum(planes, highest)]
    channels = _CHANNELS[page.photometric]
    if page.photometric == 0:
        eight[..., 0] = 255 - eight[..., 0]
    colours = eight[..., 0] if channels == 1 else eight[..., :channels]
    image = Image.fromarray(np.ascontiguousarray(colours), "CMYK" if channels == 4 else None)
    kinds = tuple(page.extrasamples or ())
    if channels != 4 and kinds and kinds[0] in (1, 2) and eight.shape[2] > channels:
        alpha = Image.fromarray(np.ascontiguousarray(eight[..., channels]))
        image = image.convert("RGB")
        if kinds[0] == 1:  # colours that are multiplied by alpha already
            return Image.merge("RGBa", (*image.split(), alpha)).convert("RGBA")
        image.putalpha(alpha)
    return image

"""Any image file -> RGB uint8.

    pixels = read_image("photo.jpg")            # (H, W, 3) uint8

All images are read here, for training and for scoring alike.
"""

import functools
import io
import os
import stat
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from iqa.errors import ImageError

#: What can be read: a path, a PIL image, or a uint8 array (H, W, 3).
ImageLike: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]

#: What is decoded at all. Pillow knows more: EPS, which it hands to Ghostscript, and formats that are little maintained.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")

#: A picture with more pixels is refused as a decompression bomb (Pillow's own limit for its error, twice its warning).
MAX_PIXELS = 2 * 89_478_485

#: A larger file is refused unread.
MAX_BYTES = 2**30

#: A JPEG that is made smaller by decoding less of it keeps this many times the pixels a side that are wanted in the end. At
#: 6 the scores of 72 pictures of 14 to 25 megapixels moved by 0.007 at most, at 4 by 0.013, at 2 by 0.047.
REDUCED = 6

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,  # what Keras 2 did in `load_img(target_size=...)`
    "bilinear": Image.Resampling.BILINEAR,  # Pillow's averages over all pixels when it makes a picture smaller
}


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()  # a Pillow that was built without one of them has no entry for it
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_image(image: ImageLike) -> NDArray[np.uint8]:
    """Read an image as it looks on a white page.

    16-bit grey is scaled to 8 bits, transparency is laid on white, EXIF rotation is turned upright, CMYK and palettes
    become RGB. Of an animated file the first frame is read, of a PIL image the frame at which it stands; the PIL image
    itself is not changed.

    Args:
        image: a path, a PIL image, or a uint8 array (H, W, 3), which is returned as it is.

    Returns:
        A uint8 array (H, W, 3), RGB, 0-255.

    Raises:
        ImageError: if there is no such file, or it is empty, broken, truncated, no image, or too large; or if an array is
            not uint8 of shape (H, W, 3).
        TypeError: if it is neither a path nor a PIL image nor an array.
    """
    return _check(image) if isinstance(image, np.ndarray) else np.asarray(_read(image))


def read_resized(image: ImageLike, size: int, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """The whole image squeezed to `size` x `size`, whatever its proportions, uint8 (size, size, 3); see `read_image`.

    A large JPEG that is averaged is decoded at a half, a quarter or an eighth, which is faster. What is decoded keeps at
    least `REDUCED` times `size` pixels a side. With "nearest" all of it is decoded: the nearest pixel of a reduced picture
    would be another one.

    Args:
        interpolation: a key of `INTERPOLATIONS`.
    """
    if isinstance(image, np.ndarray):
        whole = Image.fromarray(_check(image))
    else:
        whole = _read(image, REDUCED * size if interpolation == "bilinear" else None)
    return np.asarray(whole.resize((size, size), INTERPOLATIONS[interpolation]))


def thumbnail(image: str | os.PathLike[str] | Image.Image, side: int) -> NDArray[np.uint8]:
    """A small picture for a page: the bytes of a WebP whose longer side has at most `side` pixels, uint8 (n,).

    Args:
        image: a path, or a PIL image, which is not changed.

    Raises:
        ImageError: as `read_image`.
    """
    small = _read(image, 2 * side)
    if small is image:
        small = small.copy()
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=60, method=2)
    return np.frombuffer(file.getvalue(), np.uint8)


def _check(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise ImageError(f"an image array must be uint8 with values of 0-255, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"an image array must have the shape (H, W, 3), not {pixels.shape}")
    return pixels


def _read(image: str | os.PathLike[str] | Image.Image, smallest: int | None = None) -> Image.Image:
    """A path or PIL image as a PIL image in RGB, at its own size or reduced to no fewer than `smallest` pixels a side.

    A PIL image that is RGB already is returned itself: do not change it.
    """
    if not isinstance(image, str | os.PathLike | Image.Image):
        raise TypeError(f"an image must be a path, a PIL image or a uint8 array (H, W, 3), not {type(image).__name__}")
    try:
        return _to_rgb(image) if isinstance(image, Image.Image) else _open(image, smallest)
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except IsADirectoryError:
        raise ImageError("it is a folder, not an image") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except Image.DecompressionBombError:
        raise ImageError(f"it has more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("it is not an image, or of an unknown format") from None
    except ImageError:
        raise
    except Exception as error:  # decoders of some twenty formats raise whatever their parsing runs into
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"it cannot be decoded: {reason}") from None


def _open(path: str | os.PathLike[str], smallest: int | None) -> Image.Image:
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ImageError("it is a pipe or a device, not an image")  # opening one could block for ever
    if found.st_size == 0:
        raise ImageError("the file is empty")
    if found.st_size > MAX_BYTES:
        raise ImageError(f"{found.st_size} bytes are more than {MAX_BYTES}")
    # Pillow only warns of up to twice its limit of pixels; our own check below is the error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=_formats()) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ImageError(f"{opened.width}x{opened.height} pixels are more than {MAX_PIXELS}")
            if smallest:
                opened.draft(None, (smallest, smallest))  # None keeps the mode
            return _to_rgb(opened)


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # asked first: `exif_transpose` copies in any case
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ImageError("floating point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        # `convert` clips 16-bit grey to white. Mode "I" is what older files of 16 bits come as; more bits have no range.
        grey = np.asarray(image)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise ImageError("pixels of more than 16 bits, whose range is unknown")
        image = Image.fromarray(np.rint(grey / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")

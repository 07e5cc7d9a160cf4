"""Any image file -> RGB uint8, and the geometries that cut or resize it to what a network sees.

    pixels = read_image("photo.jpg")            # (H, W, 3) uint8
    patch = centre_patch(pixels, 224)           # (224, 224, 3) uint8

All images are read here, for training and for scoring alike.
"""

import functools
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from iqa.errors import ImageError

#: What is looked for in a folder; a file named outright is read whatever its suffix.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm")
)

#: What is decoded at all. Pillow knows more: EPS, which it hands to Ghostscript, and formats that few have looked after.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")

#: A picture with more pixels is refused as a decompression bomb (Pillow's own limit for its error, twice its warning).
MAX_PIXELS = 2 * 89_478_485

#: A larger file is refused unread.
MAX_BYTES = 2**30


@functools.cache
def _formats():
    Image.init()  # a Pillow that was built without one of them has no entry for it
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_image(image):
    """Read an image as it would be seen on a white page.

    16-bit grey is scaled to 8 bits, transparency is laid on white, EXIF rotation is turned upright, of an animation
    the first frame is taken, CMYK and palettes become RGB.

    Args:
        image: a path, a PIL image, or a uint8 array (H, W, 3), which is returned as it is.

    Returns:
        A uint8 array (H, W, 3), RGB, 0-255.

    Raises:
        ImageError: if there is no such file, or it is empty, broken, truncated, no image, or too large.
        TypeError, ValueError: if an array is not uint8 of shape (H, W, 3).
    """
    return _checked(image) if isinstance(image, np.ndarray) else np.asarray(_read(image))


def read_resized(image, size, interpolation="bilinear"):
    """`resize(read_image(image), size, interpolation)`, sooner: a large JPEG is decoded at a half, a quarter or an eighth.

    What is decoded keeps at least `REDUCED` times `size` pixels a side, and only averages are made smaller in two steps;
    the nearest pixel of a reduced picture would be another one.
    """
    if isinstance(image, np.ndarray):
        return resize(_checked(image), size, interpolation)
    smallest = REDUCED * size if interpolation == "bilinear" else None
    return np.asarray(_read(image, smallest).resize((size, size), INTERPOLATIONS[interpolation]))


def thumbnail(image, side):
    """A small picture for a page: the bytes of a WebP whose longer side has at most `side` pixels, uint8 (n,).

    Args:
        image: a path or a PIL image.

    Raises:
        ImageError: as `read_image`.
    """
    small = _read(image, 2 * side)
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=60, method=2)
    return np.frombuffer(file.getvalue(), np.uint8)


def _checked(pixels):
    if pixels.dtype != np.uint8:
        raise TypeError(f"an image array must be uint8, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"an image array must have the shape (H, W, 3), not {pixels.shape}")
    return pixels


def _read(image, smallest=None):
    """A path or PIL image as a PIL image in RGB, at its own size or reduced to no fewer than `smallest` pixels a side."""
    try:
        return _to_rgb(image) if isinstance(image, Image.Image) else _opened(image, smallest)
    except FileNotFoundError:
        raise ImageError("there is no such file") from None
    except IsADirectoryError:
        raise ImageError("it is a folder, not an image") from None
    except PermissionError:
        raise ImageError("the file may not be read") from None
    except Image.DecompressionBombError:
        raise ImageError(f"it has more than {MAX_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise ImageError("it is not an image, or of an unknown format") from None
    except ImageError:
        raise
    except Exception as error:  # decoders of some twenty formats raise whatever their parsing runs into
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"it cannot be decoded: {reason}") from None


def _opened(path, smallest):
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ImageError("it is a pipe or a device, not an image")  # which to open could take for ever
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
                opened.draft(None, (smallest, smallest))
            return _to_rgb(opened)


def _to_rgb(image):
    if getattr(image, "is_animated", False):
        image.seek(0)
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # asked first: `exif_transpose` copies in any case
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ImageError("floating point pixels, whose range nobody can tell")
    if image.mode.startswith("I"):
        # `convert` clips 16-bit grey to white. Mode "I" is what older files of 16 bits come as; more bits have no range.
        grey = np.asarray(image)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise ImageError("pixels of more than 16 bits, whose range nobody can tell")
        image = Image.fromarray(np.rint(grey / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def images_below(folder):
    """The image files below a folder, by suffix, in the order of their paths; linked folders are not entered.

    Yields:
        (path, None), or (path, reason) for a folder that cannot be read.
    """
    for path, reason in files_below(folder):
        if reason or os.path.splitext(path)[1].lower() in SUFFIXES:
            yield Path(path), reason


def files_below(folder):
    """All files below a folder, as `images_below` gives its own, but as text."""
    try:
        with os.scandir(folder) as found:
            # Names alone, not entries: a folder may hold a million.
            names = [f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found]
    except OSError as error:
        yield folder, f"the folder cannot be read ({error.strerror})"
        return
    for name in sorted(names, key=lambda name: name.removesuffix("/")):
        path = os.path.join(folder, name.removesuffix("/"))
        if name.endswith("/"):
            yield from files_below(path)
        elif os.path.isfile(path):  # and no link that goes in circles
            yield path, None


def list_images(folder):
    """The list of `images_below`; see `iqa.images.finding` for more than a folder.

    Raises:
        ImageError: if a folder cannot be read.
    """
    found = list(images_below(folder))
    for path, reason in found:
        if reason:
            raise ImageError(f"{path}: {reason}")
    return [path for path, _ in found]


def sample_photograph():
    """The path of the photograph that matplotlib ships (Grace Hopper, 1984, 512x600, public domain)."""
    from matplotlib.cbook import get_sample_data

    return Path(get_sample_data("grace_hopper.jpg", asfileobj=False))


# --- geometries: (H, W, 3) uint8 -> (size, size, 3) uint8 -----------------------------------------------------------


def patch(image, top, left, size):
    """The square patch at a place.

    Raises:
        ImageError: if the image is smaller than the patch.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ImageError(f"{width}x{height} pixels are fewer than the {size}x{size} that this model needs")
    return image[top : top + size, left : left + size]


def centre_patch(image, size, multiple=1):
    """The patch in the middle, or the nearest one up and left that keeps to blocks; see `random_patches` and `patch`."""
    top, left = (max(0, length - size) // 2 // multiple * multiple for length in image.shape[:2])
    return patch(image, top, left, size)


def left_top_patch(image, size):
    """The patch in the upper left corner; see `patch`."""
    return patch(image, 0, 0, size)


def random_patch(image, size, rng, multiple=1):
    """A patch from anywhere, and mirrored or not, both with equal chance; see `random_patches` and `patch`."""
    return random_patches([image], size, rng, multiple)[0]


def random_patches(images, size, rng, multiple=1):
    """The same random patch, mirrored or not, of several images of one size (the levels of one scene).

    Its top and left are multiples of `multiple`: with 16, it keeps to the blocks in which JPEG coded the image.
    """
    height, width = images[0].shape[:2]
    top, left = (multiple * int(rng.integers(max(0, length - size) // multiple + 1)) for length in (height, width))
    step = -1 if rng.random() < 0.5 else 1
    return [patch(image, top, left, size)[:, ::step] for image in images]


def grid_patches(image, size, multiple=1):
    """The fewest patches on a regular grid that cover the whole image: (N, size, size, 3); see `patch`.

    If they keep to blocks, as in `random_patches`, fewer than `multiple` rows and columns at the edges remain uncovered.
    """
    corners = [_grid(length // multiple, size // multiple) * multiple for length in image.shape[:2]]
    return np.stack([patch(image, top, left, size) for top in corners[0] for left in corners[1]])


def _grid(length, size):
    return np.rint(np.linspace(0, max(0, length - size), max(1, -(-length // size)))).astype(int)


#: A JPEG that is made smaller by decoding less of it keeps so many times the pixels a side that are wanted in the end. At
#: 6 the scores of 72 pictures of 14 to 25 megapixels moved by 0.007 at most, at 4 by 0.013, at 2 by 0.047.
REDUCED = 6

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,  # what Keras 2 did in `load_img(target_size=...)`
    "bilinear": Image.Resampling.BILINEAR,  # Pillow's averages over all pixels when it makes a picture smaller
}


def resize(image, size, interpolation="bilinear"):
    """The whole image squeezed to `size` x `size`, whatever its proportions."""
    return np.asarray(Image.fromarray(image).resize((size, size), INTERPOLATIONS[interpolation]))


def views(image):
    """Six views that mean the same to people: a picture and its mirror image, whole and with 1 or 3 rows and columns less.

    Returns:
        A list of uint8 arrays (H, W, 3).
    """
    shortened = [image[less:, less:] for less in (0, 1, 3) if less < min(image.shape[:2])]
    return [side for view in shortened for side in (view, view[:, ::-1])]


#: `--crop` of the patch models -> function (image, size, multiple) -> patches (N, size, size, 3).
CROPS = {
    "centre": lambda image, size, multiple=1: centre_patch(image, size, multiple)[None],
    "left_top": lambda image, size, multiple=1: left_top_patch(image, size)[None],
    "grid": grid_patches,
}

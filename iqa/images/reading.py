"""Any image file -> RGB uint8 (H, W, 3), `read_image("photo.jpg")`, and when it was taken."""

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, GifImagePlugin, Image, UnidentifiedImageError

from iqa.errors import ImageError
from iqa.files import printable
from iqa.images import containers, raw, tiff
from iqa.images.colour import profile_of_codes, profile_of_info, to_eight_bits, to_srgb, with_alpha

#: What can be read: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3), or grey (H, W).
ImageLike: TypeAlias = str | os.PathLike[str] | Image.Image | bytes | bytearray | memoryview | BinaryIO | NDArray[np.uint8]
#: What is decoded at all, HEIF by pillow-heif. Pillow knows more: EPS, by Ghostscript, and formats little maintained.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "HEIF")
#: A picture with more pixels is refused as a decompression bomb (Pillow's own limit for its error, twice its warning), with
#: transparency, more than 8 bits or as a GIF with half as many; and one with more pixels a side: each row needs memory.
MAX_PIXELS, MAX_SIDE = 2 * 89_478_485, 1_000_000
#: A file of more bytes is refused unread; a smaller one is not mended, which takes its size in memory several times.
MAX_BYTES, MAX_MENDED = 2**30, 2**28

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,  # what Keras 2 did in `load_img(target_size=...)`
    "bilinear": Image.Resampling.BILINEAR,  # Pillow's averages over all pixels when it makes a picture smaller
}
#: The orientation in EXIF -> what turns the picture upright.
_NAMES = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_TURNS: dict[Any, Image.Transpose] = {number: Image.Transpose[name] for number, name in enumerate(_NAMES.split(), start=2)}
#: What is raised in reading -> what is said of it.
_REASONS: dict[type[Exception], str] = {
    FileNotFoundError: "there is no such file",
    IsADirectoryError: "it is a folder, not an image",
    PermissionError: "no permission to read the file",
    Image.DecompressionBombError: f"it has more than {MAX_PIXELS} pixels",
    UnidentifiedImageError: "it is not an image, or of an unknown format",
    MemoryError: "it needs more memory than there is",
}


def read_image(image: ImageLike, notes: list[str] | None = None) -> NDArray[np.uint8]:
    """Read an image as it looks on a white page: upright, in sRGB, transparency on white, 16 bits scaled to 8.

    Of an animated file the first frame is read, of a TIFF the first page that is no preview, of a raw file the preview or
    the developed data (see `iqa.images.raw`), of a PIL image the frame at which it stands. Broken metadata is ignored.

    Args:
        image: a path, a PIL image, which is not changed, the bytes of a file, a binary file, or a uint8 array: (H, W, 3),
            which is returned as it is, or grey (H, W).
        notes: a list to which is added, a line each, what is amiss with an image that was read all the same.

    Returns:
        A uint8 array (H, W, 3), RGB, 0-255.

    Raises an `ImageError` if there is no such file, or its pixels or those of an array cannot be read rightly, and a
    `TypeError` if it is none of these.
    """
    return np.asarray(read_rgb(image, notes=notes))


def read_rgb(
    image: ImageLike, smallest: int | None = None, notes: list[str] | None = None
) -> Image.Image | NDArray[np.uint8]:
    """As `read_image`, but a PIL image unless `image` is an array: to copy a large one takes as long as to decode it.

    If `smallest` pixels a side are enough, a large JPEG is decoded at a half, a quarter or an eighth. The result may be
    `image` itself: do not change it.
    """
    _check_type(image)
    with _refusals():
        if not isinstance(image, np.ndarray):
            return _read(image, smallest, [] if notes is None else notes)
        if image.dtype != np.uint8:
            raise ImageError(f"an image array must be uint8 with values of 0-255, not {image.dtype}")
        if image.ndim == 2 and image.size:
            return np.repeat(image[..., None], 3, axis=-1)
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageError(f"an image array must have the shape (H, W, 3) or (H, W), not {image.shape}")
        return image


def can_be_reduced(image: ImageLike, smallest: int) -> bool:
    """Whether `read_rgb` would decode less of an image than all of it; a path or the bytes of a file."""
    if not isinstance(image, str | os.PathLike | bytes):
        return False
    with contextlib.suppress(Exception), warnings.catch_warnings():  # whoever reads it will say what is wrong
        warnings.simplefilter("ignore")
        with _open_file(image) as file, Image.open(file, formats=("JPEG",)) as opened:
            size = opened.size
            opened.draft(None, (smallest, smallest))
            return opened.size != size
    return False


def in_memory(image: ImageLike) -> ImageLike:
    """An image that can be read more than once: a binary file becomes its bytes; errors as of `read_image`."""
    _check_type(image)
    if isinstance(image, str | os.PathLike | Image.Image | np.ndarray):
        return image
    with _refusals():
        return _bytes_of(image)


def _check_type(image: object) -> None:
    known = (str, os.PathLike, Image.Image, bytes, bytearray, memoryview, np.ndarray)
    if isinstance(image, known) or (hasattr(image, "read") and not isinstance(image, io.TextIOBase)):
        return
    kinds = "a path, a PIL image, the bytes of a file, a binary file or a uint8 array (H, W, 3) or (H, W)"
    raise TypeError(f"an image must be {kinds}, not {type(image).__name__}")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn whatever goes wrong in reading into an `ImageError` of one line."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsing runs into
        said = printable(" ".join(str(error).split())) or type(error).__name__
        known = (reason for kind, reason in _REASONS.items() if isinstance(error, kind))
        raise ImageError(next(known, f"it cannot be decoded: {said}")) from None


def _bytes_of(image: Any) -> bytes:
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if getattr(image, "seekable", lambda: False)():
        image.seek(0)
    content = image.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise ImageError(f"a file that gives {type(content).__name__} when it is read is not a binary file")
    return content


def _open_file(image: Any) -> BinaryIO:
    if not isinstance(image, str | os.PathLike):
        return io.BytesIO(_bytes_of(image))
    mode = Path(image).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ImageError("it is a pipe or a device, not an image")  # opening one could block for ever
    return open(image, "rb")


def _read(image: Any, smallest: int | None, notes: list[str]) -> Image.Image:
    if isinstance(image, Image.Image):
        # Pillow decodes an opened image when it is first used, which two threads must not do at once.
        with image.__dict__.setdefault("_decoded_by_one", threading.Lock()):
            if what := tiff.beyond_pillow(image):
                raise ImageError(f"{what}, which Pillow reads wrongly: give its path instead of a PIL image")
            return _to_rgb(image, notes)
    with _open_file(image) as file, warnings.catch_warnings():
        # Pillow warns of broken metadata, which costs no pixels, and of many pixels; our own check is the error.
        warnings.simplefilter("ignore")
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise ImageError("the file is empty")
        if size > MAX_BYTES:
            raise ImageError(f"{size} bytes are more than {MAX_BYTES}")
        try:
            return _decode(file, smallest, notes)
        except (ImageError, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:
            file.seek(0)
            mended = None if size > MAX_MENDED else _mend(file.read(), error, smallest, notes)
            if mended is None:
                raise
            return mended


def decoders() -> list[str]:
    """Those of `FORMATS` for which there is a decoder."""
    Image.init()
    known = set(Image.OPEN) - {"HEIF"}
    with contextlib.suppress(ImportError):
        import pillow_heif

        if "HEIF" not in Image.OPEN:
            pillow_heif.register_heif_opener()
        known.add("HEIF")
    return [name for name in FORMATS if name in known]


def _decode(file: BinaryIO, smallest: int | None, notes: list[str]) -> Image.Image:
    if raw.is_raw(file):  # before Pillow sees it: many are TIFFs, of which it would read a thumbnail
        return _to_rgb(raw.open_raw(file, MAX_PIXELS, smallest, notes), notes)
    file.seek(0)
    with Image.open(file, formats=decoders()) as opened:
        if opened.format == "TIFF":
            tiff.to_first_picture(opened)
            if what := tiff.beyond_pillow(opened):
                return _to_rgb(tiff.read_tiff(file, what, MAX_PIXELS), notes)
        elif opened.format == "AVIF":
            containers.note_avif(opened, file)
        if smallest:
            _check_size(opened)
            opened.draft(None, (smallest, smallest))  # None keeps the mode
        image = _to_rgb(opened, notes)
        if opened.format in ("JPEG", "MPO"):
            notes += filter(None, [containers.what_is_lost(opened, file)])
        return image


def _mend(content: bytes, error: Exception, smallest: int | None, notes: list[str]) -> Image.Image | None:
    for copy in containers.without_metadata(content):
        with contextlib.suppress(Exception):
            return _decode(io.BytesIO(copy), smallest, notes)
    if "truncated" in str(error) and content.startswith(b"\xff\xd8"):
        ended = content.removesuffix(b"\xff") + b"\xff\xd9"
        if not containers.share_lost(ended):
            notes.append("the file lacks its end, but no pixels")
            return _decode(io.BytesIO(ended), smallest, notes)
    if isinstance(error, UnidentifiedImageError):
        if content[:4] in raw.TIFF:
            return _to_rgb(tiff.read_tiff(io.BytesIO(content), "this TIFF", MAX_PIXELS), notes)
        if brand := containers.brand_of(content):
            if brand == b"heic" and "HEIF" not in decoders():
                raise ImageError("HEIC needs pillow-heif: pip install pillow-heif")
            return _decode(io.BytesIO(content[:8] + brand + content[12:]), smallest, notes)
    return None


def _check_size(image: Image.Image) -> None:
    pixels, most, kind = image.width * image.height, MAX_PIXELS, ""
    if image.has_transparency_data or image.mode.startswith(("I", "F")) or image.format == "GIF":
        # They are held twice, with what they are laid on, or with more than 8 bits and with 8.
        most, kind = MAX_PIXELS // 2, " of a GIF, or with transparency or more than 8 bits,"
    if pixels > most:
        raise ImageError(f"{image.width}x{image.height} pixels{kind} are more than {most}")
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"{image.width}x{image.height} pixels are more than {MAX_SIDE} a side")


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    _check_size(image)
    codes = containers.colour_codes(image)
    profile = profile_of_codes(*codes, notes.append) if codes else None
    if profile is None:
        profile = image.info.get("icc_profile") or profile_of_info(image.info)
    key = containers.transparent_colour(image)
    image.load()
    image = _on_canvas(_upright(image))
    if image.info.get("transparency") != key:
        image = image.copy()
        image.info["transparency"] = key
    if image.mode == "F":
        raise ImageError("floating point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        image = to_eight_bits(image)
    image = to_srgb(image, profile, notes.append)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), with_alpha(image))
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # broken EXIF
        turn = None
    return image if turn is None else image.transpose(turn)


def _on_canvas(image: Image.Image) -> Image.Image:
    """The first frame of a GIF on white, if it does not fill the canvas; Pillow shows colour 0 of the palette there."""
    if not isinstance(image, GifImagePlugin.GifImageFile) or image.tell() or image.has_transparency_data:
        return image
    extent = image.dispose_extent
    if not extent or (extent[:2] == (0, 0) and extent[2] >= image.width and extent[3] >= image.height):
        return image
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image.crop(extent).convert("RGB"), extent)
    return canvas


_TIMES = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.SubsecTimeDigitized),
)


def read_time(path: str | os.PathLike[str]) -> datetime | None:
    """The local time in the EXIF of a file, with a fraction of a second if there is one; None for none or a broken file."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # decoders raise whatever their parsing runs into
        warnings.simplefilter("ignore")  # Pillow's, of broken metadata and many pixels
        with contextlib.suppress(OSError), Image.open(path, formats=decoders()) as opened:
            exif = opened.getexif()
            tags = exif.get_ifd(ExifTags.IFD.Exif)
            times = [_parse_time(tags.get(time), tags.get(fraction)) for time, fraction in _TIMES]
            return next(filter(None, times), None) or _parse_time(exif.get(ExifTags.Base.DateTime), None)
        with open(path, "rb") as file:
            return raw.read_time(file) if raw.is_raw(file) else None
    return None


def _parse_time(time: object, fraction: object) -> datetime | None:
    try:
        found = datetime.strptime(str(time).strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = str(fraction or "").strip("\0 ")
    return found.replace(microsecond=int(digits[:6].ljust(6, "0"))) if digits.isascii() and digits.isdigit() else found


class Picture:
    """An image (see `read_image`), decoded when it is first looked at and then kept; TypeError if it is none.

    `once` says that somebody needs all pixels anyway, so that `reduced` is made of them. Otherwise a large JPEG is decoded
    in part, which takes half the time and moves beauty by 0.001-0.008: so `infer` of its path differs from `score_many`.
    """

    def __init__(self, image: ImageLike, once: bool = False) -> None:
        self._image, self._once = in_memory(image), once
        self._whole: Image.Image | NDArray[np.uint8] | None = None
        self._notes: list[str] = []
        self._averaged: dict[int, Image.Image] = {}
        #: What models said of it, which some share.
        self.answers: dict[Any, Any] = {}

    def whole(self, notes: list[str]) -> Image.Image | NDArray[np.uint8]:
        """All of its pixels, RGB; see `iqa.images.reading.read_rgb`."""
        if self._whole is None:
            self._notes = []
            self._whole = read_rgb(self._image, notes=self._notes)
        notes += self._notes
        return self._whole

    def reduced(self, smallest: int, notes: list[str]) -> Image.Image | NDArray[np.uint8]:
        """The image in RGB, with at least `smallest` pixels a side if it has so many, made smaller if that is quicker.

        It depends on `once` and not on what was asked before.
        """
        if not self._once and can_be_reduced(self._image, smallest):
            return read_rgb(self._image, smallest, notes)
        whole = self.whole(notes)
        factor = min(whole.size if isinstance(whole, Image.Image) else whole.shape[:2]) // smallest
        return self.averaged(factor) if factor > 1 else whole

    def averaged(self, factor: int) -> Image.Image:
        """The image `factor` times smaller, each pixel the mean of all that fall on it; a quarter is made of the half."""
        if factor not in self._averaged:
            smaller = self.averaged(2).reduce(2) if factor == 4 else as_image(self.whole([])).reduce(factor)
            self._averaged[factor] = smaller
        return self._averaged[factor]


def as_image(pixels: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """Pixels (H, W, 3) as a PIL image."""
    return pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)

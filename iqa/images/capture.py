"""When a picture was taken, as its camera noted it."""

import contextlib
import os
import warnings
from datetime import datetime

from PIL import ExifTags, Image

from iqa.images import raw
from iqa.images.reading import decoders

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
            times = [_parse(tags.get(time), tags.get(fraction)) for time, fraction in _TIMES]
            return next(filter(None, times), None) or _parse(exif.get(ExifTags.Base.DateTime), None)
        with open(path, "rb") as file:
            return raw.read_time(file) if raw.is_raw(file) else None
    return None


def _parse(time: object, fraction: object) -> datetime | None:
    try:
        found = datetime.strptime(str(time).strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = str(fraction or "").strip("\0 ")
    return found.replace(microsecond=int(digits[:6].ljust(6, "0"))) if digits.isascii() and digits.isdigit() else found

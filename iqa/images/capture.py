"""When a picture was taken, as its camera noted it."""

import contextlib
import os
import warnings
from datetime import datetime

from PIL import ExifTags, Image

from iqa.images import raw

_TIMES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)
_FRACTIONS = (ExifTags.Base.SubsecTimeOriginal, ExifTags.Base.SubsecTimeDigitized)


def read_time(path: str | os.PathLike[str]) -> datetime | None:
    """The local time in the EXIF of a file, to a fraction of a second if the camera noted one; None where there is none.

    Only the head of the file is read. A file that is broken has no time: whoever decodes it says what is wrong.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of broken metadata and many pixels
        try:
            with Image.open(path) as opened:
                return _time_in(opened.getexif())
        except Exception:  # decoders raise whatever their parsing runs into
            return _time_of_raw(path)


def _time_in(exif: Image.Exif) -> datetime | None:
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    for time, fraction in zip(_TIMES, _FRACTIONS, strict=True):
        if found := _parse(tags.get(time), tags.get(fraction)):
            return found
    return _parse(exif.get(ExifTags.Base.DateTime), None)


def _time_of_raw(path: str | os.PathLike[str]) -> datetime | None:
    """Of a raw file that Pillow cannot open: as its tags say if it is a TIFF, or as LibRaw says, to the second."""
    with contextlib.suppress(Exception):
        if not raw.is_raw(path):
            return None
        with contextlib.suppress(Exception), open(path, "rb") as file:  # LibRaw takes many times longer
            exif = Image.Exif()
            exif.load_from_fp(file)
            if found := _time_in(exif):
                return found
        return raw.read_time(path)
    return None


def _parse(time: object, fraction: object) -> datetime | None:
    """
    >>> _parse("2024:05:01 10:20:30", "25")
    datetime.datetime(2024, 5, 1, 10, 20, 30, 250000)
    """
    try:
        found = datetime.strptime(str(time).strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = str(fraction or "").strip("\0 ")
    return found.replace(microsecond=int(digits[:6].ljust(6, "0"))) if digits.isascii() and digits.isdigit() else found

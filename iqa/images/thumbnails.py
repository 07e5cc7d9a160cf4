"""Small pictures for a page, as WebP: `thumbnail` of a file, `Thumbnails` of pictures that were decoded to be scored."""

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.errors import ImageError
from iqa.files import printable, written_whole
from iqa.images.geometry import shrink
from iqa.images.reading import as_image, read_rgb


def thumbnail(image: str | os.PathLike[str] | Image.Image, side: int) -> NDArray[np.uint8]:
    """The bytes, uint8 (n,), of a WebP whose longer side has at most `side` pixels; errors as of `read_image`."""
    return _encode(read_rgb(image, 2 * side), side)


def _encode(picture: Image.Image | NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    try:
        as_image(shrink(picture, side)).save(file, "WEBP", quality=50, method=2)
    except Exception as error:  # Pillow can be built without WebP
        raise ImageError(f"no thumbnail can be made: {printable(str(error))}") from None
    return np.frombuffer(file.getvalue(), np.uint8)


class Thumbnails:
    """The thumbnails of a run, in a folder: whoever decodes a picture to score it keeps one for the page.

    Args:
        folder: where they lie; it exists already.
        side: pixels of the longer side.
        most: how many this process keeps; further ones are left out.
    """

    def __init__(self, folder: str | os.PathLike[str], side: int, most: int) -> None:
        self._folder, self._side, self._most, self._count = Path(folder), side, most, 0

    @property
    def recipe(self) -> dict[str, Any]:
        """The arguments, as JSON holds them, for another process."""
        return {"folder": str(self._folder), "side": self._side, "most": self._most}

    def keep(self, path: str | os.PathLike[str], picture: Image.Image | NDArray[np.uint8]) -> None:
        """Keep the thumbnail of a picture, RGB, instead of an older one; where that fails, there is none."""
        with contextlib.suppress(OSError, ImageError, MemoryError):
            place = self._place_of(path)
            place.unlink(missing_ok=True)
            if self._count < self._most and self._folder.is_dir():
                with written_whole(place) as file:
                    file.write(_encode(picture, self._side).tobytes())
                self._count += 1

    def find(self, path: str | os.PathLike[str]) -> NDArray[np.uint8] | None:
        """The thumbnail of a picture as `thumbnail` returns it, or None if there is none."""
        with contextlib.suppress(OSError):
            return np.frombuffer(self._place_of(path).read_bytes(), np.uint8)
        return None

    def _place_of(self, path: str | os.PathLike[str]) -> Path:
        return self._folder / hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()

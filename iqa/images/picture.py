"""A picture that several networks look at, decoded as seldom as possible.

picture = Picture("photo.jpg")
patches, small = technical.patches(picture), beauty.patches(picture)        # of two `Geometry`
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.images.reading import ImageLike, can_be_reduced, in_memory, read_rgb


class Picture:
    """An image, decoded when it is first looked at and then kept.

    Args:
        image: see `iqa.images.reading.read_image`.

    Raises:
        TypeError: if it is no image.
    """

    def __init__(self, image: ImageLike) -> None:
        self._image = in_memory(image)
        self._whole: Image.Image | NDArray[np.uint8] | None = None
        self._notes: list[str] = []

    def whole(self, notes: list[str]) -> Image.Image | NDArray[np.uint8]:
        """All of its pixels, RGB; see `iqa.images.reading.read_rgb`."""
        if self._whole is None:
            self._notes = []
            self._whole = read_rgb(self._image, notes=self._notes)
        notes += self._notes
        return self._whole

    def reduced(self, smallest: int, notes: list[str]) -> Image.Image | NDArray[np.uint8]:
        """The image in RGB, with at least `smallest` pixels a side if it has so many, made smaller if that is quicker.

        What comes out does not depend on what was asked before.
        """
        if can_be_reduced(self._image, smallest):
            return read_rgb(self._image, smallest, notes)
        return self.whole(notes)

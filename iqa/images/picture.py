"""A picture that several networks look at (`Geometry.patches`), decoded as seldom as possible."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.images.reading import ImageLike, can_be_reduced, in_memory, read_rgb


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

"""What a network sees of a picture: the only place that says it, for scoring, for validation in training and for pages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, Sight
from iqa.images.reading import CROPS, read_image, read_resized, resize, views


@dataclass(frozen=True)
class Geometry:
    """How pictures are cut or resized for a network.

    Attributes:
        sight: what the card says.
        crop: where a model of patches looks, a key of `CROPS`; None for a model of whole pictures.
        mean_opinion: see a whole picture in the six views of `views`.
    """

    sight: Sight
    crop: str | None = None
    mean_opinion: bool = False

    @classmethod
    def of(cls, card: Card, crop: str = "centre", mean_opinion: bool = False) -> "Geometry":
        """The geometry of a card; `crop` says nothing to a model of whole pictures, which has no choice."""
        return cls(card.geometry, crop if card.geometry.kind == "patch" else None, mean_opinion)

    @property
    def size(self) -> int:
        """Pixels in a side of what the network sees."""
        return self.sight.size

    @property
    def smallest(self) -> int:
        """Pixels that the shorter side of a picture must have."""
        return self.size if self.crop else 1

    def __str__(self) -> str:
        if self.crop:
            blocks = f" on blocks of {self.sight.multiple}" if self.sight.multiple > 1 else ""
            return f"{self.crop} patch of {self.size}x{self.size}{blocks}"
        views = ", mean opinion" if self.mean_opinion else ""
        return f"whole image, {self.sight.interpolation}, to {self.size}x{self.size}{views}"

    def patches(self, image) -> NDArray[np.uint8]:
        """What the network sees of an image, uint8 (N, size, size, 3); see `read_image` for what an image is.

        Raises:
            ImageError: if the image cannot be read or is too small.
        """
        if self.crop:
            return CROPS[self.crop](read_image(image), self.size, self.sight.multiple)
        if self.mean_opinion:
            return np.stack([resize(view, self.size, self.sight.interpolation) for view in views(read_image(image))])
        return read_resized(image, self.size, self.sight.interpolation)[None]

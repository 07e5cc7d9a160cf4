"""What a network sees of a picture: the only place that says it, for scoring, for validation in training and for pages.

    geometry = Geometry.of(card)
    patches = geometry.patches("photo.jpg")     # (N, 224, 224, 3) uint8

The functions below `Geometry` cut or resize pixels, (H, W, 3) uint8 -> (size, size, 3) uint8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.cards import Card, Sight
from iqa.errors import ImageError
from iqa.images.reading import INTERPOLATIONS, ImageLike, read_image, read_resized

#: What varies by no more than this, the standard deviation of a channel, is a frame of one colour with a little noise.
FLAT = 3.0


def warn_if_flat(patches: NDArray[np.uint8]) -> str | None:
    """A warning for a picture in which there is nothing to judge, a lens cap or a blank page; None for all others.

    Args:
        patches: what a network sees of it, uint8 (N, size, size, 3).
    """
    some = patches[:, ::8, ::8].reshape(-1, 3)  # quick, and enough for almost all pictures
    if (some.std(axis=0) <= FLAT).all() and (patches.reshape(-1, 3).std(axis=0) <= FLAT).all():
        return "nearly one flat colour: the score says little"
    return None


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
        """The geometry of a card; `crop` is ignored for a model of whole pictures, which has no choice."""
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

    def patches(self, image: ImageLike, notes: list[str] | None = None) -> NDArray[np.uint8]:
        """What the network sees of an image, uint8 (N, size, size, 3); see `read_image` for what an image is.

        Args:
            notes: a list to which is added, a line each, what is amiss with an image that was read all the same.

        Raises:
            ImageError: if the image cannot be read or is too small.
            TypeError: if it is no image.
        """
        if self.crop:
            return CROPS[self.crop](read_image(image, notes), self.size, self.sight.multiple)
        interpolation = self.sight.interpolation
        assert interpolation, "a card of whole pictures has one"
        if self.mean_opinion:
            return np.stack([resize(view, self.size, interpolation) for view in views(read_image(image, notes))])
        return read_resized(image, self.size, interpolation, notes)[None]


def patch(image: NDArray[Any], top: int, left: int, size: int) -> NDArray[Any]:
    """The square patch at a place.

    Raises:
        ImageError: if the image is smaller than the patch.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ImageError(f"{width}x{height} pixels are fewer than the {size}x{size} that this model needs")
    return image[top : top + size, left : left + size]


def centre_patch(image: NDArray[Any], size: int, multiple: int = 1) -> NDArray[Any]:
    """The patch in the middle, or the nearest one up and left that keeps to blocks; see `random_patches` and `patch`."""
    top, left = (max(0, length - size) // 2 // multiple * multiple for length in image.shape[:2])
    return patch(image, top, left, size)


def left_top_patch(image: NDArray[Any], size: int) -> NDArray[Any]:
    """The patch in the upper left corner; see `patch`."""
    return patch(image, 0, 0, size)


def random_patch(image: NDArray[Any], size: int, rng: np.random.Generator, multiple: int = 1) -> NDArray[Any]:
    """A patch from anywhere, and mirrored or not, both with equal chance; see `random_patches` and `patch`."""
    return random_patches([image], size, rng, multiple)[0]


def random_patches(
    images: Sequence[NDArray[Any]], size: int, rng: np.random.Generator, multiple: int = 1
) -> list[NDArray[Any]]:
    """The same random patch, mirrored or not, of several images of one size (the levels of one scene).

    Its top and left are multiples of `multiple`: with 16, it keeps to the blocks in which JPEG coded the image.
    """
    height, width = images[0].shape[:2]
    top, left = (multiple * int(rng.integers(max(0, length - size) // multiple + 1)) for length in (height, width))
    step = -1 if rng.random() < 0.5 else 1
    return [patch(image, top, left, size)[:, ::step] for image in images]


def grid_patches(image: NDArray[Any], size: int, multiple: int = 1) -> NDArray[Any]:
    """The fewest patches on a regular grid that cover the whole image: (N, size, size, 3); see `patch`.

    If they keep to blocks, as in `random_patches`, fewer than `multiple` rows and columns at the edges remain uncovered.
    """
    rows, columns = (_grid(length // multiple, size // multiple) * multiple for length in image.shape[:2])
    return np.stack([patch(image, int(top), int(left), size) for top in rows for left in columns])


def _grid(length: int, size: int) -> NDArray[np.int_]:
    return np.rint(np.linspace(0, max(0, length - size), max(1, -(-length // size)))).astype(int)


def resize(image: NDArray[np.uint8], size: int, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """The whole image squeezed to `size` x `size`, whatever its proportions; see `read_resized`."""
    return np.asarray(Image.fromarray(image).resize((size, size), INTERPOLATIONS[interpolation]))


def views(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Six views that mean the same to people: a picture and its mirror image, whole and with 1 or 3 rows and columns less.

    Returns:
        uint8 arrays (H, W, 3); fewer than six of pictures of at most 3 pixels a side.
    """
    shortened = [image[less:, less:] for less in (0, 1, 3) if less < min(image.shape[:2])]
    return [side for view in shortened for side in (view, view[:, ::-1])]


def _centre(image: NDArray[np.uint8], size: int, multiple: int = 1) -> NDArray[np.uint8]:
    return centre_patch(image, size, multiple)[None]


def _left_top(image: NDArray[np.uint8], size: int, multiple: int = 1) -> NDArray[np.uint8]:
    return left_top_patch(image, size)[None]


#: `--crop` of the patch models -> function (image, size, multiple) -> patches (N, size, size, 3).
CROPS: dict[str, Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]] = {
    "centre": _centre,
    "left_top": _left_top,
    "grid": grid_patches,
}

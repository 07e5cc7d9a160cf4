"""What a network sees of a picture, for scoring, for validation in training and for pages.

    geometry = Geometry.of(card)
    patches = geometry.patches("photo.jpg")     # (N, 224, 224, 3) uint8
    weights = geometry.weights(patches)         # (N,), how much each of them counts for the score

The functions below `Geometry` cut or resize pixels, (H, W, 3) uint8 -> (size, size, 3) uint8.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.cards import Card, Preprocessing
from iqa.errors import ImageError
from iqa.images.reading import INTERPOLATIONS, ImageLike, Picture, as_image

#: Where a patch begins: (top, left).
Place = tuple[int, int]
#: What varies by no more than this, the standard deviation of a channel, is a frame of one colour with a little noise.
FLAT = 3.0


def warn_if_flat(patches: NDArray[np.uint8]) -> str | None:
    """A warning for a picture, uint8 patches (N, size, size, 3), in which there is nothing to judge; None for others."""
    some = patches[:, ::8, ::8].reshape(-1, 3)  # quick, and enough for almost all pictures
    if (some.std(axis=0) <= FLAT).all() and (patches.reshape(-1, 3).std(axis=0) <= FLAT).all():
        return "nearly one flat colour: the score says little"
    return None


#: A JPEG that is made smaller by decoding less of it keeps so many times the pixels a side that are wanted in the end. At 6
#: the scores of 42 photographs of 12 to 50 megapixels moved by 0.0045 (root mean square; 0.020 at most), at 4 by 0.0079.
REDUCED = 6
#: How much larger a whole picture is than what training sees of it: the original's 256 pixels for 224.
MARGIN = 8 / 7
#: Where a model of patches looks unless it is told otherwise.
CROP = "grid"
#: How many patches a grid has at most, by pooling; to cover 24 megapixels takes 486. By detail they are `richest_places`:
#: scores of large photographs then differ by 0.13 to 0.15 (root mean square), with 24 that are spread evenly by 0.48.
MOST = {"mean": 24, "detail": 10}
#: A picture whose shorter side has fewer pixels is refused. Centres of TID2013's references of 160, 96 and 64 pixels a
#: side, continued by their mirror images to 224, score with an LCC of 0.80, 0.76 and 0.62; those of 224 pixels with 0.84.
TINY = 96
# How much each patch counts. People judge what is in focus; the mean judges the blurred background as well.

#: Deviation, in pixels, of the Gaussian that removes noise and the edges of JPEG's blocks before detail is measured.
SMOOTHED = 1.5
#: The detail of a patch is the steepness that so many per cent of its pixels stay below. By the mean a sharp caption, whose
#: few edges are the steepest, outweighs the blurred photograph that it stands on.
PERCENT = 40
#: Which power of its detail a patch weighs. At 0 all count alike, at infinity only the one with the most detail.
POWER = 2.0
#: How many times smaller a picture is made to find where its detail is.
COARSE = 4


@dataclass(frozen=True)
class Geometry:
    """How pictures are cut or resized for a network, and how much each part counts.

    Attributes:
        crop: where a model of patches looks, a key of `CROPS`; None for a model of whole pictures.
        six_crops: see a whole picture in the six views of `views`.
        longer_side: pixels to which the longer side of a larger picture is shrunk before it is cut; None for none.
    """

    preprocessing: Preprocessing
    crop: str | None = None
    six_crops: bool = False
    longer_side: int | None = None

    @classmethod
    def of(
        cls,
        card: Card,
        crop: str | None = None,
        six_crops: bool = False,
        pooling: str | None = None,
        longer_side: int | None = None,
    ) -> "Geometry":
        """The geometry of a card; `crop`, `pooling` (None for the card's) and `longer_side` are for models of patches."""
        preprocessing = card.preprocessing
        if preprocessing.kind != "patch":
            return cls(preprocessing, None, six_crops)
        return cls(replace(preprocessing, pooling=pooling or preprocessing.pooling), crop or CROP, six_crops, longer_side)

    @property
    def size(self) -> int:
        """Pixels in a side of what the network sees."""
        return self.preprocessing.size

    @property
    def smallest(self) -> int:
        """Pixels that the shorter side of a picture must have in training."""
        return self.size if self.crop else 1

    def __str__(self) -> str:
        if not self.crop:
            views = ", six crops" * self.six_crops + ", flip averaging" * self.preprocessing.flip_averaging
            return f"whole image, {self.preprocessing.interpolation}, to {self.size}x{self.size}{views}"
        multiple, pooling = self.preprocessing.multiple, self.preprocessing.pooling
        blocks = f" on blocks of {multiple}" if multiple > 1 else ""
        several = f"grid of at most {MOST[pooling]} patches" if self.crop == "grid" else f"{self.crop} patch"
        words = [f"{several} of {self.size}x{self.size}{blocks}"]
        if self.crop in ("grid", "cover"):
            words.append("pooled by detail" if pooling == "detail" else f"{pooling} of the patches")
        if self.longer_side:
            words.append(f"longer side {self.longer_side} pixels")
        return ", ".join(words)

    def patches(self, image: ImageLike | Picture, notes: list[str] | None = None) -> NDArray[np.uint8]:
        """What the network sees of an image, uint8 (N, size, size, 3); a small one is continued by its mirror image.

        Args:
            image: see `read_image`; or a `Picture`, which several networks share.
            notes: a list to which is added, a line each, what is amiss with an image that was read all the same.

        Raises an `ImageError` if the image cannot be read or its shorter side has fewer than `TINY` pixels, and a
        `TypeError` if it is no image.
        """
        picture = image if isinstance(image, Picture) else Picture(image)
        notes = [] if notes is None else notes
        if self.crop:
            return self._cut(picture, notes)
        interpolation = self.preprocessing.interpolation
        assert interpolation, "a card of whole pictures has one"
        if self.six_crops:
            return np.stack([resize(view, self.size, interpolation) for view in views(np.asarray(picture.whole(notes)))])
        return read_resized(picture, self.size, interpolation, notes)[None]

    def weights(self, patches: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How much each of the `patches` of an image counts for its score: float64 (N,), whose sum is 1."""
        return POOLINGS[self.preprocessing.pooling](patches)

    def _cut(self, picture: Picture, notes: list[str]) -> NDArray[np.uint8]:
        assert self.crop
        image = whole = picture.whole(notes)
        if self.longer_side:
            image = shrink(image, self.longer_side)
        height, width = _extent(image)
        if min(height, width) < self.size:
            if min(height, width) < TINY:
                least = f"the shorter side must have at least {TINY}"
                raise ImageError(f"{width}x{height} pixels are too few to judge: {least}")
            missing = [(0, max(0, self.size - length)) for length in (height, width)]
            image = np.pad(np.asarray(image), (*missing, (0, 0)), mode="symmetric")
            seen = f"continued by its mirror image to the {self.size}x{self.size} of a patch"
            notes.append(f"{width}x{height} pixels, {seen}")
            height, width = _extent(image)
        if self.crop == "grid" and self.preprocessing.pooling == "detail":
            covering = places_that_cover(height, width, self.size, self.preprocessing.multiple)
            coarse = partial((picture if image is whole else Picture(image)).averaged, COARSE)
            places = richest_places(coarse, covering, self.size, MOST["detail"])
        else:
            places = CROPS[self.crop](height, width, self.size, self.preprocessing.multiple)
        return np.stack([patch(image, top, left, self.size) for top, left in places])


def _extent(image: Image.Image | NDArray[Any]) -> tuple[int, int]:
    """(height, width)"""
    return (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]


def shrink(image: Image.Image | NDArray[np.uint8], longer: int) -> Image.Image | NDArray[np.uint8]:
    """An image as it looks when its longer side has so many pixels; one that has no more is returned as it is."""
    height, width = _extent(image)
    share = longer / max(height, width)
    if share >= 1:
        return image
    size = max(1, round(width * share)), max(1, round(height * share))
    return as_image(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def patch(image: Image.Image | NDArray[Any], top: int, left: int, size: int) -> NDArray[Any]:
    """The square patch at a place; ImageError if the image is smaller."""
    height, width = _extent(image)
    if min(height, width) < size:
        raise ImageError(f"{width}x{height} pixels are fewer than the {size}x{size} that this model needs")
    if isinstance(image, Image.Image):
        return np.asarray(image.crop((left, top, left + size, top + size)))
    return image[top : top + size, left : left + size]


def random_patch(image: NDArray[Any], size: int, rng: np.random.Generator, multiple: int = 1) -> NDArray[Any]:
    """A patch from anywhere, mirrored or not; its place is a multiple of `multiple`: with 16, of the blocks of a JPEG."""
    height, width = image.shape[:2]
    top, left = (multiple * int(rng.integers(max(0, length - size) // multiple + 1)) for length in (height, width))
    step = -1 if rng.random() < 0.5 else 1
    return patch(image, top, left, size)[:, ::step]


def place_in_centre(height: int, width: int, size: int, multiple: int = 1) -> list[Place]:
    """The place of the patch in the middle, or the nearest one up and left that keeps to blocks."""
    top, left = (max(0, length - size) // 2 // multiple * multiple for length in (height, width))
    return [(top, left)]


def places_that_cover(height: int, width: int, size: int, multiple: int = 1) -> list[Place]:
    """The fewest places on a regular grid whose patches cover the whole image, but for what blocks leave at the edges."""
    size = size // multiple
    rows, columns = (
        np.rint(np.linspace(0, max(0, length - size), max(1, -(-length // size)))).astype(int) * multiple
        for length in (height // multiple, width // multiple)
    )
    return [(int(top), int(left)) for top in rows for left in columns]


def places_on_grid(height: int, width: int, size: int, multiple: int = 1) -> list[Place]:
    """`places_that_cover` the image; of more than `MOST["mean"]`, the middles of that many cells of its proportions."""
    covering, limit = places_that_cover(height, width, size, multiple), MOST["mean"]
    if len(covering) <= limit:
        return covering
    most = [len(set(starts)) for starts in zip(*covering, strict=True)]
    shapes = [(rows, min(most[1], limit // rows)) for rows in range(1, min(most[0], limit) + 1)]
    # As many as there may be, and of these the grid that is as dense down as across.
    rows, columns = max(shapes, key=lambda n: (n[0] * n[1], -abs(math.log(height / n[0] * n[1] / width))))
    spread = []
    for length, count in ((height, rows), (width, columns)):
        begin = (np.arange(count) + 0.5) * length / count - size / 2
        highest = (length - size) // multiple * multiple
        spread.append([int(np.clip(multiple * round(place / multiple), 0, highest)) for place in begin])
    return [(top, left) for top in spread[0] for left in spread[1]]


def read_resized(
    image: ImageLike | Picture, size: int, interpolation: str = "bilinear", notes: list[str] | None = None
) -> NDArray[np.uint8]:
    """The whole image squeezed to `size` x `size`, whatever its proportions, uint8 (size, size, 3); see `read_image`.

    A large one that is averaged is first made smaller, to at least `REDUCED` times `size` pixels a side (see `Picture`).
    With "nearest" (see `INTERPOLATIONS`) it is not: the pixels of a reduced picture would be others.
    """
    picture = image if isinstance(image, Picture) else Picture(image)
    notes = [] if notes is None else notes
    found = picture.reduced(REDUCED * size, notes) if interpolation == "bilinear" else picture.whole(notes)
    return resize(found, size, interpolation)


def resize(image: Image.Image | NDArray[np.uint8], size: int, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """The whole image squeezed to `size` x `size`, whatever its proportions; see `read_resized`."""
    return np.asarray(as_image(image).resize((size, size), INTERPOLATIONS[interpolation]))


def views(image: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Six views (H, W, 3): a picture and its mirror image, whole and with 1 or 3 rows and columns less if it has more."""
    shortened = [image[less:, less:] for less in (0, 1, 3) if less < min(image.shape[:2])]
    return [side for view in shortened for side in (view, view[:, ::-1])]


#: `--crop` of the patch models -> function: (height, width, size, multiple) -> where patches of this size begin.
CROPS: dict[str, Callable[[int, int, int, int], list[Place]]] = {
    "centre": place_in_centre,
    "left_top": lambda height, width, size, multiple: [(0, 0)],
    "grid": places_on_grid,
    "cover": places_that_cover,
}


def mean_weights(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same weight for each patch: float64 (N,), whose sum is 1."""
    return np.full(len(patches), 1 / len(patches))


def detail_weights(patches: NDArray[np.uint8], power: float = POWER) -> NDArray[np.float64]:
    """A weight for each patch, uint8 (N, size, size, 3), that grows with its detail: float64 (N,), whose sum is 1."""
    if len(patches) == 1:
        return np.ones(1)
    found = np.array([detail(patch) for patch in patches])
    if not found.max() > 0:
        return mean_weights(patches)
    weights = (found / found.max()) ** power
    return weights / weights.sum()


def detail(patch: NDArray[np.uint8]) -> float:
    """The steepness that most of a patch, uint8 (H, W, 3), reaches, of its smoothed luma, in levels of 255 a pixel."""
    from scipy.ndimage import gaussian_filter  # here, since it doubles the time that a process takes to start

    luma = np.asarray(Image.fromarray(patch).convert("L"), np.float32)
    return float(np.percentile(_steepness(gaussian_filter(luma, SMOOTHED)), PERCENT))


def richest_places(
    coarse: Callable[[], Image.Image], places: Sequence[tuple[int, int]], size: int, most: int
) -> list[tuple[int, int]]:
    """Those of the places (top, left) whose patches have the most detail, at most `most`, in their order.

    The detail is estimated on the image made smaller, in a tenth of the time of `detail`.

    Args:
        coarse: gives the RGB image made `COARSE` times smaller; asked only if there are more places than `most`.
        size: pixels in a side of a patch.
    """
    if len(places) <= most:
        return list(places)
    steepness, side = _steepness(np.asarray(coarse().convert("L"), np.float32)), size // COARSE
    corners = [(top // COARSE, left // COARSE) for top, left in places]
    found = np.percentile(
        [steepness[top : top + side : 2, left : left + side : 2] for top, left in corners], PERCENT, (1, 2)
    )
    return [places[number] for number in sorted(np.argsort(-found, kind="stable")[:most])]


def _steepness(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    down, right = np.gradient(luma)
    down *= down  # in place: a large picture has millions of pixels here
    right *= right
    down += right
    steepness: NDArray[np.float32] = np.sqrt(down)
    return steepness


#: `pooling` of a card -> function: patches of one picture, uint8 (N, size, size, 3) -> their weights, float64 (N,).
POOLINGS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]] = {"mean": mean_weights, "detail": detail_weights}


def draw_probe(size: int) -> NDArray[np.uint8]:
    """What a compiled network is compared with Keras on: waves that grow finer, edges and grain, different in each channel.

    uint8 (size, size, 3), the same on every machine.

    >>> int(draw_probe(224).astype(int).sum())
    19208776
    """
    down, right, channel = np.ogrid[:size, :size, :3]
    waves = (right * right * (channel + 2) + down * down * (4 - channel) + right * down) // (2 * size) % 256
    waves = np.minimum(waves, 255 - waves)  # 0-127, without the edge where they begin anew
    edges = 64 * ((right // 28 + down // 42 + channel) % 2)
    grain = (right * 7919 + down * 104_729 + channel * 1_299_709) % 8191 % 33
    return (waves + edges + grain + 16).astype(np.uint8)

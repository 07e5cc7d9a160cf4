"""How much each patch of a picture counts for its score.

    weights = POOLINGS["detail"](patches)       # uint8 (N, size, size, 3) -> float64 (N,), whose sum is 1
    score = weights @ scores

People judge what is in focus; the mean over all patches judges the blurred background as well.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Deviation, in pixels, of the Gaussian that removes noise and the edges of JPEG's blocks before detail is measured.
SMOOTHED = 1.5
#: The detail of a patch is the steepness that so many per cent of its pixels stay below. By the mean a sharp caption, whose
#: few edges are the steepest, outweighs the blurred photograph that it stands on.
PERCENT = 40
#: Which power of its detail a patch weighs. At 0 all count alike, at infinity only the one with the most detail.
POWER = 2.0
#: How many times smaller a picture is made to find where its detail is.
COARSE = 4


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
POOLINGS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]] = {
    "mean": mean_weights,
    "detail": detail_weights,
}

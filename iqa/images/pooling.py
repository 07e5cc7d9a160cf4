"""How much each patch of a picture counts for its score.

    weights = POOLINGS["detail"](patches)       # uint8 (N, size, size, 3) -> float64 (N,), whose sum is 1
    score = weights @ scores

People judge what is in focus. The mean over all patches judges the blurred background as well.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

#: Deviation, in pixels, of the Gaussian that removes noise and the edges of JPEG's blocks before detail is measured.
SMOOTHED = 1.5

#: Which power of its detail a patch weighs. At 0 all count alike, at infinity only the one with the most detail.
POWER = 4.0


def mean_weights(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same weight for each patch: float64 (N,), whose sum is 1."""
    return np.full(len(patches), 1 / len(patches))


def detail_weights(patches: NDArray[np.uint8], power: float = POWER) -> NDArray[np.float64]:
    """A weight for each patch that grows with its detail; patches without any detail count alike.

    Args:
        patches: of one picture, uint8 (N, size, size, 3).
        power: of `detail`.

    Returns:
        float64 (N,), whose sum is 1.
    """
    if len(patches) == 1:
        return np.ones(1)
    found = np.array([detail(patch) for patch in patches])
    if not found.max() > 0:
        return mean_weights(patches)
    weights = (found / found.max()) ** power
    return weights / weights.sum()


def detail(patch: NDArray[np.uint8]) -> float:
    """The mean steepness of the smoothed luma of a patch, uint8 (H, W, 3), in levels of 255 a pixel."""
    luma = np.asarray(Image.fromarray(patch).convert("L"), np.float32)
    down, right = np.gradient(gaussian_filter(luma, SMOOTHED))
    return float(np.hypot(down, right).mean())


#: `pooling` of a card -> function: patches of one picture, uint8 (N, size, size, 3) -> their weights, float64 (N,).
POOLINGS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]] = {
    "mean": mean_weights,
    "detail": detail_weights,
}

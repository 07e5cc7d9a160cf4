"""What the distortions share: colour spaces, PSNR, the block transform, a search for a strength."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray

#: A picture, uint8 RGB (H, W, 3), and planes of floating point numbers, (H, W, C).
Pixels: TypeAlias = NDArray[np.uint8]
Planes: TypeAlias = NDArray[np.float64]

#: The share of red, green and blue in the luma.
LUMA = np.array([0.299, 0.587, 0.114])

# ITU-R BT.601, full range, without the offset of 128 on the chroma.
RGB_TO_YCC = np.array([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
YCC_TO_RGB = np.linalg.inv(RGB_TO_YCC)

#: Pixels in a side of a block, as in JPEG.
BLOCK = 8


def to_uint8(image: NDArray[Any]) -> Pixels:
    """Round to the nearest grey level and clip to 0-255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def to_ycc(image: NDArray[Any]) -> Planes:
    """RGB 0-255 (H, W, 3) -> float luma 0-255 and chroma -128..128, in one (H, W, 3) array."""
    return image @ RGB_TO_YCC.T


def to_rgb(ycc: Planes) -> Pixels:
    """The inverse of `to_ycc`, rounded and clipped to uint8."""
    return to_uint8(ycc @ YCC_TO_RGB.T)


def psnr_rgb(reference: Pixels, image: Pixels) -> float:
    """Peak signal-to-noise ratio over all samples of uint8 RGB arrays, in decibels; `inf` for equal ones."""
    error = mean_squared_error(reference, image)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def mean_squared_error(reference: Pixels, image: Pixels) -> float:
    """The mean over all samples of the squared difference of two uint8 arrays of one shape."""
    return float(np.mean((reference.astype(np.float32) - image) ** 2, dtype=np.float64))


def block_dct(planes: Planes) -> Planes:
    """(H, W, C) -> orthonormal DCT of its 8x8 blocks, (H/8, 8, W/8, 8, C), the edges repeated to whole blocks."""
    height, width, channels = planes.shape
    padded = np.pad(planes, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK, channels)
    return scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")


def inverse_block_dct(coefficients: Planes, shape: tuple[int, ...]) -> Planes:
    """The inverse of `block_dct`, cut to `shape`."""
    blocks = scipy.fft.idctn(coefficients, axes=(1, 3), norm="ortho")
    rows, _, columns, _, channels = blocks.shape
    return blocks.reshape(rows * BLOCK, columns * BLOCK, channels)[: shape[0], : shape[1]]


def dct_denoise(image: Planes, threshold: float) -> Planes:
    """Sliding-window DCT denoising: hard threshold in 8x8 blocks, averaged over four positions of the grid."""
    total = np.zeros(image.shape)
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
        shifted = np.pad(image, ((top, 0), (left, 0), (0, 0)), mode="reflect")
        coefficients = block_dct(shifted)
        coefficients[np.abs(coefficients) < threshold] = 0
        total += inverse_block_dct(coefficients, shifted.shape)[top:, left:]
    return total / 4


def scale_to_rms(noise: Planes, rms: float) -> Planes:
    """Noise multiplied so that its root mean square is `rms`."""
    return noise * (rms / np.sqrt(np.mean(noise**2)))


def distort_to_psnr(
    image: Pixels,
    distort: Callable[[float], Pixels],
    psnr: float,
    weak: float,
    strong: float,
    steps: int = 10,
    near: float = 0.05,
) -> Pixels:
    """What `distort` makes of an image at the strength that comes nearest to a PSNR over RGB.

    A greater strength must not raise the PSNR. Up to `steps` strengths between `weak` and `strong` are tried, by halving
    and interpolating their logarithm, until one is as `near` as so many dB.
    """
    best, off = image, np.inf
    low, high = float(np.log(weak)), float(np.log(strong))
    psnr_low, psnr_high = np.inf, -np.inf  # of what has been tried at the ends of the range
    for step in range(steps):
        middle = (low + high) / 2
        if np.isfinite(psnr_low - psnr_high) and step % 3:  # every third step halves the range, or one end would stay
            middle = float(np.interp(psnr, [psnr_high, psnr_low], [high, low]))
        candidate = distort(float(np.exp(middle)))
        found = psnr_rgb(image, candidate)
        if abs(found - psnr) < off:
            best, off = candidate, abs(found - psnr)
        if off < near:
            break
        if found > psnr:
            low, psnr_low = middle, found
        else:
            high, psnr_high = middle, found
    return best

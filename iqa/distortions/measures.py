"""Full-reference measures of a distorted image, as the published table of TID2013's images has them.

    measure(reference, image)  # {"mse": ..., "snr": ..., "wsnr": ..., "ssim": ..., "vif": ..., "gmsd": ...}

The table (github.com/lucia15/Image-Quality-Assessment) has definitions of its own, and only the same ones can be compared
with it: SSIM smooths across the three channels too, VIF takes scales 2-4 of planes of which red and blue are left,
and WSNR weighs the channels in another order. Six real images come out with its numbers to the fifth decimal.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from iqa.distortions.signal import Pixels, Planes, mean_squared_error

#: What `measure` measures.
MEASURES = ("mse", "snr", "wsnr", "ssim", "vif", "gmsd")

# The two constants of SSIM (Wang et al. 2004) and that of GMSD (Xue et al. 2014).
SSIM_C1, SSIM_C2, GMSD_C = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 170


def measure(reference: Pixels, image: Pixels) -> dict[str, float]:
    """All of `MEASURES`, of uint8 RGB arrays (H, W, 3) of one shape with even sides that differ.

    Returns:
        Mean squared error over RGB; signal-to-noise ratio and that weighted by contrast sensitivity, in dB; SSIM; VIF in
        the pixel domain; deviation of the similarity of gradients.
    """
    error = mean_squared_error(reference, image)
    before, after = reference.astype(np.float64), image.astype(np.float64)
    return {
        "mse": error,
        "snr": float(10 * np.log10(np.mean(before**2) / error)),
        "wsnr": weighted_snr(before, after),
        "ssim": ssim(before, after),
        "vif": vif(before, after),
        "gmsd": gmsd(reference, image),
    }


def ssim(before: Planes, after: Planes) -> float:
    """Structural similarity by a Gaussian window of 1.5 pixels, and of 1.5 channels."""

    def smooth(planes: Planes) -> Planes:
        smoothed: Planes = ndimage.gaussian_filter(planes, 1.5)
        return smoothed

    mean, changed = smooth(before), smooth(after)
    variance, changed_variance = smooth(before**2) - mean**2, smooth(after**2) - changed**2
    covariance = smooth(before * after) - mean * changed
    similarity = (2 * mean * changed + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity /= (mean**2 + changed**2 + SSIM_C1) * (variance + changed_variance + SSIM_C2)
    return float(similarity.mean())


def vif(before: Planes, after: Planes) -> float:
    """Visual information fidelity in the pixel domain (Sheikh and Bovik 2006), noise of variance 2, four scales."""
    kept = whole = 0.0
    for scale in range(1, 5):
        radius = 2 ** (4 - scale)
        sigma = (2 * radius + 1) / 5
        x, y = before, after
        if scale > 1:
            x, y = (np.moveaxis(_window(planes[..., ::-1], radius, sigma), 2, 0)[::2, ::2] for planes in (x, y))
        mean, changed = _window(x, radius, sigma), _window(y, radius, sigma)
        variance = np.maximum(_window(x * x, radius, sigma) - mean**2, 0)
        changed_variance = np.maximum(_window(y * y, radius, sigma) - changed**2, 0)
        gain = (_window(x * y, radius, sigma) - mean * changed) / (variance + 1e-10)
        gain[(variance < 1e-10) | (changed_variance < 1e-10)] = 0
        gain = np.maximum(gain, 0)
        variance[variance < 1e-10] = 0
        noise = np.maximum(changed_variance - gain**2 * (variance + 1e-10), 1e-10)
        noise[changed_variance < 1e-10] = 1e-10
        kept += float(np.log10(1 + gain**2 * variance / (noise + 2)).sum())
        whole += float(np.log10(1 + variance / 2).sum())
    return kept / whole


def _window(planes: Planes, radius: int, sigma: float) -> Planes:
    """Planes smoothed along their first two axes by a Gaussian cut off at `radius`."""
    for axis in (0, 1):
        planes = ndimage.gaussian_filter1d(planes, sigma, axis, mode="nearest", radius=radius)
    return planes


def gmsd(reference: Pixels, image: Pixels) -> float:
    """Deviation of the similarity of luma gradients at half size."""

    def gradient(pixels: Pixels) -> NDArray[np.float64]:
        luma = ((pixels.astype(np.int64) @ np.array([4899, 9617, 1868]) + 8192) >> 14).astype(np.float64)
        half = ndimage.convolve(luma, np.full((2, 2), 0.25), mode="constant")[::2, ::2]
        slope = np.array([[1.0, 0.0, -1.0]] * 3) / 3
        found: NDArray[np.float64] = np.hypot(
            *(ndimage.convolve(half, kernel, mode="constant") for kernel in (slope, slope.T))
        )
        return found

    one, other = gradient(reference), gradient(image)
    return float(np.std((2 * one * other + GMSD_C) / (one**2 + other**2 + GMSD_C)))


def weighted_snr(before: Planes, after: Planes) -> float:
    """Signal-to-noise ratio in dB of a luminance, the noise weighted by the contrast sensitivity of the eye."""
    luminance = np.array([0.144, 0.587, 0.299])
    signal, noise = before @ luminance, (before - after) @ luminance
    rows, columns = (np.arange(side) - side / 2 + 0.5 for side in signal.shape)
    plane = (rows[:, None] + 1j * columns) * (120 / signal.shape[0])
    radius = np.abs(plane) / (0.15 * np.cos(4 * np.angle(plane)) + 0.85)
    weights = 2.6 * (0.0192 + 0.114 * radius) * np.exp(-((0.114 * radius) ** 1.1))
    weights[radius < 7.8909] = 0.9809
    heard = np.sum(np.abs(np.fft.fftshift(np.fft.fft2(noise)) * weights) ** 2)
    return float(10 * np.log10(np.sum(np.abs(np.fft.fft2(signal)) ** 2) / heard)) if heard else float("inf")

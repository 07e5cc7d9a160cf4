"""Noise: distortions 1-7 and 19 of TID2013; see `iqa.distortions.table`."""

import numpy as np
import scipy

from iqa.distortions.signal import LUMA, Pixels, Planes, scale_to_rms, to_rgb, to_uint8, to_ycc


def additive_gaussian_noise(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White noise of standard deviation `sigma`, independent in the three channels."""
    return to_uint8(image + rng.normal(0, sigma, image.shape))


def colour_noise(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Noise twice as strong in the chroma as in the luma; `sigma` is the luma's."""
    return to_rgb(to_ycc(image) + rng.normal(0, 1, image.shape) * (sigma, 2 * sigma, 2 * sigma))


def spatially_correlated_noise(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White noise averaged over 3x3 pixels, brought back to the standard deviation `sigma`."""
    noise = scipy.ndimage.uniform_filter(rng.normal(0, 1, image.shape), size=(3, 3, 1), mode="reflect")
    return to_uint8(image + scale_to_rms(noise, sigma))


def masked_noise(image: Pixels, rms: float, rng: np.random.Generator) -> Pixels:
    """Noise above 0.25 cycles per pixel whose amplitude follows the local contrast; `rms` is that of the whole image."""
    luma = image @ LUMA
    mean = scipy.ndimage.uniform_filter(luma, 8)
    contrast = np.sqrt(np.maximum(scipy.ndimage.uniform_filter(luma**2, 8) - mean**2, 0))
    # A window that straddles an edge has contrast but masks nothing on its flat side: the minimum leaves that out.
    mask = scipy.ndimage.minimum_filter(contrast, 8) + 1
    return to_uint8(image + scale_to_rms(_white_above(0.25, image.shape, rng) * mask[..., None], rms))


def high_frequency_noise(image: Pixels, rms: float, rng: np.random.Generator) -> Pixels:
    """White noise without its frequencies below 0.2 cycles per pixel."""
    return to_uint8(image + scale_to_rms(_white_above(0.2, image.shape, rng), rms))


def _white_above(lowest: float, shape: tuple[int, ...], rng: np.random.Generator) -> Planes:  # in cycles per pixel
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in shape[:2]), indexing="ij"))
    spectrum = np.fft.fft2(rng.normal(0, 1, shape), axes=(0, 1))
    noise: Planes = np.fft.ifft2(spectrum * (frequency > lowest)[..., None], axes=(0, 1)).real
    return noise


def impulse_noise(image: Pixels, density: float, rng: np.random.Generator) -> Pixels:
    """Salt and pepper in each channel by itself; `density` is the share of samples that are hit."""
    hit = rng.random(image.shape)
    salt = rng.random(image.shape) < 0.5
    return np.where(hit < density, np.where(salt, 255, 0), image).astype(np.uint8)


def quantization_noise(image: Pixels, step: float, rng: np.random.Generator) -> Pixels:
    """Every channel rounded to the nearest multiple of `step` grey levels."""
    return to_uint8(np.rint(image / step) * step)


def multiplicative_noise(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White noise whose standard deviation is `sigma` times the value of each sample."""
    return to_uint8(image * (1 + rng.normal(0, sigma, image.shape)))

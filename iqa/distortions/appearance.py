"""Noise, blur, patterns, light and colour: distortions 1-9, 14-19, 22 and 23 of TID2013; see `iqa.distortions.table`."""

import numpy as np
import scipy
from PIL import Image

from iqa.distortions.signal import (
    LUMA,
    Pixels,
    Planes,
    dct_denoise,
    distort_to_psnr,
    scale_to_rms,
    to_rgb,
    to_uint8,
    to_ycc,
)


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


def gaussian_blur(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Every channel blurred by a Gaussian of `sigma` pixels."""
    return to_uint8(scipy.ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def denoising(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma`, then removed by a DCT filter: what the filter could not tell from noise is gone."""
    return to_uint8(dct_denoise(image + rng.normal(0, sigma, image.shape), 2.7 * sigma))


def non_eccentricity_pattern(image: Pixels, patches: float, rng: np.random.Generator) -> Pixels:
    """Fragments of 15x15 pixels replaced by others from up to 4 pixels away; `patches` of them on 512x384 pixels."""
    size, reach = 15, 4
    height, width = image.shape[:2]
    result = image.copy()
    for _ in range(max(1, round(patches * height * width / (512 * 384)))):
        top, left = rng.integers(reach, height - size - reach), rng.integers(reach, width - size - reach)
        down, right = rng.integers(-reach, reach + 1, 2)
        source = image[top + down : top + down + size, left + right : left + right + size]
        result[top : top + size, left : left + size] = source
    return result


def local_blockwise(image: Pixels, blocks: float, rng: np.random.Generator) -> Pixels:
    """`flat_blocks`, so many on 512x384 pixels: the fewer, the further their colours are off."""
    count = max(1, round(blocks * image.shape[0] * image.shape[1] / (512 * 384)))
    return flat_blocks(image, count, float(np.interp(blocks, BLOCK_SHIFTS[0], BLOCK_SHIFTS[1])), rng)


#: Numbers of blocks, and the grey levels by which their colours differ from what they hide. A real image of 6 blocks has
#: exactly 60; the others follow from the published errors, which grow with the variance inside the blocks.
BLOCK_SHIFTS = ((2, 4, 6, 8, 10), (135, 91, 60, 38, 10))


def flat_blocks(image: Pixels, count: int, shift: float, rng: np.random.Generator) -> Pixels:
    """`count` squares of 32x32 pixels replaced by their mean colour, each channel raised or lowered by `shift`.

    A square lies where the picture is busiest of four places: what TID2013's blocks hide has 2 to 3 times the variance of
    the picture's average square.
    """
    size = 32
    result = image.copy()
    for _ in range(count):
        tops, lefts = (rng.integers(0, side - size + 1, 4) for side in image.shape[:2])
        squares = [np.s_[top : top + size, left : left + size] for top, left in zip(tops, lefts, strict=True)]
        square = max(squares, key=lambda square: image[square].var(axis=(0, 1)).sum())
        mean = image[square].mean(axis=(0, 1))
        result[square] = to_uint8(mean + shift * rng.choice((-1.0, 1.0), 3))
    return result


def mean_shift(image: Pixels, shift: float, rng: np.random.Generator) -> Pixels:
    """All samples raised by `shift` grey levels, or lowered by a negative one."""
    return to_uint8(image + shift)


def contrast_change(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Deviations from the mean of all samples multiplied by `factor`; above 1 contrast rises."""
    mean = np.mean(image)
    return to_uint8(mean + factor * (image - mean))


# ITU-R BT.601, studio range, from RGB of 0-1: 16-235 of luma, 16-240 of chroma.
STUDIO = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
STUDIO_TO_RGB = np.linalg.inv(STUDIO)


def saturation_change(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Chroma multiplied by `factor`, the luma untouched; 0 leaves a grey picture, less turns hues into their opposites.

    Computed in whole numbers of studio-range luma and chroma, as TID2013's images were: they come out to the pixel.
    """
    ycc = np.rint((image / 255) @ STUDIO.T)
    ycc[..., 1:] = np.rint(ycc[..., 1:] * factor)
    return to_uint8(ycc @ STUDIO_TO_RGB.T * 255)


def colour_quantization(image: Pixels, colours: float, rng: np.random.Generator) -> Pixels:
    """A palette of `colours` chosen for the picture, Floyd-Steinberg dither."""
    picture = Image.fromarray(image)
    palette = picture.quantize(int(np.clip(round(colours), 2, 256)), Image.Quantize.MEDIANCUT, kmeans=3)
    return np.asarray(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def chromatic_aberration(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """Red and blue planes displaced in opposite directions, by up to 40 pixels, as far as a PSNR in dB over RGB asks."""
    angle = rng.uniform(0, 2 * np.pi)
    planes = image.astype(np.float64)

    def displace(distance: float) -> Pixels:
        offset = distance * np.array([np.sin(angle), np.cos(angle)])
        red = scipy.ndimage.shift(planes[..., 0], offset, order=1, mode="nearest")
        blue = scipy.ndimage.shift(planes[..., 2], -offset, order=1, mode="nearest")
        return to_uint8(np.stack([red, planes[..., 1], blue], axis=-1))

    return distort_to_psnr(image, displace, psnr, weak=0.05, strong=40.0)

"""Blur, denoising, patterns, light and colour: distortions 8, 9, 14-18, 22 and 23 of TID2013, and exposure.

Each is a function (image, strength, rng) -> image of uint8 RGB arrays (H, W, 3); see `iqa.distortions.table`.
"""

import numpy as np
import scipy
from PIL import Image

from iqa.distortions.signal import (
    LUMA,
    Pixels,
    dct_denoise,
    distort_to_psnr,
    to_rgb,
    to_uint8,
    to_ycc,
)


def gaussian_blur(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Every channel blurred by a Gaussian of `sigma` pixels."""
    return to_uint8(scipy.ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def denoising(image: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of `sigma`, then removed by a DCT filter: what the filter could not tell from noise is gone."""
    return to_uint8(dct_denoise(image + rng.normal(0, sigma, image.shape), 2.7 * sigma))


def non_eccentricity_pattern(image: Pixels, patches: float, rng: np.random.Generator) -> Pixels:
    """Fragments of 15x15 pixels replaced by others from up to 5 pixels away; `patches` of them on 512x384 pixels."""
    size, reach = 15, 5
    height, width = image.shape[:2]
    result = image.copy()
    for _ in range(max(1, round(patches * height * width / (512 * 384)))):
        top, left = rng.integers(reach, height - size - reach), rng.integers(reach, width - size - reach)
        down, right = rng.integers(-reach, reach + 1, 2)
        source = image[top + down : top + down + size, left + right : left + right + size]
        result[top : top + size, left : left + size] = source
    return result


def local_blockwise(image: Pixels, blocks: float, rng: np.random.Generator) -> Pixels:
    """`blocks` squares of 32x32 pixels on 512x384 shifted in intensity: the fewer there are, the stronger each is.

    The published error is the same at every level and grows with the picture's own contrast: on four references of
    luma variance 1180-4260 its mean square is 6.4-7 % of that variance.
    """
    size, share = 32, 0.067  # of the variance, as a mean square over the whole image
    rows, columns = image.shape[0] // size, image.shape[1] // size
    count = max(1, round(blocks * image.shape[0] * image.shape[1] / (512 * 384)))
    power = share * np.var(image @ LUMA)
    shift = np.sqrt(power * image.shape[0] * image.shape[1] / (count * size * size))
    result = image.astype(np.float64)
    for place in rng.permutation(rows * columns)[:count]:
        top, left = size * (place // columns), size * (place % columns)
        block = result[top : top + size, left : left + size]
        # Towards the side that has room for it, or clipping would eat the difference.
        block += shift if block.mean() < 127.5 else -shift
    return to_uint8(result)


def mean_shift(image: Pixels, shift: float, rng: np.random.Generator) -> Pixels:
    """All pixels brighter, or all darker, by `shift` grey levels; the generator decides which."""
    return to_uint8(image + rng.choice((-1.0, 1.0)) * shift)


def contrast_change(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Deviations from the mean luma multiplied by `factor`; above 1 contrast rises."""
    mean = np.mean(image @ LUMA)
    return to_uint8(mean + factor * (image - mean))


def saturation_change(image: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    """Chroma multiplied by `factor`, the luma untouched; 0 leaves a grey picture."""
    return to_rgb(to_ycc(image) * (1, factor, factor))


def colour_quantization(image: Pixels, colours: float, rng: np.random.Generator) -> Pixels:
    """A palette of `colours` chosen for the picture, Floyd-Steinberg dither."""
    picture = Image.fromarray(image)
    palette = picture.quantize(round(colours), Image.Quantize.MEDIANCUT, kmeans=3)
    return np.asarray(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def chromatic_aberration(image: Pixels, psnr: float, rng: np.random.Generator) -> Pixels:
    """Red and blue planes displaced in opposite directions, green left in place, as far as a luma PSNR tells.

    A fixed displacement was not TID2013's: level 1 has the same published PSNR on smooth and on busy references, and
    people liked the busy ones best (the rank correlation of level 4's scores with the PSNR that a displacement of 4 pixels
    leaves is -0.92 over references 4-24), because there a smaller displacement was enough. Smooth pictures meet the limit
    of 40 pixels before the PSNR of level 5.
    """
    angle = rng.uniform(0, 2 * np.pi)
    planes = image.astype(np.float64)

    def displace(distance: float) -> Pixels:
        offset = distance * np.array([np.sin(angle), np.cos(angle)])
        red = scipy.ndimage.shift(planes[..., 0], offset, order=1, mode="nearest")
        blue = scipy.ndimage.shift(planes[..., 2], -offset, order=1, mode="nearest")
        return to_uint8(np.stack([red, planes[..., 1], blue], axis=-1))

    return distort_to_psnr(image, displace, psnr, weak=0.05, strong=40.0)


def change_exposure(image: Pixels, stops: float) -> Pixels:
    """A picture as if exposed longer by a number of stops, each of which doubles the linear light."""
    linear = (image / 255.0) ** 2.2 * 2**stops
    return to_uint8(255 * np.clip(linear, 0, 1) ** (1 / 2.2))

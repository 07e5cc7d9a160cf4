"""What the distortions share; noise, blur, patterns, light and colour: 1-9, 14-19, 22, 23 of `iqa.distortions.table`."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

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

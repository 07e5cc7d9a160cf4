"""The 24 distortions of TID2013, each at its five published strengths, and ladders of one distortion.

    degraded = distort(image, distortion=10, level=3)
    steps = ladder(image, distortion=10, levels=(1, 2, 3, 4, 5))

TID2013 (Ponomarenko et al., "Image database TID2013: Peculiarities, results and perspectives", Signal Processing:
Image Communication 30, 2015) describes its distortions in words and publishes no code. The strengths below are ours:
they were chosen so that the mean luma PSNR over four references equals the published one, level by level. What is
made here is therefore *re-made* TID2013, never TID2013 itself.

Images are uint8 RGB arrays (H, W, 3), 0-255. Everything random comes from a generator seeded by the caller, and the
levels of one distortion start from the same seed: the same noise grows, the same blocks go.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from PIL import Image

# --- colour ------------------------------------------------------------------------------------------------------

LUMA = np.array([0.299, 0.587, 0.114])

# ITU-R BT.601, full range, without the offset of 128 on the chroma.
RGB_TO_YCC = np.array([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
YCC_TO_RGB = np.linalg.inv(RGB_TO_YCC)


def to_uint8(image):
    """Round to the nearest grey level and clip to 0-255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def to_ycc(image):
    """RGB 0-255 (H, W, 3) -> float luma 0-255 and chroma -128..128, in one (H, W, 3) array."""
    return image @ RGB_TO_YCC.T


def to_rgb(ycc):
    """The inverse of `to_ycc`, rounded and clipped to uint8."""
    return to_uint8(ycc @ YCC_TO_RGB.T)


def psnr_luma(reference, image):
    """Peak signal-to-noise ratio of the studio-range luma (16-235), the figure that TID2013 publishes.

    Args:
        reference, image: uint8 RGB arrays of one shape.

    Returns:
        Decibels relative to a peak of 255; `inf` for equal luma. Full-range luma gives 1.32 dB less.
    """
    difference = (reference.astype(np.float64) - image) @ LUMA * (219 / 255)
    error = np.mean(difference**2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


# --- block transform, shared by the types that quantise or filter in the DCT domain -------------------------------

BLOCK = 8


def block_dct(planes):
    """(H, W, C) -> orthonormal DCT of its 8x8 blocks, (H/8, 8, W/8, 8, C), the edges repeated to whole blocks."""
    height, width, channels = planes.shape
    padded = np.pad(planes, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK, channels)
    return scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")


def inverse_block_dct(coefficients, shape):
    """The inverse of `block_dct`, cut to `shape`."""
    blocks = scipy.fft.idctn(coefficients, axes=(1, 3), norm="ortho")
    rows, _, columns, _, channels = blocks.shape
    return blocks.reshape(rows * BLOCK, columns * BLOCK, channels)[: shape[0], : shape[1]]


def dct_denoise(image, threshold):
    """Sliding-window DCT denoising: hard threshold in 8x8 blocks, averaged over four positions of the grid."""
    total = np.zeros(image.shape)
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
        shifted = np.pad(image, ((top, 0), (left, 0), (0, 0)), mode="reflect")
        coefficients = block_dct(shifted)
        coefficients[np.abs(coefficients) < threshold] = 0
        total += inverse_block_dct(coefficients, shifted.shape)[top:, left:]
    return total / 4


def scaled_to_rms(noise, rms):
    return noise * (rms / np.sqrt(np.mean(noise**2)))


# --- 1-7: noise ---------------------------------------------------------------------------------------------------


def additive_gaussian_noise(image, sigma, rng):
    return to_uint8(image + rng.normal(0, sigma, image.shape))


def colour_noise(image, sigma, rng):
    """Noise twice as strong in the chroma as in the luma; `sigma` is the luma's."""
    return to_rgb(to_ycc(image) + rng.normal(0, 1, image.shape) * (sigma, 2 * sigma, 2 * sigma))


def spatially_correlated_noise(image, sigma, rng):
    """White noise averaged over 3x3 pixels, brought back to the standard deviation `sigma`."""
    noise = scipy.ndimage.uniform_filter(rng.normal(0, 1, image.shape), size=(3, 3, 1), mode="reflect")
    return to_uint8(image + scaled_to_rms(noise, sigma))


def masked_noise(image, rms, rng):
    """Noise that hides in texture: its amplitude follows the local contrast, `rms` is that of the whole image."""
    luma = image @ LUMA
    mean = scipy.ndimage.uniform_filter(luma, 8)
    contrast = np.sqrt(np.maximum(scipy.ndimage.uniform_filter(luma**2, 8) - mean**2, 0))
    # A window that straddles an edge has contrast but masks nothing on its flat side: the minimum leaves that out.
    mask = scipy.ndimage.minimum_filter(contrast, 8) + 1
    return to_uint8(image + scaled_to_rms(rng.normal(0, 1, image.shape) * mask[..., None], rms))


def high_frequency_noise(image, rms, rng):
    """White noise without its frequencies below 0.35 cycles per pixel."""
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape[:2]), indexing="ij"))
    spectrum = np.fft.fft2(rng.normal(0, 1, image.shape), axes=(0, 1))
    noise = np.fft.ifft2(spectrum * (frequency > 0.35)[..., None], axes=(0, 1)).real
    return to_uint8(image + scaled_to_rms(noise, rms))


def impulse_noise(image, density, rng):
    """Salt and pepper in each channel by itself; `density` is the share of samples that are hit."""
    hit = rng.random(image.shape)
    salt = rng.random(image.shape) < 0.5
    return np.where(hit < density, np.where(salt, 255, 0), image).astype(np.uint8)


def quantization_noise(image, step, rng):
    """Every channel rounded to the middle of intervals `step` grey levels wide."""
    return to_uint8((np.floor(image / step) + 0.5) * step)


# --- 8-13: blur, denoising, codecs, transmission ------------------------------------------------------------------


def gaussian_blur(image, sigma, rng):
    return to_uint8(scipy.ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="reflect"))


def denoising(image, sigma, rng):
    """Gaussian noise of `sigma`, then removed by a DCT filter: what the filter could not tell from noise is gone."""
    return to_uint8(dct_denoise(image + rng.normal(0, sigma, image.shape), 2.7 * sigma))


# Luma and chroma quantisation of the Independent JPEG Group's codec at quality 50 (ITU-T T.81, annex K).
IJG_TABLES = (
    (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
     51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
     120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
     *[99] * 38),
)  # fmt: skip


def encode_jpeg(image, subsampling="4:2:0", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", subsampling=subsampling, **options)
    return buffer.getvalue()


def encode_jpeg2000(image, psnr, **options):
    buffer = io.BytesIO()
    layers = {"quality_mode": "dB", "quality_layers": [psnr]}
    Image.fromarray(image).save(buffer, "JPEG2000", irreversible=True, no_jp2=True, **layers, **options)
    return buffer.getvalue()


def decode(data):
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))


def jpeg(image, quality, rng):
    """Baseline JPEG at an IJG quality, which need not be whole: low qualities lie too far apart for our table."""
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    tables = [np.clip(np.floor(np.array(table) * scale + 0.5), 1, 255).astype(int).tolist() for table in IJG_TABLES]
    return decode(encode_jpeg(image, qtables=tables))


def jpeg2000(image, psnr, rng):
    return decode(encode_jpeg2000(image, psnr))


def lose_data(image, stream, vulnerable, psnr, rng, tolerance=0.5, tries=80):
    """Flip bits of a compressed stream until the picture that a real decoder makes of it has fallen to `psnr`.

    Args:
        image: the undistorted picture, uint8 RGB.
        stream: the encoded picture.
        vulnerable: the positions of the bytes that may be hit, an integer array.
        psnr: studio-range luma PSNR in dB, to be met within `tolerance` where the stream allows.
        tries: bursts of errors tried; those that the decoder refuses, or that destroy too much, are put back.

    Returns:
        The decoded picture.
    """
    best, burst = decode(stream), 1
    best_psnr = psnr_luma(image, best)
    for _ in range(tries):
        if best_psnr <= psnr + tolerance:
            break
        hit = bytearray(stream)
        for position in rng.choice(vulnerable, size=burst):
            changed = hit[position] ^ (1 << rng.integers(8))
            # 0xFF starts a marker: neither make nor break one, an error in a marker loses the rest of the picture.
            if 0xFF not in (changed, *hit[position - 2 : position + 1]):
                hit[position] = changed
        try:
            damaged = decode(hit)
            damaged_psnr = psnr_luma(image, damaged)
        except OSError:  # the decoder gave up on the stream
            damaged_psnr = -np.inf
        if damaged_psnr >= psnr - tolerance:
            if damaged_psnr > best_psnr - 0.5:
                burst *= 2
            if damaged_psnr < best_psnr:
                stream, best, best_psnr = bytes(hit), damaged, damaged_psnr
        else:
            burst = max(1, burst // 2)
    return best


def jpeg_transmission_errors(image, psnr, rng):
    """Bit errors in a baseline JPEG stream with a restart marker every 8 units of 16x16 pixels."""
    stream = encode_jpeg(image, quality=85, restart_marker_blocks=8)
    start_of_scan = stream.index(b"\xff\xda")
    first = start_of_scan + 4 + int.from_bytes(stream[start_of_scan + 2 : start_of_scan + 4], "big")
    return lose_data(image, stream, np.arange(first, len(stream) - 2), psnr, rng)


def jpeg2000_transmission_errors(image, psnr, rng):
    """Bit errors in the code blocks of a JPEG2000 stream; its packet headers are spared, as resilient coders do."""
    stream = encode_jpeg2000(image, 40, codeblock_size=(16, 16), num_resolutions=4, plt=True)
    # Of each packet the later part: the header comes first, and an error there would lose the packets after it too.
    start, vulnerable = stream.index(b"\xff\x93") + 2, []
    for length in packet_lengths(stream):
        vulnerable.append(np.arange(start + length // 3, start + length - 2))
        start += length
    return lose_data(image, stream, np.concatenate(vulnerable), psnr, rng)


def packet_lengths(stream):
    """The lengths of a tile's packets, from the PLT markers in its header (ITU-T T.800, A.7.3)."""
    lengths, number, at = [], 0, stream.index(b"\xff\x90") + 12
    while stream[at : at + 2] != b"\xff\x93":
        size = int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at : at + 2] == b"\xff\x58":
            for byte in stream[at + 5 : at + 2 + size]:
                number = number << 7 | byte & 0x7F
                if byte < 0x80:
                    lengths.append(number)
                    number = 0
        at += 2 + size
    return lengths


# --- 14-18: patterns, blocks, intensity, colour -------------------------------------------------------------------


def non_eccentricity_pattern(image, patches, rng):
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


def local_blockwise(image, blocks, rng):
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


def mean_shift(image, shift, rng):
    """All pixels brighter, or all darker, by `shift` grey levels; the generator decides which."""
    return to_uint8(image + rng.choice((-1.0, 1.0)) * shift)


def contrast_change(image, factor, rng):
    """Deviations from the mean luma multiplied by `factor`; above 1 contrast rises."""
    mean = np.mean(image @ LUMA)
    return to_uint8(mean + factor * (image - mean))


def saturation_change(image, factor, rng):
    """Chroma multiplied by `factor`, the luma untouched; 0 leaves a grey picture."""
    return to_rgb(to_ycc(image) * (1, factor, factor))


# --- 19-24 --------------------------------------------------------------------------------------------------------


def multiplicative_noise(image, sigma, rng):
    return to_uint8(image * (1 + rng.normal(0, sigma, image.shape)))


def comfort_noise(image, step, rng):
    """Lossy coding of the DCT in steps of `step`, in whose luma the dead zone is filled with noise instead of zeros."""
    coefficients = block_dct(to_ycc(image))
    coded = np.rint(coefficients / step) * step
    coded[:, 0, :, 0] = coefficients[:, 0, :, 0]  # block means are coded finely, or the blocks themselves would show
    noise = rng.uniform(-step / 2, step / 2, coefficients.shape[:-1])
    coded[..., 0] = np.where(coded[..., 0] == 0, noise, coded[..., 0])
    return to_rgb(inverse_block_dct(coded, image.shape))


def compressed_noisy(image, sigma, rng):
    """Gaussian noise of `sigma`, then JPEG that quantises all frequencies alike, in steps of twice `sigma`."""
    step = [round(2 * sigma)] * 64
    return decode(encode_jpeg(additive_gaussian_noise(image, sigma, rng), subsampling="4:4:4", qtables=[step, step]))


def colour_quantization(image, colours, rng):
    """A palette of `colours` chosen for the picture, Floyd-Steinberg dither."""
    picture = Image.fromarray(image)
    palette = picture.quantize(round(colours), Image.Quantize.MEDIANCUT, kmeans=3)
    return np.asarray(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))


def chromatic_aberration(image, psnr, rng):
    """Red and blue planes displaced in opposite directions, green left in place, as far as a luma PSNR tells.

    A fixed displacement was not TID2013's: level 1 has the same published PSNR on smooth and on busy references, and
    people liked the busy ones best (the rank correlation of level 4's scores with the PSNR that a displacement of 4 pixels
    leaves is -0.92 over references 4-24), because there a smaller displacement was enough. Smooth pictures meet the limit
    of 40 pixels before the PSNR of level 5.
    """
    angle = rng.uniform(0, 2 * np.pi)
    planes = image.astype(np.float64)

    def displaced(distance):
        offset = distance * np.array([np.sin(angle), np.cos(angle)])
        red = scipy.ndimage.shift(planes[..., 0], offset, order=1, mode="nearest")
        blue = scipy.ndimage.shift(planes[..., 2], -offset, order=1, mode="nearest")
        return to_uint8(np.stack([red, planes[..., 1], blue], axis=-1))

    return at_psnr(image, displaced, psnr, weak=0.05, strong=40.0)


def sparse_sampling(image, psnr, rng):
    """Compressive sensing: part of the Fourier samples is kept, the rest is reconstructed by an iterated DCT filter.

    Low frequencies are kept, of the others a random share; as many as the luma PSNR `psnr` needs (Egiazarian, Foi,
    Katkovnik, "Compressed sensing image reconstruction via recursive spatially adaptive filtering", ICIP 2007).
    """
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape[:2]), indexing="ij"))
    ycc = to_ycc(image)
    measured = np.fft.fft2(ycc, axes=(0, 1))
    chance = rng.random(frequency.shape)

    def reconstructed(coarseness):
        kept = (chance < np.exp(-((frequency * coarseness) ** 2)))[..., None]
        estimate = np.fft.ifft2(measured * kept, axes=(0, 1)).real
        for threshold in (60, 40, 25, 15):
            spectrum = np.fft.fft2(dct_denoise(estimate, threshold), axes=(0, 1))
            estimate = np.fft.ifft2(np.where(kept, measured, spectrum), axes=(0, 1)).real
        return to_rgb(dct_denoise(estimate, 15))

    return at_psnr(image, reconstructed, psnr, weak=0.3, strong=150.0, steps=8)


def at_psnr(image, distorted, psnr, weak, strong, steps=10):
    """Bisect the strength of `distorted` between `weak` and `strong`, in logarithm, for a luma PSNR."""
    best = None
    for _ in range(steps):
        strength = np.sqrt(weak * strong)
        candidate = distorted(strength)
        found = psnr_luma(image, candidate)
        if best is None or abs(found - psnr) < best[0]:
            best = abs(found - psnr), candidate
        if best[0] < 0.05:
            break
        weak, strong = (strength, strong) if found > psnr else (weak, strength)
    return best[1]


# --- the table ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distortion:
    """One of the 24 types: its number and name in TID2013, its function, its strength at levels 1-5 and their unit."""

    number: int
    name: str
    apply: Callable
    strengths: tuple[float, float, float, float, float]
    unit: str


_TABLE = (
    ("additive Gaussian noise", additive_gaussian_noise, (5.71, 8.06, 11.4, 16.1, 22.7), "sigma, grey levels"),
    ("noise stronger in colour", colour_noise, (1.96, 2.73, 3.84, 5.4, 7.66), "sigma of luma, grey levels"),
    ("spatially correlated noise", spatially_correlated_noise, (5.71, 8.06, 11.4, 16.1, 22.7), "sigma, grey levels"),
    ("masked noise", masked_noise, (5.97, 8.43, 11.9, 17.2, 24.7), "rms, grey levels"),
    ("high-frequency noise", high_frequency_noise, (5.76, 8.09, 14.35, 25.8, 47.3), "rms, grey levels"),
    ("impulse noise", impulse_noise, (0.0018, 0.005, 0.0101, 0.0202, 0.04), "share of samples"),
    ("quantization noise", quantization_noise, (19.5, 29.5, 37.5, 54, 80.5), "step, grey levels"),
    ("Gaussian blur", gaussian_blur, (0.516, 0.688, 1.115, 2.01, 4.17), "sigma, pixels"),
    ("image denoising", denoising, (6.4, 9.4, 16.7, 34.9, 97.7), "sigma of the noise, grey levels"),
    ("JPEG compression", jpeg, (79.3, 59.5, 22.9, 7.92, 3.91), "quality"),
    ("JPEG2000 compression", jpeg2000, (33.25, 30.42, 27.58, 24.42, 21.52), "PSNR, dB"),
    ("JPEG transmission errors", jpeg_transmission_errors, (35.1, 31.6, 28.7, 25.9, 22.8), "PSNR, dB"),
    ("JPEG2000 transmission errors", jpeg2000_transmission_errors, (35.2, 31.6, 28.9, 25.6, 22.2), "PSNR, dB"),
    ("non-eccentricity pattern", non_eccentricity_pattern, (35, 51, 116, 167, 261), "fragments"),
    ("local block-wise distortion", local_blockwise, (32, 16, 8, 4, 2), "blocks"),
    ("mean shift", mean_shift, (6, 10, 20, 30, 40), "grey levels"),
    ("contrast change", contrast_change, (0.9, 1.2, 0.75, 1.44, 0.5), "factor"),
    ("change of colour saturation", saturation_change, (0.6, 0.45, 0.3, 0.15, 0.0), "factor"),
    ("multiplicative Gaussian noise", multiplicative_noise, (0.05, 0.07, 0.1, 0.14, 0.2), "sigma, share of the value"),
    ("comfort noise", comfort_noise, (16.1, 23.3, 33.6, 48.5, 70.1), "step, grey levels"),
    ("lossy compression of noisy images", compressed_noisy, (5.76, 8.23, 11.76, 16.51, 25.17), "sigma, grey levels"),
    ("colour quantization with dither", colour_quantization, (80, 40, 20, 8, 4), "colours"),
    ("chromatic aberration", chromatic_aberration, (42.2, 36.3, 32.0, 29.8, 25.7), "PSNR, dB"),
    ("sparse sampling and reconstruction", sparse_sampling, (35.2, 32.2, 29.0, 25.9, 22.8), "PSNR, dB"),
)

#: Number (1-24) -> `Distortion`.
DISTORTIONS = {number: Distortion(number, *row) for number, row in enumerate(_TABLE, start=1)}


def distort(image, distortion, level, seed=0):
    """One distortion at one level.

    Args:
        image: uint8 RGB (H, W, 3), at least 48 in a side.
        distortion: its number in TID2013, 1-24.
        level: 1-5, or a number between and down to 0.5 (see `strength`).
        seed: an integer or a sequence of integers.

    Returns:
        A uint8 RGB array of the same shape.

    Raises:
        ValueError: for another number or level.
    """
    return DISTORTIONS[_checked(distortion)].apply(image, strength(distortion, level), np.random.default_rng(seed))


def strength(distortion, level):
    """The strength of a distortion at a level: interpolated between whole levels, extrapolated from 1 down to 0.5.

    Raises:
        ValueError: for a distortion outside 1-24 or a level outside 0.5-5.
    """
    strengths = DISTORTIONS[_checked(distortion)].strengths
    if not 0.5 <= level <= 5:
        raise ValueError(f"level {level} is not within 0.5-5")
    if level < 1:
        return float(strengths[0] + (level - 1) * (strengths[1] - strengths[0]))
    return float(np.interp(level, range(1, 6), strengths))


# Types whose strength does not grow steadily with the level, or in whole numbers: only their five levels make sense.
_UNEVEN = (14, 15, 17)


def random_levels(distortion, rng, weakest=0.5, strongest=5):
    """Four rising levels, float64 (4,): one from each quarter of the range; whole ones where no others make sense."""
    if distortion in _UNEVEN:
        return np.sort(rng.choice(np.arange(1, 6), 4, replace=False)).astype(float)
    edges = np.linspace(weakest, strongest, 5)
    return np.round(rng.uniform(edges[:-1], edges[1:]), 2)


def ladder(image, distortion, levels=(1, 2, 3, 4, 5), seed=0):
    """The same picture at several levels of one distortion, a list of uint8 RGB arrays; see `distort`."""
    return [distort(image, distortion, level, seed) for level in levels]


#: What happens to photographs every day, from weak to strong: {name: (distortion, strengths, unit)}.
EVERYDAY = {
    "JPEG": (10, (90, 70, 50, 30, 15), "quality"),
    "blur": (8, (0.5, 1, 2, 4), "sigma"),
    "white noise": (1, (5, 10, 20, 40), "sigma"),
    "JPEG2000": (11, (36, 32, 28, 24), "dB"),
}


def everyday_ladders(image, seed=0):
    """Degrade a photograph by each of `EVERYDAY`.

    Returns:
        {name: [(label, uint8 RGB array), ...]}, the first of each the photograph itself.
    """
    return {
        name: [("original", image)]
        + [
            (f"{unit} {value:g}", DISTORTIONS[number].apply(image, value, np.random.default_rng(seed)))
            for value in strengths
        ]
        for name, (number, strengths, unit) in EVERYDAY.items()
    }


def _checked(distortion):
    if distortion not in DISTORTIONS:
        raise ValueError(f"distortion {distortion} is not within 1-24")
    return distortion

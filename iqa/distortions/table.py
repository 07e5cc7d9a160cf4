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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqa.distortions import appearance, codecs, noise
from iqa.distortions.signal import Pixels
from iqa.errors import UsageError

#: Levels between the published ones are interpolated; below the first they are extrapolated to here.
WEAKEST, STRONGEST = 0.5, 5.0

#: Pixels in a side that every distortion has room for.
SMALLEST = 48


@dataclass(frozen=True)
class Distortion:
    """One of the 24 types: its number and name in TID2013, its function, its strength at levels 1-5 and their unit."""

    number: int
    name: str
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, float, float, float, float]
    unit: str


_TABLE = (
    ("additive Gaussian noise", noise.additive_gaussian_noise, (5.71, 8.06, 11.4, 16.1, 22.7), "sigma, grey levels"),
    ("noise stronger in colour", noise.colour_noise, (1.96, 2.73, 3.84, 5.4, 7.66), "sigma of luma, grey levels"),
    ("spatially correlated noise", noise.spatially_correlated_noise, (5.71, 8.06, 11.4, 16.1, 22.7), "sigma, grey levels"),
    ("masked noise", noise.masked_noise, (5.8, 8.35, 11.9, 16.8, 24.5), "rms, grey levels"),
    ("high-frequency noise", noise.high_frequency_noise, (5.7, 8.05, 14.3, 25.8, 47.3), "rms, grey levels"),
    ("impulse noise", noise.impulse_noise, (0.0018, 0.005, 0.0101, 0.0202, 0.04), "share of samples"),
    ("quantization noise", noise.quantization_noise, (19, 27, 39, 55, 76), "step, grey levels"),
    ("Gaussian blur", appearance.gaussian_blur, (0.516, 0.688, 1.115, 2.01, 4.17), "sigma, pixels"),
    ("image denoising", appearance.denoising, (6.4, 9.4, 16.7, 34.9, 97.7), "sigma of the noise, grey levels"),
    ("JPEG compression", codecs.jpeg, (80, 60, 23, 8, 4), "quality"),
    ("JPEG2000 compression", codecs.jpeg2000, (33.0, 30.1, 27.1, 24.0, 21.0), "PSNR, dB"),
    ("JPEG transmission errors", codecs.jpeg_transmission_errors, (33.0, 30.2, 26.8, 24.0, 20.9), "PSNR, dB"),
    ("JPEG2000 transmission errors", codecs.jpeg2000_transmission_errors, (33.0, 30.1, 27.1, 24.0, 21.0), "PSNR, dB"),
    ("non-eccentricity pattern", appearance.non_eccentricity_pattern, (27, 53, 120, 174, 274), "fragments"),
    ("local block-wise distortion", appearance.local_blockwise, (10, 8, 6, 4, 2), "blocks"),
    ("mean shift", appearance.mean_shift, (-6, 10, -20, 30, -40), "grey levels"),
    ("contrast change", appearance.contrast_change, (0.9, 1.2, 0.75, 1.45, 0.5), "factor"),
    ("change of colour saturation", appearance.saturation_change, (0.71, 0.59, 0.42, 0.18, -0.15), "factor"),
    (
        "multiplicative Gaussian noise",
        noise.multiplicative_noise,
        (0.05, 0.07, 0.1, 0.14, 0.2),
        "sigma, share of the value",
    ),
    ("comfort noise", codecs.comfort_noise, (0.49, 0.93, 1.88, 4.0, 8.1), "steps of JPEG at quality 50"),
    ("lossy compression of noisy images", codecs.compressed_noisy, (5.1, 8.2, 13.2, 21.9, 38.7), "sigma, grey levels"),
    ("colour quantization with dither", appearance.colour_quantization, (80, 40, 20, 8, 4), "colours"),
    ("chromatic aberration", appearance.chromatic_aberration, (32.9, 28.0, 25.0, 23.0, 21.0), "PSNR, dB"),
    ("sparse sampling and reconstruction", codecs.sparse_sampling, (33.0, 30.0, 27.0, 24.0, 21.0), "PSNR, dB"),
)

#: Number (1-24) -> `Distortion`.
DISTORTIONS = {
    number: Distortion(number, name, apply, strengths, unit)
    for number, (name, apply, strengths, unit) in enumerate(_TABLE, start=1)
}


def distort(image: Pixels, distortion: int, level: float, seed: int | Sequence[int] = 0) -> Pixels:
    """One distortion at one level.

    Args:
        image: uint8 RGB (H, W, 3), at least 48 in a side.
        distortion: its number in TID2013, 1-24.
        level: 1-5, or a number between and down to 0.5 (see `strength`).
        seed: an integer or a sequence of integers.

    Returns:
        A uint8 RGB array of the same shape.

    Raises:
        UsageError: for another number or level, or an image with a side below 48.
    """
    check_size(image)
    return find(distortion).apply(image, strength(distortion, level), np.random.default_rng(seed))


def check_size(image: Pixels) -> None:
    """Make sure that an image has room for every distortion.

    Raises:
        UsageError: if a side is below 48.
    """
    if min(image.shape[:2]) < SMALLEST:
        height, width = image.shape[:2]
        raise UsageError(f"{width}x{height} pixels are too few to distort: a side needs at least {SMALLEST}")


def strength(distortion: int, level: float) -> float:
    """The strength of a distortion at a level: interpolated between whole levels, extrapolated from 1 down to 0.5.

    Raises:
        UsageError: for a distortion outside 1-24 or a level outside 0.5-5.
    """
    strengths = find(distortion).strengths
    if not WEAKEST <= level <= STRONGEST:
        raise UsageError(f"level {level:g} is not within {WEAKEST:g}-{STRONGEST:g}")
    if level < 1:
        return float(strengths[0] + (level - 1) * (strengths[1] - strengths[0]))
    return float(np.interp(level, range(1, 6), strengths))


def check_levels(weakest: float, strongest: float) -> None:
    """Make sure that a range of levels rises and stays within 0.5-5.

    Raises:
        UsageError: if it does not.
    """
    if not WEAKEST <= weakest < strongest <= STRONGEST:
        raise UsageError(f"levels {weakest:g} to {strongest:g} do not rise within {WEAKEST:g}-{STRONGEST:g}")


# Types whose strength does not grow steadily with the level, or in whole numbers: only their five levels make sense.
_UNEVEN = (14, 15, 16, 17)


def random_levels(
    distortion: int, rng: np.random.Generator, weakest: float = WEAKEST, strongest: float = STRONGEST
) -> NDArray[np.float64]:
    """Four rising levels, float64 (4,): one from each quarter of the range; whole ones where no others make sense.

    Raises:
        UsageError: see `check_levels`.
    """
    check_levels(weakest, strongest)
    if distortion in _UNEVEN:
        return np.sort(rng.choice(np.arange(1, 6), 4, replace=False)).astype(float)
    edges = np.linspace(weakest, strongest, 5)
    return np.round(rng.uniform(edges[:-1], edges[1:]), 2)


def ladder(
    image: Pixels, distortion: int, levels: Sequence[float] = (1, 2, 3, 4, 5), seed: int | Sequence[int] = 0
) -> list[Pixels]:
    """The same picture at several levels of one distortion; see `distort`."""
    return [distort(image, distortion, level, seed) for level in levels]


#: What happens to photographs every day, from weak to strong: {name: (distortion, strengths, unit)}.
EVERYDAY: dict[str, tuple[int, tuple[float, ...], str]] = {
    "JPEG": (10, (90, 70, 50, 30, 15), "quality"),
    "blur": (8, (0.5, 1, 2, 4), "sigma"),
    "white noise": (1, (5, 10, 20, 40), "sigma"),
    "JPEG2000": (11, (36, 32, 28, 24), "dB"),
}


def everyday_ladders(image: Pixels, seed: int = 0) -> dict[str, list[tuple[str, Pixels]]]:
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


def find(distortion: int) -> Distortion:
    """A distortion by its number.

    Raises:
        UsageError: if there is none.
    """
    if distortion not in DISTORTIONS:
        raise UsageError(f"distortion {distortion} is not within 1-24")
    return DISTORTIONS[distortion]

"""The 24 distortions of TID2013, each at its five published strengths: distort(image, distortion=10, level=3).

TID2013 (Ponomarenko et al., Signal Processing: Image Communication 30, 2015) describes them in words. The strengths are
ours: with them the mean luma PSNR over four references is the published one, level by level. What is made is *re-made*
TID2013. The levels of one distortion start from the same seed: the same noise grows, the same blocks go.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from iqa.distortions import appearance, codecs
from iqa.distortions.appearance import Pixels
from iqa.errors import ImageError, UsageError
from iqa.images.reading import read_image

#: Levels between the published ones are interpolated; below the first they are extrapolated to here.
WEAKEST, STRONGEST = 0.5, 5.0

#: Pixels in a side that every distortion has room for.
SMALLEST = 48


@dataclass(frozen=True)
class Distortion:
    """One of the 24 types: its name, function (image, strength, rng) -> image of uint8 RGB (H, W, 3), strengths 1-5."""

    name: str
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, float, float, float, float]


#: {number: distortion}; the unit of the strengths stands with each function.
DISTORTIONS = {
    1: Distortion("additive Gaussian noise", appearance.additive_gaussian_noise, (5.71, 8.06, 11.4, 16.1, 22.7)),
    2: Distortion("noise stronger in colour", appearance.colour_noise, (1.96, 2.73, 3.84, 5.4, 7.66)),
    3: Distortion("spatially correlated noise", appearance.spatially_correlated_noise, (5.71, 8.06, 11.4, 16.1, 22.7)),
    4: Distortion("masked noise", appearance.masked_noise, (5.8, 8.35, 11.9, 16.8, 24.5)),
    5: Distortion("high-frequency noise", appearance.high_frequency_noise, (5.7, 8.05, 14.3, 25.8, 47.3)),
    6: Distortion("impulse noise", appearance.impulse_noise, (0.0018, 0.005, 0.0101, 0.0202, 0.04)),
    7: Distortion("quantization noise", appearance.quantization_noise, (19, 27, 39, 55, 76)),
    8: Distortion("Gaussian blur", appearance.gaussian_blur, (0.516, 0.688, 1.115, 2.01, 4.17)),
    9: Distortion("image denoising", appearance.denoising, (6.4, 9.4, 16.7, 34.9, 97.7)),
    10: Distortion("JPEG compression", codecs.jpeg, (80, 60, 23, 8, 4)),
    11: Distortion("JPEG2000 compression", codecs.jpeg2000, (33.0, 30.1, 27.1, 24.0, 21.0)),
    12: Distortion("JPEG transmission errors", codecs.jpeg_transmission_errors, (33.0, 30.2, 26.8, 24.0, 20.9)),
    13: Distortion("JPEG2000 transmission errors", codecs.jpeg2000_transmission_errors, (33.0, 30.1, 27.1, 24.0, 21.0)),
    14: Distortion("non-eccentricity pattern", appearance.non_eccentricity_pattern, (27, 53, 120, 174, 274)),
    15: Distortion("local block-wise distortion", appearance.local_blockwise, (10, 8, 6, 4, 2)),
    16: Distortion("mean shift", appearance.mean_shift, (-6, 10, -20, 30, -40)),
    17: Distortion("contrast change", appearance.contrast_change, (0.9, 1.2, 0.75, 1.45, 0.5)),
    18: Distortion("change of colour saturation", appearance.saturation_change, (0.71, 0.59, 0.42, 0.18, -0.15)),
    19: Distortion("multiplicative Gaussian noise", appearance.multiplicative_noise, (0.05, 0.07, 0.1, 0.14, 0.2)),
    20: Distortion("comfort noise", codecs.comfort_noise, (0.49, 0.93, 1.88, 4.0, 8.1)),
    21: Distortion("lossy compression of noisy images", codecs.compressed_noisy, (5.1, 8.2, 13.2, 21.9, 38.7)),
    22: Distortion("colour quantization with dither", appearance.colour_quantization, (80, 40, 20, 8, 4)),
    23: Distortion("chromatic aberration", appearance.chromatic_aberration, (32.9, 28.0, 25.0, 23.0, 21.0)),
    24: Distortion("sparse sampling and reconstruction", codecs.sparse_sampling, (33.0, 30.0, 27.0, 24.0, 21.0)),
}

HEIGHT, WIDTH = 384, 512

#: The numbers of the references I01-I24: exact crops of kodim01-24, whose places published errors tell. I25 is synthetic.
REFERENCES = range(1, 25)

#: Types whose strength does not grow steadily with the level, or in whole numbers: only their five levels make sense.
UNEVEN = (14, 15, 16, 17)


def distort(image: Pixels, distortion: int, level: float, seed: int | Sequence[int] = 0) -> Pixels:
    """One distortion (1-24) at one level, 1-5, between or down to 0.5, of a uint8 RGB image (H, W, 3).

    Raises a `UsageError` for another number or level, or an image with a side below 48.
    """
    if min(image.shape[:2]) < SMALLEST:
        height, width = image.shape[:2]
        raise UsageError(f"{width}x{height} pixels are too few to distort: a side needs at least {SMALLEST}")
    chosen = strength(distortion, level)
    return DISTORTIONS[distortion].apply(image, chosen, np.random.default_rng(seed))


def strength(distortion: int, level: float) -> float:
    """The strength of a distortion at a level: interpolated between whole levels, extrapolated from 1 down to 0.5."""
    if distortion not in DISTORTIONS:
        raise UsageError(f"distortion {distortion} is not within 1-24")
    if not WEAKEST <= level <= STRONGEST:
        raise UsageError(f"level {level:g} is not within {WEAKEST:g}-{STRONGEST:g}")
    strengths = DISTORTIONS[distortion].strengths
    if level < 1:
        return float(strengths[0] + (level - 1) * (strengths[1] - strengths[0]))
    return float(np.interp(level, range(1, 6), strengths))


def read_reference(folder: str | PathLike[str], number: int) -> Pixels | None:
    """The reference I<number>, uint8 (384, 512, 3); None if its kodim01.png ... kodim24.png is not in the folder.

    Raises an `ImageError` that names the Kodak image if that cannot be read or is too small.
    """
    file = Path(folder) / f"kodim{number:02d}.png"
    if not file.exists():
        return None
    crop = json.loads(Path(__file__).with_name("reference_crops.json").read_text())[f"I{number:02d}"]
    try:
        image = read_image(file)
    except ImageError as error:
        raise ImageError(f"{file}: {error}") from None
    reference = image[crop["top"] :, crop["left"] :][:HEIGHT, :WIDTH]
    if reference.shape != (HEIGHT, WIDTH, 3):
        height, width = image.shape[:2]
        raise ImageError(f"{file}: {width}x{height} pixels do not hold the {WIDTH}x{HEIGHT} of the reference")
    return reference

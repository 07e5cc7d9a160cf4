"""What happens to photographs every day: ladders of one picture, from weak to strong.

A photograph from the web has been a JPEG before. Shrunk to about half, its blocks and its noise are gone: it is better than
its noisy, compressed, shaken and dark versions. What a camera does wrong is computed in linear light.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from PIL import Image

from iqa.distortions.appearance import Pixels, additive_gaussian_noise, gaussian_blur, spatially_correlated_noise, to_uint8
from iqa.distortions.codecs import jpeg, jpeg2000
from iqa.images.colour import light_of_srgb

Apply = Callable[[Pixels, float, np.random.Generator], Pixels]

#: From weak to strong, to see whether a score falls: {name: (function, strengths, unit)}.
EVERYDAY: dict[str, tuple[Apply, tuple[float, ...], str]] = {
    "JPEG": (jpeg, (90, 70, 50, 30, 15), "quality"),
    "blur": (gaussian_blur, (0.5, 1, 2, 4), "sigma"),
    "white noise": (additive_gaussian_noise, (5, 10, 20, 40), "sigma"),
    "JPEG2000": (jpeg2000, (36, 32, 28, 24), "dB"),
}


def everyday_ladders(image: Pixels, seed: int = 0) -> dict[str, list[tuple[str, Pixels]]]:
    """{name of `EVERYDAY`: [(label, uint8 RGB array), ...]}; the first of each ladder is the photograph itself."""
    return {
        name: [("original", image)]
        + [(f"{unit} {value:g}", apply(image, value, np.random.default_rng(seed))) for value in strengths]
        for name, (apply, strengths, unit) in EVERYDAY.items()
    }


# Shares of the variance of a sensor's noise: shot noise grows with the light, read noise does not. By eye.
SHOT, READ = 0.6, 0.02

# Largest deviation, in pixels, of the Gaussian by which a camera smooths its noise, and the qualities of its JPEGs.
SMOOTHED, QUALITIES = 1.2, (75, 98)


def defocus(image: Pixels, radius: float, rng: np.random.Generator) -> Pixels:
    """Each point spread over a disc of `radius` pixels."""
    reach = int(np.ceil(radius))
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return _spread(image, np.clip(radius + 0.5 - np.hypot(down, right), 0, 1))


def motion(image: Pixels, length: float, rng: np.random.Generator) -> Pixels:
    """Each point spread along a line of `length` pixels, in a direction drawn from `rng`."""
    angle, reach = rng.uniform(0, np.pi), int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, 8 * reach + 1)
    edges = np.arange(-reach - 0.5, reach + 1)
    kernel, _, _ = np.histogram2d(along * np.sin(angle), along * np.cos(angle), bins=(edges, edges))
    return _spread(image, scipy.ndimage.gaussian_filter(kernel, 0.4))  # the line itself is about a pixel thick


def sensor_noise(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Noise, smoothed and compressed as cameras do; at light x its deviation is `strength` * sqrt(SHOT x + READ)."""
    smoothed, quality = rng.uniform(0, SMOOTHED), rng.uniform(*QUALITIES)
    field = scipy.ndimage.gaussian_filter(rng.normal(0, 1, image.shape), (smoothed, smoothed, 0))
    light = light_of_srgb(image / 255)
    noisy = _from_light(light + strength * np.sqrt(SHOT * light + READ) * field / field.std())
    return jpeg(noisy, quality, rng)


def _spread(image: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    reach = len(kernel) // 2
    light = np.pad(light_of_srgb(image / 255), ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return _from_light(scipy.signal.fftconvolve(light, (kernel / kernel.sum())[..., None], mode="valid", axes=(0, 1)))


def _from_light(light: NDArray[np.float64]) -> Pixels:  # the inverse of `light_of_srgb`
    share = np.clip(light, 0, 1)
    return to_uint8(255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055))


class Kind(NamedTuple):
    """A kind of ladder: its function, the strengths of its four steps from weak to strong, and TID2013's nearest number."""

    apply: Apply
    strengths: tuple[float, float, float, float]
    distortion: int


#: In "grain" the head has noise of its own, which a JPEG takes away; the picture itself is better all the same.
KINDS = {
    "noise": Kind(additive_gaussian_noise, (3, 6, 12, 24), 1),
    "JPEG": Kind(jpeg, (92, 80, 55, 25), 10),
    "blur": Kind(gaussian_blur, (0.45, 0.7, 1.2, 2.4), 8),
    "JPEG2000": Kind(jpeg2000, (38, 34, 30, 26), 11),
    "grain": Kind(jpeg, (92, 80, 55, 25), 21),
    "defocus": Kind(defocus, (0.8, 1.6, 3, 6), 8),
    "motion": Kind(motion, (2.5, 5, 10, 20), 8),
    "sensor": Kind(sensor_noise, (0.02, 0.05, 0.11, 0.25), 2),
}

# Each strength is drawn within this share of the one in the table, so that no step is learnt by heart.
JITTER = 0.15

# Standard deviation of grain in grey levels: about what ISO 400 to 1600 leaves in a photograph.
GRAIN = (1.5, 5.0)


def clean_ladder(picture: Pixels, kind: str, rng: np.random.Generator) -> list[Pixels]:
    """A clean picture and its four versions by one of `KINDS`, from weak to strong; "grain" adds grain to the first."""
    apply, strengths, _ = KINDS[kind]
    if kind == "grain":
        make = additive_gaussian_noise if rng.random() < 0.5 else spatially_correlated_noise
        picture = make(picture, rng.uniform(*GRAIN), rng)
    seed = int(rng.integers(2**32))  # the same noise grows
    near = []
    for strength in strengths:
        factor = 1 + rng.uniform(-JITTER, JITTER)
        if kind in ("JPEG", "grain"):  # a quality moves by its distance from 100, as its faults do
            near.append(100 - (100 - strength) * factor)
        else:  # decibels are a logarithm
            near.append(strength + rng.uniform(-1, 1) if kind == "JPEG2000" else strength * factor)
    return [picture, *(apply(picture, strength, np.random.default_rng(seed)) for strength in near)]


def shrink(picture: Pixels, scale: float, smallest: int) -> Pixels:
    """A picture made smaller by `scale`, at most 1, but no side below `smallest`: it loses the traces of its own JPEG."""
    height, width = picture.shape[:2]
    scale = max(scale, smallest / min(height, width))
    if scale >= 1:
        return picture
    size = max(smallest, round(width * scale)), max(smallest, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))

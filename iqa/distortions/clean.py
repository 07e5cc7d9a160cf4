"""Ladders whose head is a clean picture, by the distortions of every day: the network must learn what "clean" is.

TID2013 has no score for an untouched picture, and a photograph from the web has been a JPEG before. Shrunk to about half,
its blocks and its noise are gone: such a picture stands above its noisy and compressed versions without doubt. So it does
above what a camera makes of a scene that is out of focus, moves or is dark, of which TID2013 has nothing.

    steps = clean_ladder(pristine, "noise", rng)       # untouched, then sigma of about 3, 6, 12, 24

Pictures are uint8 RGB (H, W, 3), 0-255.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from iqa.distortions.appearance import gaussian_blur
from iqa.distortions.camera import defocus, motion, sensor_noise
from iqa.distortions.codecs import jpeg, jpeg2000
from iqa.distortions.noise import additive_gaussian_noise, spatially_correlated_noise
from iqa.distortions.signal import Pixels
from iqa.errors import UsageError


class Everyday(NamedTuple):
    """A kind of ladder: its function, the strengths of its four steps from weak to strong, and TID2013's nearest number."""

    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, float, float, float]
    distortion: int
    grain: bool = False  # the head is a picture with noise of its own, which compression takes away


#: Grain is a kind of its own: whoever takes it for a fault puts a JPEG, which smooths it, above the picture itself.
KINDS = {
    "noise": Everyday(additive_gaussian_noise, (3, 6, 12, 24), 1),
    "JPEG": Everyday(jpeg, (92, 80, 55, 25), 10),
    "blur": Everyday(gaussian_blur, (0.45, 0.7, 1.2, 2.4), 8),
    "JPEG2000": Everyday(jpeg2000, (38, 34, 30, 26), 11),
    "grain": Everyday(jpeg, (92, 80, 55, 25), 21, grain=True),
    "defocus": Everyday(defocus, (0.8, 1.6, 3, 6), 8),
    "motion": Everyday(motion, (2.5, 5, 10, 20), 8),
    "sensor": Everyday(sensor_noise, (0.02, 0.05, 0.11, 0.25), 2),
}

#: Each strength is drawn within this share of the one in the table, so that no step is learnt by heart.
JITTER = 0.15

#: Standard deviation of grain in grey levels: what ISO 400 to 1600 leaves in a photograph, about.
GRAIN = (1.5, 5.0)


def clean_ladder(picture: Pixels, kind: str, rng: np.random.Generator) -> list[Pixels]:
    """A picture and its four versions, from weak to strong.

    Args:
        picture: uint8 RGB (H, W, 3); clean, for every kind.
        kind: one of `KINDS`.

    Returns:
        Five pictures of the same shape; the first is the picture, with grain added for "grain".

    Raises:
        UsageError: for another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"a ladder is one of {', '.join(KINDS)}, not {kind}")
    apply, strengths, _, grain = KINDS[kind]
    if grain:
        make = additive_gaussian_noise if rng.random() < 0.5 else spatially_correlated_noise
        picture = make(picture, rng.uniform(*GRAIN), rng)
    seed = int(rng.integers(2**32))  # the same noise grows
    near = [_near(strength, kind, rng) for strength in strengths]
    return [picture, *(apply(picture, strength, np.random.default_rng(seed)) for strength in near)]


def _near(strength: float, kind: str, rng: np.random.Generator) -> float:
    """A strength within `JITTER` of one of the table; a quality moves by its distance from 100, as its faults do."""
    factor = 1 + rng.uniform(-JITTER, JITTER)
    if kind in ("JPEG", "grain"):
        return 100 - (100 - strength) * factor
    return strength + rng.uniform(-1, 1) if kind == "JPEG2000" else strength * factor  # decibels are a logarithm


def shrink(picture: Pixels, scale: float, smallest: int) -> Pixels:
    """A picture made smaller, with Lanczos' filter, by `scale` at most 1, but no side below `smallest` pixels."""
    height, width = picture.shape[:2]
    scale = max(scale, smallest / min(height, width))
    if scale >= 1:
        return picture
    size = max(smallest, round(width * scale)), max(smallest, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))

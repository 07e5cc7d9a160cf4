"""What a camera does wrong, as TID2013 does not have it: out of focus, moved, and the noise of its sensor.

Light adds up, grey levels do not: each is computed in linear light, so that highlights spread as they do in a photograph.
Each is a function (image, strength, rng) -> image of uint8 RGB arrays (H, W, 3), as in `iqa.distortions.table`.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from iqa.distortions.codecs import jpeg
from iqa.distortions.signal import Pixels, to_uint8
from iqa.images.colour import light_of_srgb

#: Shares of the variance of a sensor's noise: shot noise grows with the light, the noise of reading does not. By eye.
SHOT, READ = 0.6, 0.02

#: Largest deviation, in pixels, of the Gaussian by which the camera's own processing smooths its noise, and the range of
#: the qualities in which it writes JPEG.
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
    """Noise that grows with the light, smoothed a little and compressed, as cameras do.

    Args:
        strength: where light is x, of 0-1, the deviation is strength * sqrt(SHOT x + READ).
    """
    smoothed, quality = rng.uniform(0, SMOOTHED), rng.uniform(*QUALITIES)
    field = scipy.ndimage.gaussian_filter(rng.normal(0, 1, image.shape), (smoothed, smoothed, 0))
    light = light_of_srgb(image / 255)
    noisy = _from_light(light + strength * np.sqrt(SHOT * light + READ) * field / field.std())
    return jpeg(noisy, quality, rng)


def _spread(image: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    """The light convolved with a kernel of odd sides; the picture goes on as its mirror image."""
    reach = len(kernel) // 2
    light = np.pad(light_of_srgb(image / 255), ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    spread = scipy.signal.fftconvolve(light, (kernel / kernel.sum())[..., None], mode="valid", axes=(0, 1))
    return _from_light(spread)


def _from_light(light: NDArray[np.float64]) -> Pixels:
    """Grey levels of sRGB, the inverse of `light_of_srgb`; light beyond 0-1 is clipped."""
    share = np.clip(light, 0, 1)
    return to_uint8(255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055))

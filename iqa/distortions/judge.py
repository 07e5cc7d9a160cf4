"""What people would say of a distorted picture whose original is known: TID2013's scores, carried to other photographs.

    judge = Judge([Example("i07", 10, 3, features(reference, image), mos), ...])
    scores = judge.scores(10, [0.5, 2, 3.5, 5], [features(photograph, image) for image in ...])

Noise hides in foliage and shows in a sky, which the typical score of a distortion and level ignores. The judge corrects it
by how far a picture differs from its original, measured in eight ways and compared with what is usual for its distortion
and level. Its scores are good enough as labels to learn from, not as figures to publish.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from iqa.distortions.signal import LUMA, Pixels, Planes
from iqa.errors import LabelError

Floats = NDArray[np.float64]

LEVELS = np.arange(1, 6)

#: TID2013 published no scores of its references. Its best distorted images reach 6.5, and people prefer the reference.
UNTOUCHED_MOS = 6.5

#: Strength of the ridge. On scenes left out, 10 to 100 differ by 0.004 in LCC.
RIDGE = 30.0

# A window as in SSIM (Wang et al. 2004), and its two constants (0.01 * 255)^2 and (0.03 * 255)^2.
WINDOW, C1, C2 = 1.5, 6.5, 58.5


class Example(NamedTuple):
    """An image that people scored: scene ("i07"), distortion 1-24, level 1-5, float64 (8,), mean opinion score."""

    scene: str
    distortion: int
    level: int
    features: Floats
    mos: float


def features(reference: Pixels, image: Pixels) -> Floats:
    """How an image differs from its original, and how busy and colourful that is.

    Args:
        reference, image: uint8 RGB arrays (H, W, 3) of one shape.

    Returns:
        float64 (8,), each a logarithm: mean squared error of the luma; 1 - SSIM (Wang et al. 2004); spread and shortfall of
        the similarity of gradients (GMSD, Xue et al. 2014); error weighted by the original's local activity, which masks
        it; mean squared error of the chroma; local activity and mean squared chroma of the original.
    """
    colours, changed_colours = reference.astype(np.float64), image.astype(np.float64)
    luma, changed = colours @ LUMA, changed_colours @ LUMA
    chroma, changed_chroma = colours - luma[..., None], changed_colours - changed[..., None]
    mean, changed_mean = _smooth(luma), _smooth(changed)
    variance = np.maximum(_smooth(luma**2) - mean**2, 0)
    changed_variance = np.maximum(_smooth(changed**2) - changed_mean**2, 0)
    covariance = _smooth(luma * changed) - mean * changed_mean
    ssim = (2 * mean * changed_mean + C1) / (mean**2 + changed_mean**2 + C1)
    ssim *= (2 * covariance + C2) / (variance + changed_variance + C2)
    gradient, changed_gradient = _gradient(luma), _gradient(changed)
    similarity = (2 * gradient * changed_gradient + 150) / (gradient**2 + changed_gradient**2 + 150)
    error = (changed - luma) ** 2
    visible = 1 / (variance + 50)
    numbers = (
        (np.mean(error), 0.3),
        (1 - np.mean(ssim), 1e-3),
        (np.std(similarity), 1e-3),
        (1 - np.mean(similarity), 1e-3),
        (np.mean(_smooth(error, 1.0) * visible) / np.mean(visible), 0.1),
        (np.mean((changed_chroma - chroma) ** 2), 0.3),
        (np.exp(np.mean(np.log1p(np.sqrt(variance)))), 0),
        (np.mean(chroma**2), 1),
    )
    return np.array([np.log(max(number, 0) + floor) for number, floor in numbers])


def _smooth(plane: Planes, sigma: float = WINDOW) -> Planes:
    smooth: Planes = ndimage.gaussian_filter(plane, sigma)
    return smooth


def _gradient(plane: Planes) -> Planes:
    blurred = _smooth(plane, 0.7)
    gradient: Planes = np.hypot(ndimage.prewitt(blurred, 0), ndimage.prewitt(blurred, 1)) / 3
    return gradient


class Judge:
    """Scores distorted pictures by examples, by a ridge regression for each distortion.

    Args:
        examples: of every distortion that will be asked for, at all levels 1-5.

    Raises:
        LabelError: if a distortion has no example at one of the levels.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        numbers = sorted({example.distortion for example in examples})
        self._models = {
            number: _Ridge([example for example in examples if example.distortion == number]) for number in numbers
        }

    def scores(self, distortion: int, levels: ArrayLike, found: ArrayLike) -> Floats:
        """The scores of one picture at rising levels of a distortion that the examples have.

        Args:
            distortion: 1-24.
            levels: n rising numbers, above 0 and at most 5.
            found: `features` of each, (n, 8).

        Returns:
            float64 (n,), 0-9. Where the typical score falls from one level to the next, these do not rise.
        """
        model, levels = self._models[distortion], np.asarray(levels, np.float64)
        typical = np.interp(levels, [0, *LEVELS], [UNTOUCHED_MOS, *model.mos])
        # Below level 1 there are no examples: a correction that grows from nothing up to that of the next level.
        corrections = model.corrections(np.maximum(levels, 1), np.asarray(found))
        for step in range(len(levels) - 1, -1, -1):
            if levels[step] < 1:
                corrections[step] = levels[step] * (corrections[step + 1] if step + 1 < len(levels) else 0.0)
        scores = typical + corrections
        for step in range(1, len(scores)):
            if typical[step] <= typical[step - 1]:
                scores[step] = min(scores[step], scores[step - 1])
        return np.clip(scores, 0, 9)


class _Ridge:
    """Learns what is left of the scores, from what is left of the features, of their means at each level."""

    def __init__(self, examples: Sequence[Example]) -> None:
        levels = np.array([example.level for example in examples])
        found, mos = np.array([example.features for example in examples]), np.array([example.mos for example in examples])
        missing = set(LEVELS.tolist()) - set(levels.tolist())
        if missing:
            raise LabelError(f"no example of distortion {examples[0].distortion} at level {min(missing)} to judge by")
        self.features = np.array([found[levels == level].mean(axis=0) for level in LEVELS])
        self.mos = np.array([mos[levels == level].mean() for level in LEVELS])
        rest = found - self.features[levels - 1]
        self.lowest, self.highest, self.scale = rest.min(axis=0), rest.max(axis=0), rest.std(axis=0) + 0.05
        inputs = self._inputs(rest, levels)
        matrix = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
        self.weights = np.linalg.solve(matrix, inputs.T @ (mos - self.mos[levels - 1]))

    def _inputs(self, rest: Floats, levels: NDArray[Any]) -> Floats:
        return np.hstack([rest / self.scale, rest / self.scale * (levels[:, None] - 3) / 2])

    def corrections(self, levels: Floats, found: Floats) -> Floats:
        """What to add to the typical scores of pictures at levels of 1-5 by their `features`, (n, 8) -> (n,)."""
        usual = np.stack([np.interp(levels, LEVELS, column) for column in self.features.T], axis=1)
        rest = np.clip(found - usual, self.lowest, self.highest)  # what lies outside the examples counts as the outermost
        corrections: Floats = self._inputs(rest, levels) @ self.weights
        return corrections


def cross_validate(examples: Sequence[Example], parts: int = 6) -> tuple[Floats, Floats]:
    """How good a judge is: (mos, judged), float64 (N,) each, of scenes left out in `parts` groups one after the other."""
    rows = []
    for part in np.array_split(sorted({example.scene for example in examples}), parts):
        judge = Judge([example for example in examples if example.scene not in part])
        unseen = [example for example in examples if example.scene in part]
        rows += [(e.mos, judge.scores(e.distortion, [e.level], [e.features])[0]) for e in unseen]
    mos, judged = np.array(rows).T
    return mos, judged

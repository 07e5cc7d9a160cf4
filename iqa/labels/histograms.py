"""Opinion-score distributions: arrays (..., bins) of shares, whose bins have the centres 1, 2, ... bins."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from iqa.errors import LabelError

Floats = NDArray[np.float64]


def centres(bins: int) -> Floats:
    """The centres of `bins` bins: 1, 2, ... bins, float64 (bins,)."""
    return np.arange(1.0, bins + 1)


def normalise(histogram: ArrayLike) -> Floats:
    """Divide by the sum over the last axis; a `LabelError` if a histogram is negative anywhere, not finite, or empty."""
    shares = np.asarray(histogram, np.float64)
    total = shares.sum(axis=-1, keepdims=True)
    if not np.all(np.isfinite(shares)) or np.any(shares < 0) or np.any(total <= 0):
        raise LabelError("a histogram needs finite shares of 0 or more, and one above 0")
    return shares / total


def mean(histogram: ArrayLike) -> Floats:
    """The mean score, (...,)."""
    shares = np.asarray(histogram, np.float64)
    means: Floats = shares @ centres(shares.shape[-1])
    return means


def mean_scores(scores: ArrayLike) -> Floats:
    """The means of histograms (N, bins), or scores (N,) as they are: float64 (N,)."""
    scores = np.asarray(scores, np.float64)
    return mean(scores) if scores.ndim == 2 else scores


def std(histogram: ArrayLike) -> Floats:
    """The standard deviation of the scores, (...,), in units of the score."""
    shares = np.asarray(histogram, np.float64)
    deviation = centres(shares.shape[-1]) - mean(shares)[..., None]
    deviations: Floats = np.sqrt(np.sum(shares * deviation**2, axis=-1))
    return deviations


def rebin(shares: ArrayLike, values: ArrayLike, onto: ArrayLike) -> Floats:
    """Move shares (bins,) from `values` to other rising bin centres, `onto`: each goes to the two nearest and keeps its
    mean.
    """
    onto = np.asarray(onto, np.float64)
    # Column b of the identity, interpolated at the values, is what each of them gives to bin b.
    given = np.stack([np.interp(np.asarray(values, np.float64), onto, row) for row in np.eye(len(onto))], axis=-1)
    moved: Floats = np.asarray(shares, np.float64) @ given
    return moved


def normal_histogram(mos: ArrayLike, deviation: ArrayLike, values: Floats) -> Floats:
    """The normal distribution around mean scores, cut into bins around evenly spaced `values` (bins,): (..., bins).

    `mos` and `deviation` are (...,). Raises a `LabelError` if a deviation is not above 0, or a score lies so far outside
    that no bin gets a share.
    """
    width = values[1] - values[0]
    edges = np.concatenate([values - width / 2, values[-1:] + width / 2])
    mean, std = (np.asarray(x, np.float64)[..., None] for x in (mos, deviation))
    if not np.all(std > 0):
        raise LabelError("a standard deviation must be above 0")
    return normalise(np.diff(scipy.stats.norm.cdf(edges, mean, std), axis=-1))


@cache
def quantiles(of: str) -> NDArray[np.float64]:
    """The quantiles 0, 1 ... 100 % of the mean scores of AVA's test set, 25,548 photographs, float64 (101,).

    "rated" are those that people gave, "predicted" those of idealo's model, the teacher of the weights that ship.
    """
    return np.array(json.loads(Path(__file__).with_name("ava_quantiles.json").read_text(encoding="utf-8"))[of])


def percentile(mean: float, of: str = "predicted") -> float:
    """The percentage of AVA's photographs whose mean score, "predicted" or "rated" as in `quantiles`, is lower: 0-100.

    >>> round(percentile(5.4295))
    50
    """
    return float(np.interp(mean, quantiles(of), np.arange(101)))


class _Distribution(NamedTuple):
    mean: float
    std: float
    histogram: NDArray[np.float32]


class Score(_Distribution):
    """A distribution of votes, a tuple of three that can be unpacked: `mean, std, histogram = infer("photo.jpg")`.

    Attributes:
        mean: 1-10.
        std: the standard deviation of the votes.
        histogram: the shares of the votes 1-10, float32 (10,).
        population: whose scores the percentile compares with, "AVA"; None if the model has no percentiles.
    """

    population: str | None = None

    @property
    def percentile(self) -> float | None:
        """The percentage of AVA's photographs that score lower, 0-100; None if the model has no percentiles."""
        return percentile(self.mean) if self.population else None

    @classmethod
    def of(cls, histogram: NDArray[np.float32], population: str | None = None) -> "Score":
        """The score of a histogram, float32 (10,); for `population` see `iqa.cards.Scale`."""
        shares = histogram.astype(np.float64)
        score = cls(float(mean(shares)), float(std(shares)), histogram)
        score.population = population
        return score

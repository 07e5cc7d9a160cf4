"""Opinion-score distributions: normalise, moments, labels from a mean opinion score.

A histogram is an array (..., bins) of shares; its bins have centres, by default 1, 2, ... bins.
"""

import numpy as np
import scipy


def centres(bins, low=1.0, high=None):
    """The centres of `bins` bins, evenly spaced from `low` to `high` (default: `bins`), float64 (bins,)."""
    return np.linspace(low, bins if high is None else high, bins)


def normalise(histogram):
    """Divide by the sum over the last axis, so that the shares add to 1.

    Raises:
        ValueError: if a histogram is negative anywhere, not finite, or empty.
    """
    histogram = np.asarray(histogram, np.float64)
    total = histogram.sum(axis=-1, keepdims=True)
    if not np.all(np.isfinite(histogram)) or np.any(histogram < 0) or np.any(total <= 0):
        raise ValueError("a histogram needs finite shares of 0 or more, and one above 0")
    return histogram / total


def mean(histogram, values=None):
    """The mean score, (...,); `values` are the bin centres (default 1 ... bins).

    >>> float(mean([0, 0.5, 0.5, 0]))
    2.5
    """
    histogram = np.asarray(histogram, np.float64)
    return histogram @ (centres(histogram.shape[-1]) if values is None else np.asarray(values))


def mean_scores(scores):
    """Of histograms (N, bins) the means; scores (N,) as they are: float64 (N,)."""
    scores = np.asarray(scores, np.float64)
    return mean(scores) if scores.ndim == 2 else scores


def std(histogram, values=None):
    """The standard deviation of the scores, (...,), in units of the score."""
    histogram = np.asarray(histogram, np.float64)
    values = centres(histogram.shape[-1]) if values is None else np.asarray(values)
    deviation = values - mean(histogram, values)[..., None]
    return np.sqrt(np.sum(histogram * deviation**2, axis=-1))


def normal_histogram(mos, deviation, values):
    """The normal distribution of a mean opinion score, cut into bins around `values` and normalised.

    Args:
        mos: mean opinion scores, (...,).
        deviation: their standard deviations, above 0, (...,), in units of the score.
        values: evenly spaced bin centres, (bins,).

    Returns:
        float64 (..., bins).
    """
    width = values[1] - values[0]
    edges = np.concatenate([values - width / 2, values[-1:] + width / 2])
    mos, deviation = (np.asarray(x, np.float64)[..., None] for x in (mos, deviation))
    if np.any(deviation <= 0):
        raise ValueError("a standard deviation must be above 0")
    return normalise(np.diff(scipy.stats.norm.cdf(edges, mos, deviation), axis=-1))


def maximum_entropy_histogram(mos, values):
    """The histogram of greatest entropy that has a given mean: p_i proportional to exp(lambda v_i) (Jaynes 1957).

    Args:
        mos: the mean, strictly between the first and the last of `values`.
        values: bin centres, (bins,).

    Raises:
        ValueError: if no such histogram exists.
    """
    values = np.asarray(values, np.float64)
    if not values.min() < mos < values.max():
        raise ValueError(f"no histogram on {values.min():g}-{values.max():g} has the mean {mos:g} and entropy to choose")

    def excess(rate):
        return scipy.special.softmax(rate * values) @ values - mos

    limit = 1.0
    while excess(-limit) > 0 or excess(limit) < 0:
        limit *= 2
    return scipy.special.softmax(scipy.optimize.brentq(excess, -limit, limit, xtol=1e-14, rtol=1e-14) * values)

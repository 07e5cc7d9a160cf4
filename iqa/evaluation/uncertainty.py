"""How sure a figure is: intervals by resampling, Kendall's analytic one, and tests between models on the same images.

All resamples of one call are drawn from its seed: two models on the same images are resampled alike, so that the
difference of their replicates is that of a paired bootstrap (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

import numpy as np
import scipy

from iqa.evaluation.metrics import of_each_image
from iqa.labels import histograms as scores

#: Confidence of all intervals.
LEVEL = 0.95

#: Below so many scenes an interval from resampling them covers far less than it says.
FEWEST_SCENES = 20

_CHUNK = 25  # resamples at a time: of 25,000 images they take some 50 MB


def replicates(true, predicted, resamples=1000, groups=None, seed=0):
    """What each metric would have been with other images, drawn from these with replacement.

    Args:
        true, predicted: float (N,) scores, or (N, 10) histograms of votes 1-10.
        resamples: how often.
        groups: int (N,), the group of each image: whole groups are drawn, such as all 120 versions of a reference, which
            are not independent. None draws images.
        seed: of the draws.

    Returns:
        {name: float64 (resamples,)} with the names of `iqa.evaluation.metrics`: lcc, srcc, rmse, accuracy, score_difference_std, and
        for histograms binary_accuracy, lcc_std, srcc_std, emd_l1. NaN where a resample does not vary.
    """
    true, predicted = (np.asarray(side, np.float64) for side in (true, predicted))
    each = of_each_image(true, predicted)
    columns = each | {"square": each["difference"] ** 2}
    pairs = {"": [scores.mean_scores(side) for side in (true, predicted)]}
    if true.ndim == 2:
        pairs["_std"] = [scores.std(side) for side in (true, predicted)]
    for suffix, pair in pairs.items():
        t, p = (side - side.mean() for side in pair)
        columns |= {f"{name}{suffix}": value for name, value in zip(_SUMS, (t, p, t * t, p * p, t * p))}
    table = np.column_stack(list(columns.values()))
    ranked = {suffix: [_Ranks(side) for side in pair] for suffix, pair in pairs.items()}
    found = {}
    for counts in _draws(len(true), resamples, groups, seed):
        total = counts.sum(axis=1, keepdims=True)
        mean = dict(zip(columns, (counts @ table / total).T))
        results = {
            "rmse": np.sqrt(mean["square"]),
            "accuracy": mean["accuracy"],
            "score_difference_std": np.sqrt(np.maximum(mean["square"] - mean["difference"] ** 2, 0)),
        }
        results |= {name: mean[name] for name in ("binary_accuracy", "emd_l1") if name in mean}
        for suffix, ranks in ranked.items():
            results[f"lcc{suffix}"] = _pearson(*(mean[f"{name}{suffix}"] for name in _SUMS))
            first, second = (side.of(counts) - (total + 1) / 2 for side in ranks)
            products = ((first, first), (second, second), (first, second))
            results[f"srcc{suffix}"] = _pearson(0, 0, *(np.einsum("ij,ij,ij->i", counts, a, b) for a, b in products))
        for name, values in results.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


_SUMS = ("t", "p", "tt", "pp", "tp")


def _pearson(t, p, tt, pp, tp):
    variances = np.maximum(tt - t * t, 0) * np.maximum(pp - p * p, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variances > 0, (tp - t * p) / np.sqrt(variances), np.nan)


def _draws(number, resamples, groups, seed):
    """How often each image is drawn: float64 (up to _CHUNK, number), chunk by chunk."""
    rng = np.random.default_rng(seed)
    names, member = np.unique(np.arange(number) if groups is None else groups, return_inverse=True)
    for start in range(0, resamples, _CHUNK):
        drawn = rng.integers(len(names), size=(min(_CHUNK, resamples - start), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        yield counts[:, member].astype(np.float64)


class _Ranks:
    """The ranks of values in resamples of them, ties shared, from how often each was drawn: no sorting again."""

    def __init__(self, values):
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        new = np.r_[True, ordered[1:] != ordered[:-1]]
        self._starts, self._tied = np.flatnonzero(new), not new.all()
        self._place = np.empty(len(values), int)
        self._place[self._order] = np.cumsum(new) - 1

    def of(self, counts):
        ordered = counts[:, self._order]
        drawn = np.add.reduceat(ordered, self._starts, axis=1) if self._tied else ordered
        return (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, self._place]


def units_of(scenes):
    """What a bootstrap of these images has to draw: images where each is a scene of its own, else whole scenes.

    Args:
        scenes: N names, of the scene that each image shows; None if no two show the same.

    Returns:
        (groups, what): groups as `replicates` takes them and what they are in words. Of fewer than `FEWEST_SCENES` the
        images are drawn, and what comes out holds for these scenes alone.
    """
    if scenes is None or len(set(scenes)) == len(scenes):
        return None, "images"
    names, groups = np.unique(scenes, return_inverse=True)
    if len(names) < FEWEST_SCENES:
        return None, f"images: for these {len(names)} scenes only"
    return groups, f"the {len(names)} scenes"


def interval(values, level=LEVEL):
    """The percentile interval of replicates: (lower, upper); NaN among them are left out."""
    return tuple(np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist())


def kendall_interval(true, predicted, level=LEVEL):
    """(tau-b, lower, upper): Kendall's rank correlation with its asymptotic interval.

    The variance is that of a U-statistic (Hoeffding 1948): 4/n times the variance over images of the share of pairs, of
    those that the image is in, that are concordant less those that are discordant.

    Args:
        true, predicted: float (N,).
    """
    true, predicted = (np.asarray(side, np.float64) for side in (true, predicted))
    number = len(true)
    excess = sum(
        sign * _dominated(a * true, b * predicted) for a, b, sign in ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1))
    )
    pairs = number * (number - 1) / 2
    untied = [pairs - sum(c * (c - 1) / 2 for c in np.unique(side, return_counts=True)[1]) for side in (true, predicted)]
    scale = pairs / np.sqrt(untied[0] * untied[1])
    share = excess / (number - 1)
    tau = scale * share.mean()
    deviation = scale * 2 * share.std(ddof=1) / np.sqrt(number)
    reach = scipy.special.ndtri((1 + level) / 2) * deviation
    return float(tau), float(max(-1, tau - reach)), float(min(1, tau + reach))


def _dominated(x, y, block=512):
    """For each point how many others are smaller in both: int (N,)."""
    order = np.lexsort((-y, x))  # equal x: larger y first, so that what precedes with a smaller y has a smaller x
    y = y[order]
    found, before = np.empty(len(y), int), np.empty(0)
    for start in range(0, len(y), block):
        part = y[start : start + block]
        within = np.tril(part[None, :] < part[:, None], -1).sum(axis=1)
        found[order[start : start + block]] = np.searchsorted(before, part, "left") + within
        before = np.sort(np.concatenate([before, part]), kind="stable")
    return found


def williams_test(true, first, second, correlation=None):
    """Do two models correlate differently with the same labels? Williams' t as Steiger recommends it.

    Steiger, "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87(2), 1980, eq. 7.

    Args:
        true, first, second: float (N,), N above 3.
        correlation: function (a, b) -> r; default Pearson's.

    Returns:
        (t, p): t is positive where `first` correlates more strongly, p is two-sided. (0, 1) for equal predictions.
    """
    correlation = correlation or (lambda a, b: scipy.stats.pearsonr(a, b)[0])
    number = len(true)
    r12, r13, r23 = correlation(true, first), correlation(true, second), correlation(first, second)
    determinant = max(0.0, 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23)
    mean = (r12 + r13) / 2
    divisor = 2 * (number - 1) / (number - 3) * determinant + mean**2 * max(0.0, 1 - r23) ** 3
    if divisor == 0 or np.array_equal(first, second):
        return 0.0, 1.0
    t = (r12 - r13) * np.sqrt((number - 1) * (1 + r23) / divisor)
    return float(t), float(2 * scipy.stats.t.sf(abs(t), number - 3))


def logistic_mapped(true, predicted):
    """Predictions mapped onto the labels by VQEG's four-parameter logistic, which is fitted to them: float (N,).

    (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2; Video Quality Experts Group, final report on the validation of objective
    models of video quality assessment, phase II, 2003. The LCC after it forgives a monotone scale, and is higher.

    Raises:
        ValueError: if the fit does not converge.
    """
    true, predicted = (np.asarray(side, np.float64) for side in (true, predicted))

    def logistic(x, b1, b2, b3, b4):
        return (b1 - b2) * scipy.special.expit((x - b3) / (abs(b4) + 1e-12)) + b2

    start = (true.max(), true.min(), predicted.mean(), predicted.std() / 4 + 1e-6)
    try:
        fitted, _ = scipy.optimize.curve_fit(logistic, predicted, true, start, maxfev=20_000)
    except RuntimeError:
        raise ValueError("the logistic cannot be fitted to these predictions") from None
    return logistic(predicted, *fitted)

"""Agreement of predicted scores with people's, and how sure it is: intervals by resampling, Kendall's analytic one.

Two models on the same images are resampled alike: the difference of their resampled figures is that of a paired bootstrap.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from iqa.errors import PredictionsError
from iqa.files import finite
from iqa.labels import histograms

# A mean within this of an integer counts as that integer: labels do lie on integers, and rounding moves the last digit.
NEAR = 1e-9

# Where scores count as good (5 of 10), the class border of the binary accuracy.
BORDER = 5

# Numbers that differ by less than this share of the largest are one number, and have no correlation with anything.
FLAT = 1e-11

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Results of `measure_agreement`.

    Attributes:
        n: images.
        confusion_matrix: int64 (10, 10), rows predicted, columns true.
        accuracy: mean of 1 - |predicted - true| / true over the `accuracy_n` images whose label is above 0; NaN if there
            are none.
        accuracy_n: images that the accuracy is defined for.
        score_difference_std: standard deviation of |predicted - true|, in units of the score.
        lcc, srcc: (coefficient, p value) of Pearson's and Spearman's correlation; NaN if a side does not vary.
        krcc: Kendall's tau-b and its p value; the same.
        rmse: root mean squared difference, in units of the score.
        binary_accuracy: of histograms alone, as what follows: mean of floor(predicted / 5) = floor(true / 5).
        lcc_std, srcc_std: as lcc and srcc, of the standard deviations.
        emd_l1: mean over images and bins of |CDF difference|.
    """

    n: int
    confusion_matrix: NDArray[np.int64]
    accuracy: float
    accuracy_n: int
    score_difference_std: float
    lcc: tuple[float, float]
    srcc: tuple[float, float]
    krcc: tuple[float, float]
    rmse: float
    binary_accuracy: float | None = None
    lcc_std: tuple[float, float] | None = None
    srcc_std: tuple[float, float] | None = None
    emd_l1: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The metrics without p values, None where one is not defined; `accuracy_n` only if it is below `n`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: value[0] for name, value in values.items() if isinstance(value, tuple)}
        values["confusion_matrix"] = self.confusion_matrix.tolist()
        if self.accuracy_n == self.n:
            del values["accuracy_n"]
        found: dict[str, Any] = finite({name: value for name, value in values.items() if value is not None})
        return found


def measure_agreement(true: ArrayLike, predicted: ArrayLike, lowest: int = 0) -> Agreement:
    """Compare predicted mean scores with true ones, both float (N,).

    `lowest` is the lower edge of the first of ten bins of width 1: 0 for TID2013 (0-9), 1 for AVA (1-10). Raises a
    `ValueError` if the lengths differ, and a `PredictionsError` for fewer than two images or a score that is not finite.
    """
    true, predicted = np.asarray(true, np.float64).ravel(), np.asarray(predicted, np.float64).ravel()
    if true.shape != predicted.shape:
        raise ValueError(f"{len(predicted)} predictions for {len(true)} labels")
    if len(true) < 2:
        raise PredictionsError(f"metrics need at least two images, got {len(true)}")
    if not np.all(np.isfinite(true)) or not np.all(np.isfinite(predicted)):
        raise PredictionsError("metrics need finite scores; a label or a prediction is NaN or infinite")
    each = measure_images(true, predicted)
    accuracies = each["accuracy"][np.isfinite(each["accuracy"])]
    return Agreement(
        n=len(true),
        confusion_matrix=count_confusions(true, predicted, lowest),
        accuracy=float(np.mean(accuracies)) if len(accuracies) else float("nan"),
        accuracy_n=len(accuracies),
        score_difference_std=float(np.std(each["difference"])),
        lcc=_correlate(stats.pearsonr, true, predicted),
        srcc=_correlate(stats.spearmanr, true, predicted),
        krcc=_correlate(stats.kendalltau, true, predicted),
        rmse=float(np.sqrt(np.mean(each["difference"] ** 2))),
    )


def measure_distribution_agreement(true: ArrayLike, predicted: ArrayLike) -> Agreement:
    """`measure_agreement` of histograms of votes 1-10, float (N, 10), shares that add to 1; a `ValueError` for other
    shapes.
    """
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if true.ndim != 2 or true.shape[1] != 10 or true.shape != predicted.shape:
        raise ValueError(f"histograms of shapes {true.shape} and {predicted.shape} instead of (N, 10)")
    of_means = measure_agreement(histograms.mean(true), histograms.mean(predicted), lowest=1)
    stds = histograms.std(true), histograms.std(predicted)
    each = measure_images(true, predicted)
    return replace(
        of_means,
        binary_accuracy=float(np.mean(each["binary_accuracy"])),
        lcc_std=_correlate(stats.pearsonr, *stds),
        srcc_std=_correlate(stats.spearmanr, *stds),
        emd_l1=float(np.mean(each["emd_l1"])),
    )


def measure_images(true: Floats, predicted: Floats) -> dict[str, Floats]:
    """What the metrics are means of: {name: float64 (N,)} of scores (N,) or histograms (N, 10).

    difference is |predicted - true| of the means; accuracy is 1 - difference / true, NaN for a label that is not above 0;
    of histograms, binary_accuracy is 1 where both means are on one side of `BORDER`, emd_l1 the mean |CDF difference|.
    """
    true_means, predicted_means = histograms.mean_scores(true), histograms.mean_scores(predicted)
    difference = np.abs(predicted_means - true_means)
    accuracy = np.full(len(difference), np.nan)
    np.divide(difference, true_means, out=accuracy, where=true_means > 0)
    each = {"difference": difference, "accuracy": 1 - accuracy}
    if true.ndim == 2:
        same = np.floor(true_means / BORDER + NEAR) == np.floor(predicted_means / BORDER + NEAR)
        each["binary_accuracy"] = same.astype(np.float64)
        each["emd_l1"] = np.mean(np.abs(np.cumsum(true, axis=1) - np.cumsum(predicted, axis=1)), axis=1)
    return each


def correlate(true: Floats, predicted: Floats) -> tuple[float, float]:
    """(LCC, SRCC) alone, of float (N,) arrays; NaN where a side does not vary."""
    return _correlate(stats.pearsonr, true, predicted)[0], _correlate(stats.spearmanr, true, predicted)[0]


def varies(values: Floats) -> bool:
    """Whether numbers differ by more than rounding does."""
    return len(values) > 1 and bool(np.ptp(values) > FLAT * np.max(np.abs(values)))


def _correlate(function: Callable[[Floats, Floats], Any], true: Floats, predicted: Floats) -> tuple[float, float]:
    if not varies(true) or not varies(predicted):
        return float("nan"), float("nan")
    result = function(true, predicted)
    return float(result.statistic), float(result.pvalue)


def count_confusions(true: ArrayLike, predicted: ArrayLike, lowest: int = 0) -> NDArray[np.int64]:
    """Counts by whole scores, int64 (10, 10): rows predicted, columns true; what lies outside goes to the edge bins."""
    rows, columns = (np.clip(np.floor(np.asarray(side) + NEAR) - lowest, 0, 9).astype(int) for side in (predicted, true))
    return np.bincount(10 * rows + columns, minlength=100).reshape(10, 10)


LEVEL = 0.95  # confidence of all intervals
FEWEST_SCENES = 20  # an interval from resampling fewer covers far less than it says

_CHUNK = 25  # resamples at a time: of 25,000 images they take some 50 MB
_SUMS = ("t", "p", "tt", "pp", "tp")


def resample_metrics(
    true: ArrayLike, predicted: ArrayLike, resamples: int = 1000, groups: ArrayLike | None = None, seed: int = 0
) -> dict[str, Floats]:
    """What each metric would have been with other images, drawn from these with replacement, {name: float64 (resamples,)}.

    The names are those of `Agreement`, krcc excepted; NaN where a resample does not vary. The percentile
    bootstrap: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993.

    Args:
        true, predicted: float (N,) scores, or (N, 10) histograms of votes 1-10.
        resamples, seed: how often, and of the draws.
        groups: int (N,), the group of each image: whole groups are drawn, such as all 120 versions of a reference, which
            are not independent. None draws images.
    """
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    pairs = {"": (histograms.mean_scores(true), histograms.mean_scores(predicted))}
    if true.ndim == 2:
        pairs["_std"] = (histograms.std(true), histograms.std(predicted))
    # Every metric but SRCC is computed from means over the images of a resample, of these columns (N,).
    columns = measure_images(true, predicted)
    rated = np.isfinite(columns["accuracy"])
    columns["accuracy"] = np.where(rated, columns["accuracy"], 0)
    columns |= {"rated": rated.astype(np.float64), "square": columns["difference"] ** 2}
    for suffix, pair in pairs.items():
        t, p = (side - side.mean() for side in pair)
        columns |= {f"{name}{suffix}": value for name, value in zip(_SUMS, (t, p, t * t, p * p, t * p), strict=True)}
    table = np.column_stack(list(columns.values()))
    ranked = {suffix: [_Ranks(side) for side in pair] for suffix, pair in pairs.items() if all(map(varies, pair))}
    found: dict[str, list[Floats]] = {}
    for counts in _draw_counts(len(true), resamples, groups, seed):
        total = counts.sum(axis=1, keepdims=True)
        means = dict(zip(columns, (counts @ table / total).T, strict=True))
        with np.errstate(invalid="ignore"):  # a resample in which no image has an accuracy
            results = {"accuracy": means["accuracy"] / means["rated"], "rmse": np.sqrt(means["square"])}
        results["score_difference_std"] = np.sqrt(np.maximum(means["square"] - means["difference"] ** 2, 0))
        results |= {name: means[name] for name in ("binary_accuracy", "emd_l1") if name in means}
        for suffix in pairs:
            results[f"lcc{suffix}"] = results[f"srcc{suffix}"] = np.full(len(counts), np.nan)
            if suffix in ranked:
                results[f"lcc{suffix}"] = _pearson(*(means[f"{name}{suffix}"] for name in _SUMS))
                first, second = (side.rank(counts) - (total + 1) / 2 for side in ranked[suffix])
                products = ((first, first), (second, second), (first, second))
                results[f"srcc{suffix}"] = _pearson(0, 0, *(np.einsum("ij,ij,ij->i", counts, a, b) for a, b in products))
        for name, values in results.items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _pearson(t: Floats | int, p: Floats | int, tt: Floats, pp: Floats, tp: Floats) -> Floats:  # of means, centred
    first, second = tt - t * t, pp - p * p
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((first > FLAT * tt) & (second > FLAT * pp), (tp - t * p) / np.sqrt(first * second), np.nan)


def _draw_counts(number: int, resamples: int, groups: ArrayLike | None, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    names, member = np.unique(np.arange(number) if groups is None else groups, return_inverse=True)
    for start in range(0, resamples, _CHUNK):
        drawn = rng.integers(len(names), size=(min(_CHUNK, resamples - start), len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
        yield counts[:, member].astype(np.float64)


class _Ranks:
    """The ranks of values in resamples of them, ties shared, from how often each was drawn, without sorting again."""

    def __init__(self, values: Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        new = np.r_[True, ordered[1:] != ordered[:-1]]
        self._starts, self._tied = np.flatnonzero(new), not new.all()
        self._place = np.empty(len(values), int)
        self._place[self._order] = np.cumsum(new) - 1

    def rank(self, counts: Floats) -> Floats:
        ordered = counts[:, self._order]
        drawn = np.add.reduceat(ordered, self._starts, axis=1) if self._tied else ordered
        ranks: Floats = (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, self._place]
        return ranks


def group_scenes(scenes: Sequence[str] | None) -> tuple[NDArray[np.intp] | None, str]:
    """What a bootstrap draws, (groups as `resample_metrics` takes them, the same in words): whole scenes, if any repeat.

    `scenes` are N names, of the scene that each image shows, or None. Of fewer than `FEWEST_SCENES` scenes the images are
    drawn, and the result holds for these scenes alone.
    """
    if scenes is None or len(set(scenes)) == len(scenes):
        return None, "images"
    names, groups = np.unique(scenes, return_inverse=True)
    if len(names) < FEWEST_SCENES:
        return None, f"images: for these {len(names)} scenes only"
    return groups, f"the {len(names)} scenes"


def estimate_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of resampled figures: (lower, upper). NaN among them are left out; NaN if all are."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate_kendall(true: ArrayLike, predicted: ArrayLike, level: float = LEVEL) -> tuple[float, float, float]:
    """(tau-b, lower, upper): Kendall's rank correlation with its asymptotic interval; NaN if a side does not vary.

    The variance is that of a U-statistic (Hoeffding 1948): 4/n times the variance over images of the share of its pairs
    that are concordant less those that are discordant.
    """
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if not varies(true) or not varies(predicted):
        return float("nan"), float("nan"), float("nan")
    number = len(true)
    excess = np.zeros(number)
    for a, b, sign in ((1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)):
        excess += sign * _count_dominated(a * true, b * predicted)
    pairs = number * (number - 1) / 2
    untied = [pairs - sum(c * (c - 1) / 2 for c in np.unique(side, return_counts=True)[1]) for side in (true, predicted)]
    scale = pairs / np.sqrt(untied[0] * untied[1])
    share = excess / (number - 1)
    tau = scale * share.mean()
    deviation = scale * 2 * share.std(ddof=1) / np.sqrt(number)
    reach = scipy.special.ndtri((1 + level) / 2) * deviation
    return float(tau), float(max(-1, tau - reach)), float(min(1, tau + reach))


def _count_dominated(x: Floats, y: Floats, block: int = 512) -> NDArray[np.int_]:  # points that are smaller in both
    order = np.lexsort((-y, x))  # equal x: larger y first, so that what precedes with a smaller y has a smaller x
    y = y[order]
    found, before = np.empty(len(y), int), np.empty(0)
    for start in range(0, len(y), block):
        part = y[start : start + block]
        within = np.tril(part[None, :] < part[:, None], -1).sum(axis=1)
        found[order[start : start + block]] = np.searchsorted(before, part, "left") + within
        before = np.sort(np.concatenate([before, part]), kind="stable")
    return found


def map_logistically(true: ArrayLike, predicted: ArrayLike) -> Floats:
    """Predictions mapped onto the labels by VQEG's four-parameter logistic, which is fitted to them: float (N,).

    (b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2; Video Quality Experts Group, final report, phase II, 2003. Raises a
    `PredictionsError` if there are fewer than four images or the fit does not converge.
    """
    true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if len(true) < 4:
        raise PredictionsError(f"the logistic has four parameters and needs four images or more, got {len(true)}")

    def logistic(x: Floats, b1: float, b2: float, b3: float, b4: float) -> Floats:
        curve: Floats = (b1 - b2) * scipy.special.expit((x - b3) / (abs(b4) + 1e-12)) + b2
        return curve

    start = (true.max(), true.min(), predicted.mean(), predicted.std() / 4 + 1e-6)
    try:
        with warnings.catch_warnings(action="ignore"):  # of a covariance that nobody asks for
            fitted, _ = scipy.optimize.curve_fit(logistic, predicted, true, start, maxfev=20_000)
    except RuntimeError:
        raise PredictionsError("the logistic cannot be fitted to these predictions") from None
    return logistic(predicted, *fitted)

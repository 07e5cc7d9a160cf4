"""Agreement of predicted scores with people's: one function, one dataclass of results."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
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

"""Agreement of predicted scores with people's: one function, one dataclass of results."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

# A mean within this of an integer counts as that integer: labels do lie on integers, and the linear algebra library
# moves the last digit of a mean.
NEAR = 1e-9

# Where scores count as good (5 of 10), the class border of the binary accuracy.
BORDER = 5


@dataclass(frozen=True)
class Agreement:
    """Results of `agreement`.

    Attributes:
        n: images.
        confusion_matrix: int64 (10, 10), rows predicted, columns true.
        accuracy: mean of 1 - |predicted - true| / true.
        score_difference_std: standard deviation of |predicted - true|, in units of the score.
        lcc, srcc: (coefficient, p value) of Pearson's and Spearman's correlation.
        krcc: Kendall's tau-b and its p value.
        rmse: root mean squared difference, in units of the score.
    """

    n: int
    confusion_matrix: np.ndarray
    accuracy: float
    score_difference_std: float
    lcc: tuple[float, float]
    srcc: tuple[float, float]
    krcc: tuple[float, float]
    rmse: float

    def as_json(self):
        """A dict for `json.dump`: the correlations without their p values."""
        values = asdict(self)
        values["confusion_matrix"] = self.confusion_matrix.tolist()
        return values | {name: values[name][0] for name in ("lcc", "srcc", "krcc")}


def agreement(true, predicted, lowest=0):
    """Compare predicted mean scores with true ones.

    Args:
        true, predicted: float (N,), N of at least 2; true scores above 0.
        lowest: the lower edge of the first of ten bins of width 1; 0 for TID2013 (0-9), 1 for AVA (1-10).

    Returns:
        An `Agreement`. Correlations of a side that does not vary are NaN.

    Raises:
        ValueError: if the lengths differ, there are fewer than two images, or a score is not finite.
    """
    true, predicted = (np.asarray(scores, np.float64).ravel() for scores in (true, predicted))
    if true.shape != predicted.shape:
        raise ValueError(f"{len(predicted)} predictions for {len(true)} labels")
    if len(true) < 2 or not np.all(np.isfinite(true)) or not np.all(np.isfinite(predicted)):
        raise ValueError("metrics need the finite scores of at least two images")
    difference = np.abs(predicted - true)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy = float(np.mean(1 - difference / true))
    return Agreement(
        n=len(true),
        confusion_matrix=confusion_matrix(true, predicted, lowest),
        accuracy=accuracy,
        score_difference_std=float(np.std(difference)),
        lcc=_correlation(stats.pearsonr, true, predicted),
        srcc=_correlation(stats.spearmanr, true, predicted),
        krcc=_correlation(stats.kendalltau, true, predicted),
        rmse=float(np.sqrt(np.mean(difference**2))),
    )


def correlations(true, predicted):
    """(LCC, SRCC) alone, of float (N,) arrays; NaN where a side does not vary."""
    return tuple(_correlation(function, true, predicted)[0] for function in (stats.pearsonr, stats.spearmanr))


def _correlation(function, true, predicted):
    if np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return float("nan"), float("nan")
    result = function(true, predicted)
    return float(result.statistic), float(result.pvalue)


def confusion_matrix(true, predicted, lowest=0):
    """Counts by whole scores, int64 (10, 10): rows predicted, columns true; what lies outside goes to the edge bins."""
    rows, columns = (
        np.clip(np.floor(np.asarray(scores) + NEAR).astype(int) - lowest, 0, 9) for scores in (predicted, true)
    )
    matrix = np.zeros((10, 10), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    return matrix


def ordered_share(scores):
    """The share of neighbouring pairs in falling order.

    Args:
        scores: float (ladders, steps), each ladder from the best image to the worst.
    """
    return float(np.mean(np.diff(np.asarray(scores), axis=1) < 0))

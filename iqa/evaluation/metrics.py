"""Agreement of predicted scores with people's: one function, one dataclass of results."""

from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy import stats

from iqa.labels import histograms as scores

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
        return {name: value[0] if isinstance(value, tuple) else value for name, value in values.items()}


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
    true, predicted = (np.asarray(side, np.float64).ravel() for side in (true, predicted))
    if true.shape != predicted.shape:
        raise ValueError(f"{len(predicted)} predictions for {len(true)} labels")
    if len(true) < 2 or not np.all(np.isfinite(true)) or not np.all(np.isfinite(predicted)):
        raise ValueError("metrics need the finite scores of at least two images")
    each = of_each_image(true, predicted)
    return Agreement(
        n=len(true),
        confusion_matrix=confusion_matrix(true, predicted, lowest),
        accuracy=float(np.mean(each["accuracy"])),
        score_difference_std=float(np.std(each["difference"])),
        lcc=_correlation(stats.pearsonr, true, predicted),
        srcc=_correlation(stats.spearmanr, true, predicted),
        krcc=_correlation(stats.kendalltau, true, predicted),
        rmse=float(np.sqrt(np.mean(each["difference"] ** 2))),
    )


@dataclass(frozen=True)
class DistributionAgreement(Agreement):
    """Results of `distribution_agreement`: those of the mean scores, and

    Attributes:
        binary_accuracy: mean of floor(predicted / 5) = floor(true / 5).
        lcc_std, srcc_std: as lcc and srcc, of the standard deviations.
        emd_l1: mean over images and bins of |CDF difference|.
    """

    binary_accuracy: float
    lcc_std: tuple[float, float]
    srcc_std: tuple[float, float]
    emd_l1: float


def distribution_agreement(true, predicted):
    """Compare predicted histograms of votes 1-10 with true ones.

    Args:
        true, predicted: float (N, 10), shares that add to 1.

    Returns:
        A `DistributionAgreement`.

    Raises:
        ValueError: as `agreement`, or if the shapes are not (N, 10).
    """
    true, predicted = (np.asarray(histograms, np.float64) for histograms in (true, predicted))
    if true.ndim != 2 or true.shape[1] != 10 or true.shape != predicted.shape:
        raise ValueError(f"histograms of shapes {true.shape} and {predicted.shape} instead of (N, 10)")
    means = [scores.mean(histograms) for histograms in (true, predicted)]
    stds = [scores.std(histograms) for histograms in (true, predicted)]
    each = of_each_image(true, predicted)
    of_means = agreement(*means, lowest=1)
    return DistributionAgreement(
        **{field.name: getattr(of_means, field.name) for field in fields(of_means)},
        binary_accuracy=float(np.mean(each["binary_accuracy"])),
        lcc_std=_correlation(stats.pearsonr, *stds),
        srcc_std=_correlation(stats.spearmanr, *stds),
        emd_l1=float(np.mean(each["emd_l1"])),
    )


def of_each_image(true, predicted):
    """What the metrics are made from, for each image.

    Args:
        true, predicted: float64 (N,) scores, or (N, 10) histograms.

    Returns:
        {name: float64 (N,)}: difference, |predicted - true| of the mean scores; accuracy, 1 - difference / true; of
        histograms also binary_accuracy, 1 where both means are on one side of `BORDER`, and emd_l1, the mean over bins of
        |CDF difference|.
    """
    means = [scores.mean_scores(side) for side in (true, predicted)]
    difference = np.abs(means[1] - means[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        each = {"difference": difference, "accuracy": 1 - difference / means[0]}
    if np.ndim(true) == 2:
        sides = [np.floor(side / BORDER + NEAR) for side in means]
        each["binary_accuracy"] = (sides[0] == sides[1]).astype(float)
        each["emd_l1"] = np.mean(np.abs(np.cumsum(true, axis=1) - np.cumsum(predicted, axis=1)), axis=1)
    return each


def correlations(true, predicted):
    """(LCC, SRCC) alone, of float (N,) arrays; NaN where a side does not vary."""
    return tuple(_correlation(function, true, predicted)[0] for function in (stats.pearsonr, stats.spearmanr))


def _correlation(function, true, predicted):
    if len(true) < 2 or np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return float("nan"), float("nan")
    result = function(true, predicted)
    return float(result.statistic), float(result.pvalue)


def confusion_matrix(true, predicted, lowest=0):
    """Counts by whole scores, int64 (10, 10): rows predicted, columns true; what lies outside goes to the edge bins."""
    rows, columns = (np.clip(np.floor(np.asarray(side) + NEAR).astype(int) - lowest, 0, 9) for side in (predicted, true))
    matrix = np.zeros((10, 10), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    return matrix


def ordered_share(ladders):
    """The share of neighbouring pairs in falling order.

    Args:
        ladders: float (ladders, steps), each ladder from the best image to the worst.
    """
    return float(np.mean(np.diff(np.asarray(ladders), axis=1) < 0))

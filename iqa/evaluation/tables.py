"""The printed tables: the lines of the original's README in its words, and below them how sure the figures are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iqa.evaluation.metrics import (
    Agreement,
    estimate_interval,
    estimate_kendall,
    group_scenes,
    map_logistically,
    measure_agreement,
    resample_metrics,
)
from iqa.labels.histograms import mean_scores

#: The names under which the tables show the metrics.
TITLES = {
    "accuracy": "accuracy",
    "binary_accuracy": "Binary accuracy",
    "score_difference_std": "standard deviation of score differences",
    "lcc": "LCC",
    "srcc": "SRCC",
    "krcc": "KRCC",
    "rmse": "RMSE",
    "lcc_std": "LCC (std dev)",
    "srcc_std": "SRCC (std dev)",
    "emd_l1": "EMD L1",
}


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines with columns aligned to the right.

    >>> print(align_columns([["epoch", "lcc"], ["1", "0.5"]]))
    epoch  lcc
        1  0.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)).rstrip() for row in rows)


def format_agreement(result: Agreement) -> list[str]:
    """The original's lines: those for AVA's histograms if the result is of histograms, else those for TID2013's scores."""
    of_histograms = result.emd_l1 is not None
    lines = [f"Got labels: {result.n}"]
    lines += [str(result.confusion_matrix)] if of_histograms else ["Confusion matrix:", str(result.confusion_matrix)]
    lines.append(f"accuracy:{result.accuracy}")
    if of_histograms:
        lines.append(f"Binary accuracy:{result.binary_accuracy}")
    lines.append(f"standard deviation of score differences:{result.score_difference_std}")
    # As SciPy printed them when the original was written.
    for of, lcc, srcc in (("", result.lcc, result.srcc), (" (std dev)", result.lcc_std, result.srcc_std)):
        if lcc and srcc:
            lines += [f"LCC{of}: {lcc}", f"SRCC{of}: SpearmanrResult(correlation={srcc[0]}, pvalue={srcc[1]})"]
    return [*lines, f"EMD L1: {result.emd_l1}"] if of_histograms else lines


def format_intervals(
    true: NDArray[np.floating],
    predicted: NDArray[np.floating],
    resamples: int = 1000,
    logistic: bool = False,
    scenes: Sequence[str] | None = None,
) -> list[str]:
    """The lines below a table: a 95 % interval for every metric. Fewer than three images have none.

    Args:
        true, predicted: float (N,) scores or (N, 10) histograms.
        resamples: for the intervals; 0 for none.
        logistic: show the LCC after VQEG's logistic as well; a `PredictionsError` if that cannot be fitted.
        scenes: N names of what the images show, see `group_scenes`; too few to be resampled, the figures of each are shown.
    """
    true_means, predicted_means = mean_scores(true), mean_scores(predicted)
    lines = []
    if logistic:
        mapped = map_logistically(true_means, predicted_means)
        lines.append(f"LCC after VQEG's four-parameter logistic: {measure_agreement(true_means, mapped).lcc[0]}")
    if not resamples or len(true_means) < 3:
        return lines
    groups, what = group_scenes(scenes)
    if scenes is not None and groups is None and what != "images":
        for name in sorted(set(scenes)):
            chosen = np.equal(scenes, name)
            if chosen.sum() > 1:
                of = measure_agreement(true_means[chosen], predicted_means[chosen])
                lines.append(f"{name}: n {of.n}, LCC {of.lcc[0]:.4f}, SRCC {of.srcc[0]:.4f}, RMSE {of.rmse:.4f}")
    resampled = resample_metrics(true, predicted, resamples, groups)
    intervals = {name: estimate_interval(values) for name, values in resampled.items()}
    if groups is None:
        intervals["krcc"] = estimate_kendall(true_means, predicted_means)[1:]
    lines.append(f"95 % intervals ({resamples} resamples of {what}):")
    for name, title in TITLES.items():
        if name in intervals:
            low, high = intervals[name]
            lines.append(f"  {title}: {low:.4f} to {high:.4f}{' (analytic)' if name == 'krcc' else ''}")
    return lines

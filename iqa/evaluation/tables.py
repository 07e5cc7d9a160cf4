"""The lines on uncertainty that the plot scripts print below the original's table."""

import numpy as np

from iqa.commands.terminal import natural
from iqa.evaluation.metrics import agreement
from iqa.evaluation.uncertainty import interval, kendall_interval, logistic_mapped, replicates, units_of
from iqa.labels.histograms import mean_scores

#: The names under which the table shows the metrics.
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


def add_interval_options(parser):
    """Give a parser --bootstrap and --logistic."""
    parser.add_argument(
        "--bootstrap", type=natural, default=1000, help="resamples for the 95 %% intervals (default: 1000; 0 for none)"
    )
    parser.add_argument("--logistic", action="store_true", help="LCC after VQEG's four-parameter logistic as well")


def print_intervals(true, predicted, options, scenes=None):
    """Print a 95 % interval for every metric, and what else the options of `add_interval_options` ask for.

    Args:
        true, predicted: float (N,) scores or (N, 10) histograms.
        options: with `bootstrap` and `logistic`.
        scenes: N names of what the images show, see `units_of`; where there are too few to be resampled, the figures of
            each are printed.
    """
    means = [mean_scores(side) for side in (true, predicted)]
    if options.logistic:
        mapped = logistic_mapped(*means)
        print(f"LCC after VQEG's four-parameter logistic: {agreement(means[0], mapped, lowest=0).lcc[0]}")
    if not options.bootstrap or len(true) < 3:
        return
    groups, what = units_of(scenes)
    if groups is None and what != "images":
        for name in sorted(set(scenes)):
            of_scene = [side[np.equal(scenes, name)] for side in means]
            if len(of_scene[0]) > 1:
                found = agreement(*of_scene)
                print(f"{name}: n {found.n}, LCC {found.lcc[0]:.4f}, SRCC {found.srcc[0]:.4f}, RMSE {found.rmse:.4f}")
    found = {name: interval(values) for name, values in replicates(true, predicted, options.bootstrap, groups).items()}
    if groups is None:
        found["krcc"] = kendall_interval(*means)[1:]
    print(f"95 % intervals ({options.bootstrap} resamples of {what}):")
    for name, title in TITLES.items():
        if name in found:
            note = " (analytic)" if name == "krcc" else ""
            print(f"  {title}: {found[name][0]:.4f} to {found[name][1]:.4f}{note}")

"""Is one model better than another? All metrics side by side, and whether their differences are real.

    python idealo_comparison/compare.py AVA/wtf_vanilla.mat AVA/wtf_patches.mat idealo_comparison/wtf_idealo_ava.mat
    python idealo_comparison/compare.py A.mat B.mat --figure differences.pdf --json comparison.json

Images are matched by their ids; those that are not in all files are left out and counted. The intervals are percentiles of
a bootstrap that resamples the images, the same for all models, so that those of the differences are paired; KRCC has its
analytic one. For LCC and SRCC the Williams-Steiger test for correlations with the same labels stands beside. TID2013's 120
versions of a scene are not independent: of them whole scenes are resampled.
"""

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

from iqa.command_line import parser_of, positive, run
from iqa.files import written_whole
from iqa.intervals import TITLES
from iqa.metrics import agreement, distribution_agreement
from iqa.predictions import PredictionsError, read_predictions, scenes_of
from iqa.scores import mean_scores
from iqa.uncertainty import interval, kendall_interval, replicates, units_of, williams_test

#: The differences that the figure shows: all on scales that fit one axis.
DRAWN = ("lcc", "srcc", "lcc_std", "srcc_std", "emd_l1", "rmse")


def read_any(path):
    """Predictions of either kind."""
    try:
        return read_predictions(path, bins=10)
    except PredictionsError as error:
        if "are no histograms" not in str(error):
            raise
        return read_predictions(path)


def matched(files):
    """{file: (labels, predictions)} of the images that are in all files, in one order, and their ids.

    Raises:
        PredictionsError: if two files have no image in common, hold different kinds, or different labels for an image.
    """
    read = {file: read_any(file) for file in files}
    first = read[files[0]]
    rows = {file: {image_id: row for row, image_id in enumerate(found.ids)} for file, found in read.items()}
    common = [image_id for image_id in first.ids if all(image_id in known for known in rows.values())]
    for file, found in read.items():
        if found.labels.ndim != first.labels.ndim:
            raise PredictionsError(f"{file}: not of the same kind as {files[0]}, histograms or scores")
        if left := len(found.ids) - len(common):
            skipped = f", {len(found.skipped)} more were skipped when it was made" if found.skipped else ""
            print(f"{file}: {left} of {len(found.ids)} images are not in all files{skipped}", file=sys.stderr)
    if len(common) < 3:
        raise PredictionsError(f"{', '.join(map(str, files))}: {len(common)} images in common")
    sides = {}
    for file, found in read.items():
        places = [rows[file][image_id] for image_id in common]
        sides[file] = found.labels[places], found.predictions[places].astype(np.float64)
        if not np.allclose(sides[file][0], sides[files[0]][0], atol=1e-6):
            raise PredictionsError(f"{file}: its labels are not those of {files[0]}")
    return sides, common


def metrics_of(labels, predictions):
    """{name: value} of the metrics in `TITLES`."""
    found = (agreement if labels.ndim == 1 else distribution_agreement)(labels, predictions).as_json()
    return {name: found[name] for name in TITLES if name in found}


def print_table(titles, rows):
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    for row in [titles, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def compare(files, resamples):
    """The whole comparison as a dict: images, models {file: {metric: (value, lower, upper)}}, and differences."""
    sides, ids = matched(files)
    of_histograms = sides[files[0]][0].ndim == 2
    groups, what = units_of(None if of_histograms else scenes_of(ids))
    values = {file: metrics_of(*pair) for file, pair in sides.items()}
    drawn = {file: replicates(*pair, resamples, groups) for file, pair in sides.items()}
    models = {}
    for file, of in values.items():
        means = [mean_scores(side) for side in sides[file]]
        intervals = {name: interval(drawn[file][name]) for name in drawn[file]} | {"krcc": kendall_interval(*means)[1:]}
        models[str(file)] = {name: (value, *intervals[name]) for name, value in of.items()}
    differences = []
    for first, second in combinations(files, 2):
        for name in (name for name in TITLES if name in drawn[first]):
            low, high = interval(drawn[first][name] - drawn[second][name])
            row = {"first": str(first), "second": str(second), "metric": name, "lower": low, "upper": high}
            row["difference"] = values[first][name] - values[second][name]
            row["verdict"] = "real" if low > 0 or high < 0 else "none" if low == high == 0 else "may be chance"
            if name in ("lcc", "srcc"):
                function = stats.pearsonr if name == "lcc" else stats.spearmanr
                three = (mean_scores(side) for side in (sides[first][0], sides[first][1], sides[second][1]))
                row["williams_t"], row["williams_p"] = williams_test(*three, lambda a, b, f=function: f(a, b)[0])
            differences.append(row)
    return {"n": len(ids), "resampled": what, "resamples": resamples, "models": models, "differences": differences}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.mat")
    parser.add_argument("--bootstrap", type=positive, default=1000, help="resamples (default: 1000)")
    parser.add_argument("--json", type=Path, help="write the comparison here")
    parser.add_argument("--figure", type=Path, help="draw the differences with their intervals, as .pdf, .svg or .png")
    arguments = parser.parse_args()
    if len(set(arguments.files)) < 2:
        parser.error("a comparison needs two files of predictions")
    found = compare(arguments.files, arguments.bootstrap)
    print(f"{found['n']} images in all files; 95 % intervals from {found['resamples']} resamples of {found['resampled']}")
    rows = [
        [TITLES[name], *("{:.4f} ({:.4f} to {:.4f})".format(*of[name]) for of in found["models"].values())]
        for name in next(iter(found["models"].values()))
    ]
    print_table(["", *found["models"]], rows)
    for first, second in combinations(map(str, arguments.files), 2):
        print(f"\n{first} less {second}")
        rows = []
        for row in found["differences"]:
            if (row["first"], row["second"]) == (first, second):
                williams = f"t {row['williams_t']:.2f}, p {row['williams_p']:.2g}" if "williams_t" in row else ""
                shown = f"{row['difference']:+.4f} ({row['lower']:+.4f} to {row['upper']:+.4f})"
                rows.append([TITLES[row["metric"]], shown, row["verdict"], williams])
        print_table(["", "difference (95 %)", "", "Williams-Steiger"], rows)
    if arguments.json:
        with written_whole(arguments.json) as file:
            file.write(json.dumps(found, indent=1).encode())
    if arguments.figure:
        from iqa.plots import intervals as draw

        shown = [
            row for row in found["differences"] if row["metric"] in ("lcc", "srcc", "lcc_std", "srcc_std", "emd_l1", "rmse")
        ]
        labels = [f"{Path(r['first']).stem} - {Path(r['second']).stem}: {TITLES[r['metric']]}" for r in shown]
        draw(labels, [(r["difference"], r["lower"], r["upper"]) for r in shown], arguments.figure)
        print(
            f"differences of the metrics on {found['n']} images, with paired 95 % intervals; right of 0 the first is higher"
        )
    return 0


if __name__ == "__main__":
    run(main)

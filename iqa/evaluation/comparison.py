"""Several files of predictions matched by image: their metrics, and the differences of each pair, with intervals."""

import sys
from itertools import combinations

import numpy as np
from scipy import stats

from iqa.errors import PredictionsError
from iqa.evaluation.metrics import agreement, distribution_agreement
from iqa.evaluation.predictions import read_predictions, scenes_of
from iqa.evaluation.tables import TITLES
from iqa.evaluation.uncertainty import interval, kendall_interval, replicates, units_of, williams_test
from iqa.labels.histograms import mean_scores


def matched(files):
    """{file: (labels, predictions)} of the images that are in all files, in one order, and their ids.

    Raises:
        PredictionsError: if the files have fewer than three images in common, hold different kinds, different labels for
            an image, or two images of one id.
    """
    read = {file: read_predictions(file, bins=None) for file in files}
    first = read[files[0]]
    rows = {file: {image_id: row for row, image_id in enumerate(found.ids)} for file, found in read.items()}
    common = [image_id for image_id in first.ids if all(image_id in known for known in rows.values())]
    for file, found in read.items():
        if found.labels.ndim != first.labels.ndim:
            raise PredictionsError(f"{file}: not of the same kind as {files[0]}, histograms or scores")
        if len(rows[file]) < len(found.ids):
            twice = next(image_id for row, image_id in enumerate(found.ids) if rows[file][image_id] != row)
            raise PredictionsError(f"{file}: two images are called {twice}, which cannot be told apart")
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


def compare(sides, ids, resamples):
    """The whole comparison as a dict: images, models {file: {metric: (value, lower, upper)}}, and differences.

    Args:
        sides, ids: of `matched`.
        resamples: of the bootstrap.
    """
    files = list(sides)
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

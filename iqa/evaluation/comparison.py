"""Several files of predictions, matched by image: their metrics, and how much each pair of models differs.

p values are corrected for their number (Holm 1979): a table of equally good models shows a difference in 5 of 100 cases.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.errors import PredictionsError
from iqa.evaluation.metrics import correlate, measure_agreement, measure_distribution_agreement
from iqa.evaluation.predictions import name_scenes, read_predictions
from iqa.evaluation.tables import LESS_IS_BETTER, TITLES
from iqa.evaluation.uncertainty import (
    LEVEL,
    correct_p_values,
    estimate_interval,
    estimate_kendall,
    estimate_p_value,
    group_scenes,
    resample_metrics,
    williams_test,
)
from iqa.files import finite
from iqa.labels.histograms import mean_scores

Floats = NDArray[np.float64]

#: What a comparison says of a difference.
DIFFERS, ALIKE = "differs", "cannot be told apart"
IDENTICAL, UNDEFINED = "identical predictions", "not defined"


@dataclass(frozen=True)
class MatchedPredictions:
    """The images that all files have, in one order.

    Attributes:
        ids: N texts, see `Predictions`.
        sides: {file: (labels, predictions)}, float64 (N,) or (N, 10).
        left_out: {file: (images that are not in all files, images in the file, images skipped when it was made)}.
    """

    ids: list[str]
    sides: dict[str, tuple[Floats, Floats]]
    left_out: dict[str, tuple[int, int, int]]


def match_predictions(files: Sequence[str | PathLike[str]]) -> MatchedPredictions:
    """Read files of predictions and match their images by id.

    Raises:
        PredictionsError: for fewer than three images in common, different kinds or labels, or an id that stands twice.
    """
    read = {str(file): read_predictions(file, bins=None) for file in files}
    first_file, first = next(iter(read.items()))
    rows = {file: {image_id: row for row, image_id in enumerate(found.ids)} for file, found in read.items()}
    for file, found in read.items():
        if len(rows[file]) < len(found.ids):
            twice = next(image_id for row, image_id in enumerate(found.ids) if rows[file][image_id] != row)
            raise PredictionsError(f"{file}: two images have the id {twice}")
        if found.labels.ndim != first.labels.ndim:
            raise PredictionsError(f"{file}: of another kind than {first_file}; one holds histograms, the other scores")
    common = [image_id for image_id in first.ids if all(image_id in known for known in rows.values())]
    if len(common) < 3:
        raise PredictionsError(f"{', '.join(read)}: only {len(common)} images in common, at least 3 are needed")
    sides = {}
    for file, found in read.items():
        places = [rows[file][image_id] for image_id in common]
        sides[file] = found.labels[places], found.predictions[places].astype(np.float64)
        if not np.allclose(sides[file][0], sides[first_file][0], atol=1e-6):
            raise PredictionsError(f"{file}: its labels are not those of {first_file}")
    left_out = {file: (len(of.ids) - len(common), len(of.ids), len(of.skipped)) for file, of in read.items()}
    return MatchedPredictions(common, sides, left_out)


@dataclass(frozen=True)
class Difference:
    """How two models, the files `first` and `second`, differ in one metric of `TITLES`.

    Attributes:
        difference, lower, upper: first less second, with its 95 % interval from a paired bootstrap.
        p, p_holm: two-sided p value from the same bootstrap, alone and corrected; NaN if the metric is not defined.
        verdict: `DIFFERS` if p_holm is below 0.05, else `ALIKE`; `IDENTICAL` for equal predictions; `UNDEFINED`.
        better: "first" or "second" if they differ, else None.
        williams: of LCC and SRCC (t, p) of the Williams-Steiger test, not corrected; None for other metrics.
    """

    first: str
    second: str
    metric: str
    difference: float
    lower: float
    upper: float
    p: float
    p_holm: float
    verdict: str
    better: str | None
    williams: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Results of `compare_models` on `n` images.

    Attributes:
        resampled, resamples: what the bootstrap drew, in words, and how often.
        models: {file: {metric: (value, lower, upper)}}.
        differences: of each pair of models in each metric.
    """

    n: int
    resampled: str
    resamples: int
    models: dict[str, dict[str, tuple[float, float, float]]]
    differences: list[Difference]

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON holds it; None where a figure is not defined."""
        value = asdict(self)
        for row in value["differences"]:
            if williams := row.pop("williams"):
                row["williams_t"], row["williams_p"] = williams
        found: dict[str, Any] = finite(value)
        return found


def compare_models(matched: MatchedPredictions, resamples: int) -> Comparison:
    """Compare models on the same images: every metric of each, and the differences of each pair."""
    of_histograms = next(iter(matched.sides.values()))[0].ndim == 2
    groups, what = group_scenes(None if of_histograms else name_scenes(matched.ids))
    units = len(matched.ids) if groups is None else len(np.unique(groups))
    measure = measure_distribution_agreement if of_histograms else measure_agreement
    resampled = {file: resample_metrics(*sides, resamples, groups) for file, sides in matched.sides.items()}
    models: dict[str, dict[str, tuple[float, float, float]]] = {}
    for file, sides in matched.sides.items():
        values = measure(*sides).as_json()
        intervals = {name: estimate_interval(drawn) for name, drawn in resampled[file].items()}
        intervals["krcc"] = estimate_kendall(mean_scores(sides[0]), mean_scores(sides[1]))[1:]
        models[file] = {
            name: (float("nan") if values[name] is None else values[name], *intervals[name])
            for name in TITLES
            if name in values
        }
    found = []
    for first, second in combinations(matched.sides, 2):
        for name in (name for name in TITLES if name in resampled[first]):
            drawn = resampled[first][name] - resampled[second][name]
            difference = models[first][name][0] - models[second][name][0]
            found.append((first, second, name, difference, drawn, estimate_p_value(difference, drawn, units)))
    differences = []
    for (*names, difference, drawn, p), p_holm in zip(found, correct_p_values([row[-1] for row in found]), strict=True):
        first, second, name = names
        verdict = _judge(matched, first, second, float(p_holm))
        ahead = (difference > 0) != (name in LESS_IS_BETTER)
        better = ("first" if ahead else "second") if verdict == DIFFERS else None
        interval, williams = estimate_interval(drawn), _test_correlations(matched, first, second, name)
        differences.append(
            Difference(first, second, name, difference, *interval, p, float(p_holm), verdict, better, williams)
        )
    return Comparison(len(matched.ids), what, resamples, models, differences)


def _judge(matched: MatchedPredictions, first: str, second: str, p_holm: float) -> str:
    if np.array_equal(matched.sides[first][1], matched.sides[second][1]):
        return IDENTICAL
    if np.isnan(p_holm):
        return UNDEFINED
    return DIFFERS if p_holm < 1 - LEVEL else ALIKE


def _test_correlations(matched: MatchedPredictions, first: str, second: str, metric: str) -> tuple[float, float] | None:
    if metric not in ("lcc", "srcc"):
        return None
    true, one, other = (mean_scores(side) for side in (*matched.sides[first], matched.sides[second][1]))
    r12, r13, r23 = (correlate(*pair)[metric == "srcc"] for pair in ((true, one), (true, other), (one, other)))
    return williams_test(r12, r13, r23, len(true))

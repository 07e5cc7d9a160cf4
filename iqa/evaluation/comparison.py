"""Several files of predictions, matched by image: their metrics, and how much each pair of models differs.

The differences of a table are tested together: p values are corrected for their number (Holm 1979), so that a table of
equally good models shows a difference in at most 5 of 100 cases.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.errors import PredictionsError
from iqa.evaluation.metrics import correlate, measure_agreement, measure_distribution_agreement
from iqa.evaluation.predictions import Predictions, name_scenes, read_predictions
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
        sides: {file: (labels, predictions)}, float64 (N,) scores or (N, 10) histograms.
        left_out: {file: (images that are not in all files, images in the file, images skipped when it was made)}.
    """

    ids: list[str]
    sides: dict[str, tuple[Floats, Floats]]
    left_out: dict[str, tuple[int, int, int]]


def match_predictions(files: Sequence[str | PathLike[str]]) -> MatchedPredictions:
    """Read files of predictions and match their images by id.

    Raises:
        PredictionsError: if the files have fewer than three images in common, hold different kinds, different labels for
            an image, or two images of one id.
    """
    read = {str(file): read_predictions(file, bins=None) for file in files}
    rows = {file: _index_ids(file, found) for file, found in read.items()}
    first_file, first = next(iter(read.items()))
    common = [image_id for image_id in first.ids if all(image_id in known for known in rows.values())]
    for file, found in read.items():
        if found.labels.ndim != first.labels.ndim:
            raise PredictionsError(f"{file}: of another kind than {first_file}; one holds histograms, the other scores")
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


def _index_ids(file: str, found: Predictions) -> dict[str, int]:
    """{id: row} of a file's images."""
    rows: dict[str, int] = {}
    for row, image_id in enumerate(found.ids):
        if image_id in rows:
            raise PredictionsError(f"{file}: two images have the id {image_id}")
        rows[image_id] = row
    return rows


@dataclass(frozen=True)
class Difference:
    """How two models differ in one metric.

    Attributes:
        first, second: the files.
        metric: its name in `TITLES`.
        difference: first less second.
        lower, upper: its 95 % interval, from a paired bootstrap.
        p: two-sided p value, from the same bootstrap; NaN if the metric is not defined.
        p_holm: p corrected for the number of differences in the comparison.
        verdict: `DIFFERS` if p_holm is below 0.05, else `ALIKE`; `IDENTICAL` for equal predictions; `UNDEFINED`.
        better: "first" or "second", the model that is better in this metric, if they differ; else None.
        williams_t, williams_p: of LCC and SRCC the Williams-Steiger test, not corrected; None for other metrics.
    """

    first: str
    second: str
    metric: str
    difference: float
    lower: float
    upper: float
    p: float
    p_holm: float = float("nan")
    verdict: str = UNDEFINED
    better: str | None = None
    williams_t: float | None = None
    williams_p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Results of `compare_models`.

    Attributes:
        n: images that all files have.
        resampled: what the bootstrap drew, in words.
        resamples: how often.
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
            if row["williams_t"] is None:
                del row["williams_t"], row["williams_p"]
        found: dict[str, Any] = finite(value)
        return found


def compare_models(matched: MatchedPredictions, resamples: int) -> Comparison:
    """Compare models on the same images: every metric of each, and the differences of each pair.

    Args:
        matched: see `match_predictions`.
        resamples: of the bootstrap.
    """
    of_histograms = next(iter(matched.sides.values()))[0].ndim == 2
    groups, what = group_scenes(None if of_histograms else name_scenes(matched.ids))
    units = len(matched.ids) if groups is None else len(np.unique(groups))
    values = {file: _metrics_of(*sides) for file, sides in matched.sides.items()}
    resampled = {file: resample_metrics(*sides, resamples, groups) for file, sides in matched.sides.items()}
    models = {}
    for file, (labels, predictions) in matched.sides.items():
        intervals = {name: estimate_interval(drawn) for name, drawn in resampled[file].items()}
        intervals["krcc"] = estimate_kendall(mean_scores(labels), mean_scores(predictions))[1:]
        models[file] = {name: (value, *intervals[name]) for name, value in values[file].items()}
    differences = []
    for first, second in combinations(matched.sides, 2):
        for name in (name for name in TITLES if name in resampled[first]):
            drawn = resampled[first][name] - resampled[second][name]
            difference = values[first][name] - values[second][name]
            p = estimate_p_value(difference, drawn, units)
            row = Difference(first, second, name, difference, *estimate_interval(drawn), p)
            differences.append(_add_williams(row, matched))
    return Comparison(len(matched.ids), what, resamples, models, _judge(differences, matched))


def _metrics_of(labels: Floats, predictions: Floats) -> dict[str, float]:
    """{name: value} of the metrics in `TITLES`; NaN where one is not defined."""
    measure = measure_agreement if labels.ndim == 1 else measure_distribution_agreement
    found = measure(labels, predictions).as_json()
    return {name: float("nan") if found[name] is None else found[name] for name in TITLES if name in found}


def _add_williams(row: Difference, matched: MatchedPredictions) -> Difference:
    if row.metric not in ("lcc", "srcc"):
        return row
    labels, first = map(mean_scores, matched.sides[row.first])
    second = mean_scores(matched.sides[row.second][1])
    t, p = williams_test(labels, first, second, lambda a, b: correlate(a, b)[row.metric == "srcc"])
    return replace(row, williams_t=t, williams_p=p)


def _judge(differences: Iterable[Difference], matched: MatchedPredictions) -> list[Difference]:
    """The differences with their p values corrected together, and what they say."""
    differences = list(differences)
    judged = []
    for row, p_holm in zip(differences, correct_p_values([row.p for row in differences]).tolist(), strict=True):
        if np.array_equal(matched.sides[row.first][1], matched.sides[row.second][1]):
            verdict = IDENTICAL
        elif np.isnan(p_holm):
            verdict = UNDEFINED
        else:
            verdict = DIFFERS if p_holm < 1 - LEVEL else ALIKE
        ahead = (row.difference > 0) != (row.metric in LESS_IS_BETTER)
        better = ("first" if ahead else "second") if verdict == DIFFERS else None
        judged.append(replace(row, p_holm=p_holm, verdict=verdict, better=better))
    return judged

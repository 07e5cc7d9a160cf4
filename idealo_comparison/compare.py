"""Compare models on the same images: all metrics side by side, and which differences are significant.

    python idealo_comparison/compare.py AVA/wtf_vanilla.mat AVA/wtf_patches.mat idealo_comparison/wtf_idealo_ava.mat
    python idealo_comparison/compare.py A.mat B.mat --figure differences.pdf --json comparison.json
    python idealo_comparison/compare.py A.mat B.mat --report page.html --images data/ava

Images are matched by their ids; those that are not in all files are left out and counted. Intervals are percentiles of
a paired bootstrap, which resamples the same images for all models; that of KRCC is analytic. A model "differs" from
another in a metric if the p value, corrected for all the differences shown (Holm), is below 0.05. For LCC and SRCC the
table also has the Williams-Steiger test for correlations with the same labels; its p value is not corrected. The 120
versions of a scene of TID2013 are not independent, so whole scenes are resampled.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from iqa.commands.terminal import add_overwrite, parser_of, positive, run
from iqa.environment import processors
from iqa.errors import PredictionsError
from iqa.evaluation.metrics import (
    LEVEL,
    NEAR,
    correlate,
    estimate_interval,
    estimate_kendall,
    group_scenes,
    measure_agreement,
    measure_distribution_agreement,
    resample_metrics,
)
from iqa.evaluation.predictions import name_scenes, read_predictions
from iqa.evaluation.tables import TITLES
from iqa.files import check_target, finite, holds, printable, write_json
from iqa.labels.histograms import Score, mean_scores
from iqa.scoring.page import check_page, is_page, write_page
from iqa.scoring.ranking import RankedSet
from iqa.scoring.results import Result

#: The differences that the figure shows: all on scales that fit one axis.
DRAWN = ("lcc", "srcc", "lcc_std", "srcc_std", "emd_l1", "rmse")

#: Pictures on the page.
MOST_SHOWN = 200

#: The metrics as tables and figure name them, with the direction that is better.
LESS_IS_BETTER = ("score_difference_std", "rmse", "emd_l1")
NAMES = {name: f"{of}, {'lower' if name in LESS_IS_BETTER else 'higher'} is better" for name, of in TITLES.items()}

#: What a comparison says of a difference.
DIFFERS, ALIKE = "differs", "cannot be told apart"
IDENTICAL, UNDEFINED = "identical predictions", "not defined"

#: The models of `compare_models`, {file: {metric: (value, lower, upper)}}, and the rows of its differences.
Models, Rows = dict[str, dict[str, tuple[float, float, float]]], list[dict[str, Any]]


class Matched(NamedTuple):
    """The images that all files have, in one order.

    Attributes:
        ids: N texts, see `iqa.evaluation.predictions.Predictions`.
        sides: {file: (labels, predictions)}, float64 (N,) or (N, 10).
        left_out: {file: (images that are not in all files, images in the file, images skipped when it was made)}.
    """

    ids: list[str]
    sides: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    left_out: dict[str, tuple[int, int, int]]


def match_predictions(files: Sequence[Path]) -> Matched:
    """Read files of predictions and match their images by id.

    Raises a `PredictionsError` for fewer than three images in common, different kinds or labels, or a repeated id.
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
    return Matched(common, sides, left_out)


def compare_models(matched: Matched, resamples: int) -> tuple[str, Models, Rows]:
    """Compare models on the same images: (what was resampled, every metric of each, the differences of each pair).

    A difference is the first less the second, with its 95 % interval from a paired bootstrap, the p value of the same
    bootstrap, alone and corrected, a verdict, and the better one of two that differ; of LCC and SRCC also t and p of the
    Williams-Steiger test. NaN where a metric is not defined.
    """
    of_histograms = next(iter(matched.sides.values()))[0].ndim == 2
    groups, what = group_scenes(None if of_histograms else name_scenes(matched.ids))
    units = len(matched.ids) if groups is None else len(np.unique(groups))
    measure = measure_distribution_agreement if of_histograms else measure_agreement
    resampled = {file: resample_metrics(*sides, resamples, groups) for file, sides in matched.sides.items()}
    models: Models = {}
    for file, sides in matched.sides.items():
        values = measure(*sides).as_json()
        intervals = {name: estimate_interval(drawn) for name, drawn in resampled[file].items()}
        intervals["krcc"] = estimate_kendall(*map(mean_scores, sides))[1:]
        known = {name: float("nan") if values[name] is None else values[name] for name in TITLES if name in values}
        models[file] = {name: (value, *intervals[name]) for name, value in known.items()}
    rows: Rows = []
    for first, second in combinations(matched.sides, 2):
        for name in (name for name in TITLES if name in resampled[first]):
            drawn = resampled[first][name] - resampled[second][name]
            difference = models[first][name][0] - models[second][name][0]
            row = {"first": first, "second": second, "metric": name, "difference": difference}
            row |= dict(zip(("lower", "upper"), estimate_interval(drawn), strict=True))
            rows.append(row | {"p": estimate_p_value(difference, drawn, units)})
    for row, p_holm in zip(rows, correct_p_values([row["p"] for row in rows]), strict=True):
        sides = matched.sides[row["first"]][1], matched.sides[row["second"]][1]
        verdict = UNDEFINED if np.isnan(p_holm) else DIFFERS if p_holm < 1 - LEVEL else ALIKE
        ahead = (row["difference"] > 0) != (row["metric"] in LESS_IS_BETTER)
        row |= {"p_holm": float(p_holm), "verdict": IDENTICAL if np.array_equal(*sides) else verdict}
        row["better"] = ("first" if ahead else "second") if row["verdict"] == DIFFERS else None
        if row["metric"] in ("lcc", "srcc"):
            true, one, other = map(mean_scores, (matched.sides[row["first"]][0], *sides))
            of = [correlate(*pair)[row["metric"] == "srcc"] for pair in ((true, one), (true, other), (one, other))]
            row["williams_t"], row["williams_p"] = williams_test(*of, len(true))
    return what, models, rows


def estimate_p_value(difference: float, resampled: NDArray[np.float64], units: int) -> float:
    """The two-sided p value of a difference between two models on the same images; NaN if it is not defined.

    Student's t with the standard error of the paired bootstrap: unlike a count of resamples on either side of 0 it can
    be smaller than 1 / resamples, which a correction for many comparisons needs.

    Args:
        difference, resampled: of the metric, first less second; the same in each resample.
        units: images or groups that were drawn from.
    """
    resampled = resampled[~np.isnan(resampled)]
    if np.isnan(difference) or len(resampled) < 2:
        return float("nan")
    if abs(difference) <= NEAR:
        return 1.0
    error = np.std(resampled, ddof=1)
    return float(2 * stats.t.sf(abs(difference) / error, units - 1)) if error > 0 else 0.0


def correct_p_values(p_values: ArrayLike) -> NDArray[np.float64]:
    """p values corrected for their number: below alpha with a chance of at most alpha for any of the true nulls.

    Holm, Scandinavian Journal of Statistics 6(2), 1979. NaN stays NaN and is not counted.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values, kind="stable")[: np.count_nonzero(~np.isnan(p_values))]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def williams_test(first: float, second: float, between: float, number: int) -> tuple[float, float]:
    """Do two models correlate differently with the same labels? Williams' t as Steiger recommends it.

    Steiger, "Tests for comparing elements of a correlation matrix", Psychological Bulletin 87(2), 1980, eq. 7.

    Args:
        first, second, between: the correlation of each model with the labels, and of the models with each other.
        number: of images.

    Returns:
        (t, p): t is positive where `first` is higher, p is two-sided; NaN if a correlation is, or below four images.
    """
    if number < 4 or np.isnan([first, second, between]).any():
        return float("nan"), float("nan")
    determinant = max(0.0, 1 - first**2 - second**2 - between**2 + 2 * first * second * between)
    mean = (first + second) / 2
    divisor = 2 * (number - 1) / (number - 3) * determinant + mean**2 * max(0.0, 1 - between) ** 3
    if divisor == 0:
        return 0.0, 1.0
    t = (first - second) * np.sqrt((number - 1) * (1 + between) / divisor)
    return float(t), float(2 * stats.t.sf(abs(t), number - 3))


def make_tables(title: str, models: Models, differences: Rows) -> list[dict[str, Any]]:
    """A comparison as tables {title, head, rows}: the models side by side, then the differences of each pair."""
    rows = [
        [NAMES[name], *("{:.4f} ({:.4f} to {:.4f})".format(*of[name]) for of in models.values())]
        for name in next(iter(models.values()))
    ]
    tables: list[dict[str, Any]] = [{"title": title, "head": ["", *models], "rows": rows}]
    corrected = f"p (Holm, {len(differences)} differences)"
    head = ["", "difference (95 %)", corrected, "", "Williams-Steiger (uncorrected)"]
    for pair in combinations(models, 2):
        rows = []
        for row in (row for row in differences if (row["first"], row["second"]) == pair):
            shown = "{difference:+.4f} ({lower:+.4f} to {upper:+.4f})".format(**row)
            verdict = f"{row['verdict']}: {row['better']} is better" if row["better"] else row["verdict"]
            williams = "t {williams_t:.2f}, p {williams_p:.2g}".format(**row) if "williams_t" in row else ""
            rows.append([NAMES[row["metric"]], shown, f"{row['p_holm']:.2g}", verdict, williams])
        tables.append({"title": " less ".join(pair), "head": head, "rows": rows})
    return tables


def print_table(table: dict[str, Any]) -> None:
    print(table["title"])
    rows = [[printable(cell) for cell in row] for row in (table["head"], *table["rows"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def draw_differences(differences: Rows, n: int, path: Path) -> None:
    """Draw a row for each difference: its interval, and a dot, filled where the models differ."""
    from iqa.evaluation.plots import plain, save_figure, start_figure

    shown = [row for row in differences if row["metric"] in DRAWN]
    labels = [f"{Path(row['first']).stem} - {Path(row['second']).stem}: {NAMES[row['metric']]}" for row in shown]
    figure = start_figure(8, 0.35 * len(labels) + 1.2)
    axis = figure.subplots()
    for place, row in enumerate(shown):
        axis.plot([row["lower"], row["upper"]], [place, place], color="black", linewidth=1.5)
        colour = "black" if row["verdict"] == DIFFERS else "white"
        axis.plot(row["difference"], place, "o", markerfacecolor=colour, markeredgecolor="black")
    axis.axvline(0, color="0.6", linestyle="--", linewidth=1)
    axis.set_yticks(range(len(labels)), map(plain, labels))
    axis.set(xlabel="difference of the metric (first less second)", ylim=(len(labels) - 0.5, -0.5))
    save_figure(figure, path)
    print(
        f"{printable(path)}: differences of the metrics on {n} images with paired 95 % intervals; right of 0 the "
        "first is higher, which is better or not as each row says. A filled dot: the models differ (p below 0.05, "
        f"corrected for {len(differences)} differences)"
    )


def write_disagreements(path: Path, matched: Matched, folder: Path | None, tables: list[dict[str, Any]]) -> None:
    """Write the page with the `MOST_SHOWN` images on which the mean scores of the models lie furthest apart."""
    from iqa.images.finding import list_images

    paths = {path.stem.lower(): path for path in list_images(folder)} if folder else {}
    models = {file: mean_scores(predictions) for file, (_, predictions) in matched.sides.items()}
    apart = np.ptp(list(models.values()), axis=0)
    rows = np.argsort(-apart, kind="stable")[:MOST_SHOWN]
    results = []
    for row in rows:
        votes = {file: Score.of(of[row]) for file, (_, of) in matched.sides.items() if of.ndim == 2}
        name = matched.ids[row]
        results.append(Result(paths.get(name, Path(name)), {"disagreement": float(apart[row]), **votes}))
    people = mean_scores(next(iter(matched.sides.values()))[0])
    write_page(
        path,
        RankedSet(lambda: results, ["disagreement"], "disagreement"),
        scales={},
        more={name: of[rows] for name, of in {**models, "people": people}.items()},
        workers=processors(),
        title="Where the models disagree",
        lead=f"The {len(rows)} of {len(apart)} pictures on which the mean scores of the models lie furthest apart.",
        tables=tables,
    )


def check_targets(arguments: Namespace) -> None:
    """Refuse, before the work, what may not be written."""
    if arguments.json:
        check_target(arguments.json, arguments.overwrite, holds("models", "differences"), arguments.files)
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite, arguments.files)
    if arguments.report:
        check_page(arguments.report)
        check_target(arguments.report, arguments.overwrite, is_page, arguments.files)


def main() -> int:
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE.mat", help="predictions of one model each")
    add("--bootstrap", type=positive, default=1000, help="resamples for the 95 %% intervals (default: 1000)")
    add("--json", type=Path, help="also write the comparison to this file")
    add("--figure", type=Path, help="draw the differences into this .pdf, .svg or .png")
    add("--report", type=Path, help="write a page (.html) of the pictures on which the models disagree most")
    add("--images", type=Path, help="folder of the pictures (with --report)")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if len(set(arguments.files)) < 2:
        parser.error("a comparison needs two files of predictions")
    if arguments.images and not arguments.report:
        parser.error("--images is for the page of --report")
    check_targets(arguments)
    matched = match_predictions(arguments.files)
    for file, (left, total, skipped) in matched.left_out.items():
        if left:
            more = f", {skipped} more were skipped when it was made" if skipped else ""
            print(f"{printable(file)}: {left} of {total} images are not in all files{more}", file=sys.stderr)
    what, models, differences = compare_models(matched, arguments.bootstrap)
    n = len(matched.ids)
    title = f"{n} images in all files; 95 % intervals from {arguments.bootstrap} resamples of {what}"
    tables = make_tables(title, models, differences)
    for number, table in enumerate(tables):
        print(end="\n" if number else "")
        print_table(table)
    if arguments.json:
        found = {"n": n, "resampled": what, "resamples": arguments.bootstrap, "models": models, "differences": differences}
        write_json(arguments.json, finite(found))
    if arguments.figure:
        draw_differences(differences, n, arguments.figure)
    if arguments.report:
        write_disagreements(arguments.report, matched, arguments.images, tables)
        print(f"{printable(arguments.report)}: open this page in a browser", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)

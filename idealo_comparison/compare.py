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
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from iqa.commands.terminal import add_overwrite, parser_of, positive, run
from iqa.environment import processors
from iqa.evaluation.comparison import DIFFERS, Comparison, MatchedPredictions, compare_models, match_predictions
from iqa.evaluation.tables import LESS_IS_BETTER, TITLES
from iqa.files import check_target, holds, printable, write_json
from iqa.labels.histograms import Score, mean_scores
from iqa.scoring.page import check_page, is_page, write_page
from iqa.scoring.ranking import RankedSet
from iqa.scoring.results import Result

#: The differences that the figure shows: all on scales that fit one axis.
DRAWN = ("lcc", "srcc", "lcc_std", "srcc_std", "emd_l1", "rmse")

#: Pictures on the page.
MOST_SHOWN = 200

#: The metrics as tables and figure name them, with the direction that is better.
NAMES = {name: f"{of}, {'lower' if name in LESS_IS_BETTER else 'higher'} is better" for name, of in TITLES.items()}


def make_tables(found: Comparison) -> list[dict[str, Any]]:
    """A comparison as tables {title, head, rows}: the models side by side, then the differences of each pair."""
    rows = [
        [NAMES[name], *("{:.4f} ({:.4f} to {:.4f})".format(*of[name]) for of in found.models.values())]
        for name in next(iter(found.models.values()))
    ]
    title = f"{found.n} images in all files; 95 % intervals from {found.resamples} resamples of {found.resampled}"
    tables: list[dict[str, Any]] = [{"title": title, "head": ["", *found.models], "rows": rows}]
    corrected = f"p (Holm, {len(found.differences)} differences)"
    head = ["", "difference (95 %)", corrected, "", "Williams-Steiger (uncorrected)"]
    for pair in combinations(found.models, 2):
        rows = []
        for row in (row for row in found.differences if (row.first, row.second) == pair):
            shown = f"{row.difference:+.4f} ({row.lower:+.4f} to {row.upper:+.4f})"
            verdict = f"{row.verdict}: {row.better} is better" if row.better else row.verdict
            williams = "t {:.2f}, p {:.2g}".format(*row.williams) if row.williams else ""
            rows.append([NAMES[row.metric], shown, f"{row.p_holm:.2g}", verdict, williams])
        tables.append({"title": " less ".join(pair), "head": head, "rows": rows})
    return tables


def print_table(table: dict[str, Any]) -> None:
    print(table["title"])
    rows = [[printable(cell) for cell in row] for row in (table["head"], *table["rows"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def draw_differences(found: Comparison, path: Path) -> None:
    from iqa.evaluation.plots import draw_intervals

    shown = [row for row in found.differences if row.metric in DRAWN]
    labels = [f"{Path(row.first).stem} - {Path(row.second).stem}: {NAMES[row.metric]}" for row in shown]
    values = [(row.difference, row.lower, row.upper) for row in shown]
    draw_intervals(labels, values, [row.verdict == DIFFERS for row in shown], path)
    print(
        f"{printable(path)}: differences of the metrics on {found.n} images with paired 95 % intervals; right of 0 the "
        "first is higher, which is better or not as each row says. A filled dot: the models differ (p below 0.05, "
        f"corrected for {len(found.differences)} differences)"
    )


def write_disagreements(path: Path, matched: MatchedPredictions, folder: Path | None, tables: list[dict[str, Any]]) -> None:
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
    found = compare_models(matched, arguments.bootstrap)
    tables = make_tables(found)
    for number, table in enumerate(tables):
        print(end="\n" if number else "")
        print_table(table)
    if arguments.json:
        write_json(arguments.json, found.as_json())
    if arguments.figure:
        draw_differences(found, arguments.figure)
    if arguments.report:
        write_disagreements(arguments.report, matched, arguments.images, tables)
        print(f"{printable(arguments.report)}: open this page in a browser", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)

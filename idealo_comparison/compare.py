"""Is one model better than another? All metrics side by side, and whether their differences are real.

    python idealo_comparison/compare.py AVA/wtf_vanilla.mat AVA/wtf_patches.mat idealo_comparison/wtf_idealo_ava.mat
    python idealo_comparison/compare.py A.mat B.mat --figure differences.pdf --json comparison.json
    python idealo_comparison/compare.py A.mat B.mat --report page.html --images data/ava

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

from iqa.commands.terminal import parser_of, positive, processors, run
from iqa.evaluation.comparison import compare, matched
from iqa.evaluation.tables import TITLES
from iqa.files import written_whole
from iqa.labels.histograms import mean_scores
from iqa.scoring.report import check_report, write_page

#: The differences that the figure shows: all on scales that fit one axis.
DRAWN = ("lcc", "srcc", "lcc_std", "srcc_std", "emd_l1", "rmse")

#: Pictures on the page.
MOST_SHOWN = 200


def tables_of(found):
    """What a comparison says as tables {title, head, rows}: the models side by side, then the differences of each pair."""
    rows = [
        [TITLES[name], *("{:.4f} ({:.4f} to {:.4f})".format(*of[name]) for of in found["models"].values())]
        for name in next(iter(found["models"].values()))
    ]
    title = f"{found['n']} images in all files; 95 % intervals from {found['resamples']} resamples of {found['resampled']}"
    tables = [{"title": title, "head": ["", *found["models"]], "rows": rows}]
    for first, second in combinations(found["models"], 2):
        rows = []
        for row in found["differences"]:
            if (row["first"], row["second"]) == (first, second):
                williams = f"t {row['williams_t']:.2f}, p {row['williams_p']:.2g}" if "williams_t" in row else ""
                shown = f"{row['difference']:+.4f} ({row['lower']:+.4f} to {row['upper']:+.4f})"
                rows.append([TITLES[row["metric"]], shown, row["verdict"], williams])
        head = ["", "difference (95 %)", "", "Williams-Steiger"]
        tables.append({"title": f"{first} less {second}", "head": head, "rows": rows})
    return tables


def print_table(table):
    print(table["title"])
    rows = [table["head"], *table["rows"]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def disagreements(sides, ids, folder):
    """The `MOST_SHOWN` images on which the mean scores of the models lie furthest apart, as `iqa.scoring.report.Picture`."""
    from iqa.images.finding import list_images
    from iqa.scoring.report import Picture

    paths = {path.stem.lower(): path for path in list_images(folder)} if folder else {}
    people = mean_scores(next(iter(sides.values()))[0])
    models = {str(file): mean_scores(predictions) for file, (_, predictions) in sides.items()}
    apart = np.ptp(list(models.values()), axis=0)
    pictures = []
    for row in np.argsort(-apart, kind="stable")[:MOST_SHOWN]:
        values = {"disagreement": apart[row], **{name: of[row] for name, of in models.items()}, "people": people[row]}
        histograms = {str(file): of[row] for file, (_, of) in sides.items() if of.ndim == 2}
        pictures.append(Picture(ids[row], paths.get(ids[row]), values, histograms=histograms))
    return pictures


def main():
    parser = parser_of(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.mat")
    parser.add_argument("--bootstrap", type=positive, default=1000, help="resamples (default: 1000)")
    parser.add_argument("--json", type=Path, help="write the comparison here")
    parser.add_argument("--figure", type=Path, help="draw the differences with their intervals, as .pdf, .svg or .png")
    parser.add_argument(
        "--report", type=Path, help="write a page with the pictures on which the models disagree most: .html"
    )
    parser.add_argument("--images", type=Path, help="folder of the pictures, for --report")
    arguments = parser.parse_args()
    if len(set(arguments.files)) < 2:
        parser.error("a comparison needs two files of predictions")
    if arguments.report:
        check_report(arguments.report)
    sides, ids = matched(arguments.files)
    found = compare(sides, ids, arguments.bootstrap)
    tables = tables_of(found)
    for number, table in enumerate(tables):
        print(end="\n" if number else "")
        print_table(table)
    if arguments.json:
        with written_whole(arguments.json) as file:
            file.write(json.dumps(found, indent=1).encode())
    if arguments.figure:
        from iqa.evaluation.plots import intervals as draw

        shown = [row for row in found["differences"] if row["metric"] in DRAWN]
        labels = [f"{Path(r['first']).stem} - {Path(r['second']).stem}: {TITLES[r['metric']]}" for r in shown]
        draw(labels, [(r["difference"], r["lower"], r["upper"]) for r in shown], arguments.figure)
        print(
            f"{arguments.figure}: differences of the metrics on {found['n']} images with paired 95 % intervals; right of 0 "
            "the first is higher, and where the dot is filled the interval excludes 0"
        )
    if arguments.report:
        pictures = disagreements(sides, ids, arguments.images)
        lead = f"The {len(pictures)} of {len(ids)} pictures on which the mean scores of the models lie furthest apart."
        write_page(arguments.report, pictures, "Where the models disagree", lead, processors(), tables=tables)
        print(f"{arguments.report}: a page to look at", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)

"""Measure how well models agree with people: the rank correlation of scores and votes, on the pictures of a folder.

    python AVA/compare_with_people.py --images data/ava --votes data/ava_labels_test.json
    python AVA/compare_with_people.py --images data/ava --votes data/ava_labels_test.json --weights runs/1/best.weights.h5
    python AVA/compare_with_people.py --images pictures --votes beauty.csv --scale 1 7 --teacher
    python AVA/compare_with_people.py --images data/distilled/test --teacher --steadiness --figure best_and_worst.png

Votes may have any form that the train scripts read. Missing pictures are counted and left out. The script prints a row
for each model: SRCC and LCC with people's votes, with 95 % intervals from resampling the pictures. --teacher adds
idealo's model (mean over six crops), from which the shipped weights learned, and each model's SRCC with it. Without
--votes its scores replace people's votes. --steadiness prints how far a score moves if the picture is mirrored or loses
a row and a column.
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from iqa.cards import card_for, weights_file
from iqa.commands.terminal import add_overwrite, load_quietly, parser_of, positive, run
from iqa.environment import processors
from iqa.evaluation.metrics import estimate_interval, resample_metrics
from iqa.files import check_target, printable, read_beginning, write_json
from iqa.images.finding import list_images
from iqa.images.geometry import CROP, CROPS
from iqa.images.reading import read_image
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.scoring import idealo
from iqa.scoring.many import score_all
from iqa.scoring.scorer import load_scorer

SHIPPED = ("ava_vanilla", "ava_patches")
TEACHER = "the teacher's mean score"


def score_means(scorer, paths):
    """The mean scores of pictures, float64 (N,); NaN for one that cannot be scored, which is named on stderr."""
    means = np.full(len(paths), np.nan)
    for place, result in enumerate(score_all({"it": scorer}, paths, workers=processors())):
        if result.error:
            print(printable(f"{result.path}: {result.error}"), file=sys.stderr)
        else:
            means[place] = result.mean("it")
    return means


def compare(votes, scores, resamples):
    """{model: {figure: value}} of mean votes (N,) and mean scores {model: (N,)}, over pictures that all models scored."""
    known = np.isfinite(np.stack(list(scores.values()))).all(axis=0)
    rows = {}
    for name, predicted in scores.items():
        drawn = resample_metrics(votes[known], predicted[known], resamples)
        rows[name] = {"n": int(known.sum())}
        for figure, correlate in (("srcc", stats.spearmanr), ("lcc", stats.pearsonr)):
            rows[name][figure] = float(correlate(votes[known], predicted[known])[0])
            rows[name][f"{figure}_95"] = estimate_interval(drawn[figure])
        if TEACHER in scores:
            rows[name]["srcc_teacher"] = float(stats.spearmanr(scores[TEACHER][known], predicted[known])[0])
    return rows


def measure_steadiness(scorer, paths, means):
    """{change: rms difference of the scores of changed pictures to `means`}."""
    moved = {"mirror_image": [], "row_and_column_less": []}
    for path, score in zip(paths, means, strict=True):
        if np.isfinite(score):
            pixels = read_image(path)
            moved["mirror_image"].append(scorer.score(pixels[:, ::-1]).mean - score)
            moved["row_and_column_less"].append(scorer.score(pixels[1:, 1:]).mean - score)
    return {change: float(np.sqrt(np.mean(np.square(by)))) for change, by in moved.items()}


def is_comparison(path):
    """Whether a file has figures of this script."""
    return all("srcc_95" in row for row in json.loads(read_beginning(path)).values())


def print_rows(rows, people):
    count = next(iter(rows.values()))["n"]
    print(f"agreement with {people} on {count} pictures (95 % intervals)")
    for name, row in rows.items():
        cells = []
        for figure in ("srcc", "lcc"):
            low, high = row[f"{figure}_95"]
            cells.append(f"{figure.upper()} {row[figure]:.3f} ({low:.3f} to {high:.3f})")
        if "srcc_teacher" in row and name != TEACHER:
            cells.append(f"SRCC with the teacher {row['srcc_teacher']:.3f}")
        if "mirror_image" in row:
            cells.append(f"rms: mirrored {row['mirror_image']:.3f}, row and column less {row['row_and_column_less']:.3f}")
        print(f"  {name:28s} {'  '.join(cells)}")


def draw_best_and_worst(paths, scores, figure):
    """Draw the 12 pictures with the highest and the 12 with the lowest scores by the first model."""
    from iqa.evaluation.plots import plain, save_figure, start_figure

    first = next(iter(scores.values()))
    order = [place for place in np.argsort(-first) if np.isfinite(first[place])]
    groups = {
        group: [(read_image(paths[i]), ", ".join(f"{of[i]:.2f}" for of in scores.values())) for i in chosen]
        for group, chosen in (("best", order[:12]), ("worst", order[::-1][:12]))
    }
    sheet = start_figure(13.2, 10)
    for part, (name, pictures) in zip(sheet.subfigures(2, 1), groups.items(), strict=True):
        part.suptitle(name)
        for number, cell in enumerate(part.subplots(2, 6).ravel()):
            cell.axis("off")
            if number < len(pictures):
                cell.imshow(pictures[number][0])
                cell.set_title(plain(pictures[number][1]), fontsize=8)
    save_figure(sheet, figure)
    print(f"{printable(figure)}: scores by {', '.join(scores)}")


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, help="folder of the pictures")
    add("--votes", type=Path, help="people's votes: .json, AVA.txt or .csv (default: --teacher's scores)")
    add(
        "--scale",
        type=float,
        nargs=2,
        default=(1, 10),
        metavar=("LOWEST", "HIGHEST"),
        help="lowest and highest possible vote (default: 1 10)",
    )
    add("--weights", nargs="+", default=SHIPPED, help=f"compare these models (default: {' '.join(SHIPPED)})")
    add("--crop", choices=CROPS, help=f"how patches are placed, in models of patches (default: {CROP})")
    add("--teacher", nargs="?", const=idealo.AESTHETIC_WEIGHTS, type=Path, help="also score with these weights of idealo")
    add("--steadiness", action="store_true", help="print how far mirroring and small crops change the scores")
    add("--bootstrap", type=positive, default=1000, help="resamples for the 95 %% intervals (default: 1000)")
    add("--json", type=Path, help="also write the figures to this file")
    add("--figure", type=Path, help="draw the first model's 12 best and 12 worst pictures")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if not arguments.votes and not arguments.teacher:
        parser.error("give --votes or --teacher to compare with")
    if arguments.json:
        check_target(arguments.json, arguments.overwrite, is_comparison, filter(None, [arguments.votes]))
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite)
    rated = read_ratings(arguments.votes, tuple(arguments.scale)) if arguments.votes else []
    found = [image for image in locate_ratings(rated, arguments.images) if image.path]
    paths = [image.path for image in found] if rated else list_images(arguments.images)
    if len(paths) < 3:
        parser.error(f"{arguments.images} holds {len(paths)} pictures to compare; at least 3 are needed")
    if rated:
        known = f"{len(found)} of the {len(rated)} pictures of {arguments.votes}"
        print(printable(f"{arguments.images}: {known}"), file=sys.stderr)
    models, scores = {}, {}
    for weights in arguments.weights:
        whole = card_for(weights_file(weights)).preprocessing.kind == "resize"
        options = {"head": "histogram", "crop": None if whole else arguments.crop}
        models[str(weights)] = load_quietly(partial(load_scorer, weights, **options))
    if arguments.teacher:
        load_teacher = {"head": "histogram", "cardless": idealo.AESTHETIC, "six_crops": True}
        models[TEACHER] = load_quietly(lambda: load_scorer(arguments.teacher, **load_teacher), idealo.HINT)
    scores = {name: score_means(scorer, paths) for name, scorer in models.items()}
    votes = np.array([image.mean for image in found]) if rated else scores[TEACHER]
    shown = scores if rated else {name: means for name, means in scores.items() if name != TEACHER}
    rows = compare(votes, shown, arguments.bootstrap)
    if arguments.steadiness:
        for name, row in rows.items():
            row |= measure_steadiness(models[name], paths, scores[name])
    print_rows(rows, "people" if rated else TEACHER)
    if arguments.json:
        write_json(arguments.json, rows)
    if arguments.figure:
        draw_best_and_worst(paths, scores, arguments.figure)
    return 0


if __name__ == "__main__":
    run(main)

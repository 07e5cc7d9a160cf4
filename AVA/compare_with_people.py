"""How well models agree with people: the rank correlation of their scores with votes, on pictures from a folder.

    python AVA/compare_with_people.py --images data/ava --votes data/ava_labels_test.json
    python AVA/compare_with_people.py --images data/ava --votes data/ava_labels_test.json --weights runs/1/best.weights.h5
    python AVA/compare_with_people.py --images pictures --votes beauty.csv --scale 1 7 --teacher

Votes are in any form that the train scripts read. Pictures that the folder lacks are counted and left out. Each model has a
row: SRCC and LCC with people, with 95 % intervals from resampling the pictures. With --teacher, idealo's model has a row
too, the one that taught the shipped weights; the other rows end with their SRCC with it.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

from iqa.commands.terminal import add_overwrite, load_quietly, parser_of, positive, run
from iqa.environment import processors
from iqa.evaluation.uncertainty import estimate_interval, resample_metrics
from iqa.files import check_target, printable, read_beginning, write_json
from iqa.images.geometry import CROP, CROPS
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.scoring import idealo
from iqa.scoring.scorer import Scorer, load_scorer

SHIPPED = ("ava_vanilla", "ava_patches")
TEACHER = "the teacher's mean opinion"


def load_teacher(weights):
    """idealo's model, with its mean opinion over six views."""
    return load_scorer(weights, head="histogram", cardless=idealo.AESTHETIC, six_crops=True)


def score_means(scorer, paths):
    """The mean scores of pictures, float64 (N,); NaN for one that cannot be scored, which is named on stderr."""
    means = np.full(len(paths), np.nan)
    for place, (path, prediction) in enumerate(scorer.score_all(paths, workers=processors())):
        if prediction.reason:
            print(printable(f"{path}: {prediction.reason}"), file=sys.stderr)
        else:
            means[place] = prediction.score
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


def is_comparison(path):
    """Whether a file has figures of this script."""
    return all("srcc_95" in row for row in json.loads(read_beginning(path)).values())


def print_rows(rows):
    count = next(iter(rows.values()))["n"]
    print(f"agreement with people on {count} pictures (95 % intervals)")
    for name, row in rows.items():
        cells = []
        for figure in ("srcc", "lcc"):
            low, high = row[f"{figure}_95"]
            cells.append(f"{figure.upper()} {row[figure]:.3f} ({low:.3f} to {high:.3f})")
        if "srcc_teacher" in row and name != TEACHER:
            cells.append(f"SRCC with the teacher {row['srcc_teacher']:.3f}")
        print(f"  {name:28s} {'  '.join(cells)}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="folder of the pictures")
    parser.add_argument("--votes", required=True, type=Path, help="people's votes: .json, AVA.txt or .csv")
    parser.add_argument(
        "--scale", type=float, nargs=2, default=(1, 10), metavar=("LOWEST", "HIGHEST"), help="default: 1 10"
    )
    parser.add_argument("--weights", nargs="+", default=SHIPPED, help=f"models (default: {' '.join(SHIPPED)})")
    parser.add_argument("--crop", choices=CROPS, help=f"of models that see patches (default: {CROP})")
    parser.add_argument("--teacher", nargs="?", const=idealo.AESTHETIC_WEIGHTS, type=Path, help="idealo's weights")
    parser.add_argument("--bootstrap", type=positive, default=1000, help="resamples (default: 1000)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    add_overwrite(parser)
    arguments = parser.parse_args()
    if arguments.json:
        check_target(arguments.json, arguments.overwrite, is_comparison, [arguments.votes])
    rated = read_ratings(arguments.votes, tuple(arguments.scale))
    found = [image for image in locate_ratings(rated, arguments.images) if image.path]
    if len(found) < 3:
        parser.error(f"{arguments.images} holds {len(found)} of the {len(rated)} pictures of {arguments.votes}")
    print(printable(f"{arguments.images}: {len(found)} of the {len(rated)} pictures of {arguments.votes}"), file=sys.stderr)
    paths, votes = [image.path for image in found], np.array([image.mean for image in found])
    scores = {}
    for weights in arguments.weights:
        scorer = load_quietly(lambda weights=weights: Scorer(weights, head="histogram"))
        if scorer.geometry.crop and arguments.crop:
            scorer = Scorer(weights, arguments.crop, head="histogram")
        scores[str(weights)] = score_means(scorer, paths)
    if arguments.teacher:
        teacher = load_quietly(lambda: load_teacher(arguments.teacher), idealo.HINT)
        scores[TEACHER] = score_means(teacher, paths)
    rows = compare(votes, scores, arguments.bootstrap)
    print_rows(rows)
    if arguments.json:
        write_json(arguments.json, rows)
    return 0


if __name__ == "__main__":
    run(main)

"""Print how well predictions agree with people's scores, in the words of the original's tables.

python TID2013_regression/plot_regression.py
python TID2013_regression/plot_regression.py FILE.mat --json metrics.json --figure figure.png
python TID2013_regression/plot_regression.py FILE.mat --distortions --heat-map errors.pdf
python TID2013_regression/plot_regression.py FILE.mat --distortion 10
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

from iqa.commands.terminal import parser_of, run
from iqa.distortions.table import DISTORTIONS as TYPES
from iqa.evaluation.metrics import agreement, correlations
from iqa.evaluation.predictions import read_predictions, scenes_of
from iqa.evaluation.tables import add_interval_options, print_intervals
from iqa.files import written_whole

PREDICTIONS = Path(__file__).with_name("tid_wtf_regression.mat")
LEVELS = 5


def by_distortion(predictions):
    """{distortion: (names of the scenes, labels (scenes, 5), predictions (scenes, 5))}, complete scenes only."""
    ladders = {}
    for image_id, label, prediction in zip(predictions.ids, predictions.labels, predictions.predictions):
        match = re.fullmatch(r"(.+)_(\d+)_(\d+)", image_id)
        if match:
            ladder = ladders.setdefault(int(match[2]), {}).setdefault(match[1], {})
            ladder[int(match[3])] = (label, prediction)
    tables = {}
    for distortion, scenes in sorted(ladders.items()):
        whole = {scene: steps for scene, steps in sorted(scenes.items()) if sorted(steps) == list(range(1, LEVELS + 1))}
        pairs = np.array([[steps[level] for level in sorted(steps)] for steps in whole.values()]).reshape(-1, LEVELS, 2)
        tables[distortion] = (list(whole), pairs[..., 0], pairs[..., 1])
    return tables


def print_scenes(table):
    """The original's lines: labels and predictions of one distortion's five levels, a line a scene."""
    with np.printoptions(precision=3, suppress=True):
        for scene, labels, predictions in zip(*table):
            print(f"Image {scene}, labels:{labels}, predictions:{predictions}")


def print_table(result):
    print(f"Got labels: {result.n}")
    print("Confusion matrix:")
    print(result.confusion_matrix)
    print(f"accuracy:{result.accuracy}")
    print(f"standard deviation of score differences:{result.score_difference_std}")
    print(f"LCC: {result.lcc}")
    print(f"SRCC: SpearmanrResult(correlation={result.srcc[0]}, pvalue={result.srcc[1]})")


def print_distortions(tables):
    """Figures by distortion, with the share of scenes whose levels are ranked as people ranked them; then by level."""
    for distortion, (_, labels, scores) in tables.items():
        ranked = np.mean((np.argsort(labels, axis=1) == np.argsort(scores, axis=1)).all(axis=1))
        print(f"distortion {distortion:2d}: {_figures(labels, scores)}, ranked as people {ranked:.2f} of scenes")
    for level in range(LEVELS):
        labels, scores = (np.concatenate([table[side][:, level] for table in tables.values()]) for side in (1, 2))
        print(f"level {level + 1}: {_figures(labels, scores)}")


def _figures(labels, scores):
    lcc, srcc = correlations(labels.ravel(), scores.ravel())
    rmse = np.sqrt(np.mean((labels - scores) ** 2))
    return f"n {labels.size:4d}, LCC {lcc:.4f}, SRCC {srcc:.4f}, RMSE {rmse:.4f}"


def note_figures(card_path, predictions, result):
    """Add the correlations to a card under the geometry and the scenes that they were measured with.

    Raises:
        ValueError: if the predictions are not of the weights that the card describes.
    """
    card = json.loads(card_path.read_text(encoding="utf-8"))
    if predictions.provenance.get("weights_sha256") != card["sha256"]:
        raise ValueError(f"{card_path}: the predictions were made with other weights")
    scenes = sorted(set(scenes_of(predictions.ids)))
    figures = {"n": result.n, "lcc": round(result.lcc[0], 4), "srcc": round(result.srcc[0], 4)}
    figures["rmse"] = round(result.rmse, 4)
    card.setdefault("figures", {})[f"{predictions.provenance['geometry']}, {scenes[0]}-{scenes[-1]}"] = figures
    with written_whole(card_path) as file:
        file.write(json.dumps(card, indent=1).encode())


def main():
    parser = parser_of(__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=PREDICTIONS, help=f"default: {PREDICTIONS.name} beside this")
    parser.add_argument("--json", type=Path, help="write the metrics here")
    parser.add_argument(
        "--figure", type=Path, help="write distributions, scatter and calibration here, as .pdf, .svg or .png"
    )
    parser.add_argument("--show", action="store_true", help="open the figure")
    parser.add_argument("--distortion", type=int, help="print labels and predictions of one distortion's levels instead")
    parser.add_argument("--card", type=Path, help="note LCC and SRCC on the card of the weights that predicted")
    parser.add_argument("--distortions", action="store_true", help="print the figures of each distortion and level as well")
    parser.add_argument("--heat-map", type=Path, help="draw the error by distortion and level here")
    add_interval_options(parser)
    arguments = parser.parse_args()
    predictions = read_predictions(arguments.file)
    result = agreement(predictions.labels, predictions.predictions)
    tables = by_distortion(predictions)
    if arguments.distortion is not None:
        if arguments.distortion not in tables:
            parser.error(f"{arguments.file} holds no image of distortion {arguments.distortion}")
        print_scenes(tables[arguments.distortion])
        return 0
    print_table(result)
    print_intervals(predictions.labels, predictions.predictions, arguments, scenes_of(predictions.ids))
    if predictions.skipped:
        print(f"{len(predictions.skipped)} images were skipped, see `skipped` in {arguments.file}", file=sys.stderr)
    if arguments.distortions:
        print_distortions(tables)
    if arguments.heat_map:
        from iqa.evaluation.plots import heat_map

        errors = [np.sqrt(np.mean((scores - labels) ** 2, axis=0)) for _, labels, scores in tables.values()]
        names = [f"{number} {TYPES[number].name}" for number in tables]
        heat_map(np.array(errors), names, [f"level {level}" for level in range(1, LEVELS + 1)], "RMSE", arguments.heat_map)
        print(f"{arguments.heat_map}: root mean square error of the score (TID2013, 0-9) by distortion and level")
    if arguments.json:
        with written_whole(arguments.json) as file:
            file.write(json.dumps(result.as_json(), indent=1).encode())
    if arguments.card:
        note_figures(arguments.card, predictions, result)
    if arguments.figure or arguments.show:
        from iqa.evaluation.plots import predictions_against_truth, show

        figure = arguments.figure or arguments.file.with_suffix(".png")
        caption = predictions_against_truth(predictions.labels, predictions.predictions, figure, "TID2013, 0-9")
        print(f"{figure}: {arguments.file.name}, {caption}")
        if arguments.show:
            show(figure)
    return 0


if __name__ == "__main__":
    run(main)

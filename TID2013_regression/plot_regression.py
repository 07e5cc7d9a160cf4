"""Print how well predictions agree with people's scores, in the words of the original's tables.

    python TID2013_regression/plot_regression.py
    python TID2013_regression/plot_regression.py FILE.mat --json metrics.json --figure figure.png
    python TID2013_regression/plot_regression.py FILE.mat --distortions --heat-map errors.pdf
    python TID2013_regression/plot_regression.py FILE.mat --distortion 10

Without a file it reads tid_wtf_regression.mat beside this script.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.cards import TID2013_SCALE, read_card
from iqa.commands.plot import check_targets, draw_results, interval_options, plot_parser, print_results
from iqa.commands.terminal import run
from iqa.distortions.table import DISTORTIONS as TYPES
from iqa.errors import PredictionsError
from iqa.evaluation.metrics import Agreement, correlate, measure_agreement
from iqa.evaluation.predictions import Predictions, name_scenes, read_predictions
from iqa.evaluation.tables import format_agreement
from iqa.evaluation.uncertainty import FEWEST_SCENES, estimate_interval, resample_metrics
from iqa.files import printable, write_json

PREDICTIONS = Path(__file__).with_name("tid_wtf_regression.mat")
LEVELS = 5

#: Of files that do not tell theirs.
SCALE = TID2013_SCALE.name

#: Names of the scenes, labels (scenes, 5), predictions (scenes, 5).
Table = tuple[list[str], NDArray[np.float64], NDArray[np.float64]]


def sort_by_distortion(predictions: Predictions) -> dict[int, Table]:
    """{distortion: its scenes}; scenes of which a level is missing are left out."""
    ladders: dict[int, dict[str, dict[int, tuple[float, float]]]] = {}
    for image_id, *pair in zip(predictions.ids, predictions.labels, predictions.predictions, strict=True):
        match = re.fullmatch(r"(.+)_(\d+)_(\d+)", image_id)
        if match:
            ladder = ladders.setdefault(int(match[2]), {}).setdefault(match[1], {})
            ladder[int(match[3])] = (float(pair[0]), float(pair[1]))
    tables = {}
    for distortion, scenes in sorted(ladders.items()):
        whole = {scene: steps for scene, steps in sorted(scenes.items()) if sorted(steps) == list(range(1, LEVELS + 1))}
        pairs = np.array([[steps[level] for level in sorted(steps)] for steps in whole.values()]).reshape(-1, LEVELS, 2)
        if whole:
            tables[distortion] = (list(whole), pairs[..., 0], pairs[..., 1])
    return tables


def print_scenes(table: Table) -> None:
    """The original's lines: labels and predictions of one distortion's five levels, a line a scene."""
    with np.printoptions(precision=3, suppress=True):
        for scene, labels, predictions in zip(*table, strict=True):
            print(f"Image {printable(scene)}, labels:{labels}, predictions:{predictions}")


def print_distortions(tables: dict[int, Table], resamples: int) -> None:
    """Figures by distortion, with the share of scenes whose levels are ranked as people ranked them; then by level.

    Of `FEWEST_SCENES` scenes or more, the LCC has a 95 % interval by a bootstrap of the scenes.
    """
    for distortion, (scenes, labels, scores) in tables.items():
        ranked = np.mean((np.argsort(labels, axis=1) == np.argsort(scores, axis=1)).all(axis=1))
        sure = ""
        if resamples and len(scenes) >= FEWEST_SCENES:
            groups = np.repeat(np.arange(len(scenes)), LEVELS)
            low, high = estimate_interval(resample_metrics(labels.ravel(), scores.ravel(), resamples, groups)["lcc"])
            sure = f"LCC between {low:.2f} and {high:.2f}, "
        figures = format_figures(labels, scores)
        print(f"distortion {distortion:2d}: {figures}, {sure}ranked as people {ranked:.2f} of scenes")
    for level in range(LEVELS):
        labels, scores = (np.concatenate([table[side][:, level] for table in tables.values()]) for side in (1, 2))
        print(f"level {level + 1}: {format_figures(labels, scores)}")


def format_figures(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> str:
    lcc, srcc = correlate(labels.ravel(), scores.ravel())
    rmse = np.sqrt(np.mean((labels - scores) ** 2))
    return f"n {labels.size:4d}, LCC {lcc:.4f}, SRCC {srcc:.4f}, RMSE {rmse:.4f}"


def draw_errors(tables: dict[int, Table], path: Path, scale: str) -> None:
    """Draw the root mean square error by distortion and level."""
    from iqa.evaluation.plots import draw_heat_map

    errors = [np.sqrt(np.mean((scores - labels) ** 2, axis=0)) for _, labels, scores in tables.values()]
    names = [f"{number} {TYPES[number].name}" if number in TYPES else str(number) for number in tables]
    draw_heat_map(np.array(errors), names, [f"level {level}" for level in range(1, LEVELS + 1)], "RMSE", path)
    print(f"{printable(path)}: root mean square error of the score ({scale}) by distortion and level")


def note_figures(card_path: Path, predictions: Predictions, result: Agreement) -> None:
    """Add the correlations to a card under the geometry and the scenes that they were measured with.

    Raises:
        PredictionsError: if the predictions are not of the weights that the card describes.
        CardError: if the card cannot be read.
    """
    card = read_card(card_path)
    if not card.sha256 or predictions.provenance.get("weights_sha256") != card.sha256:
        raise PredictionsError(f"{card_path}: the predictions were made with other weights")
    scenes = sorted(set(name_scenes(predictions.ids)))
    figures = {"n": result.n} | {
        name: round(value, 4) for name, value in (("lcc", result.lcc[0]), ("srcc", result.srcc[0]), ("rmse", result.rmse))
    }
    measured = f"{predictions.provenance.get('geometry', 'unknown geometry')}, {scenes[0]}-{scenes[-1]}"
    write_json(card_path, replace(card, figures=card.figures | {measured: figures}).to_json())


def main() -> int:
    parser = plot_parser(__doc__, PREDICTIONS)
    parser.add_argument("--distortion", type=int, help="print labels and predictions of one distortion's levels instead")
    parser.add_argument("--card", type=Path, help="note LCC and SRCC on the card of the weights that predicted")
    parser.add_argument("--distortions", action="store_true", help="print the figures of each distortion and level as well")
    parser.add_argument("--heat-map", type=Path, help="draw the error by distortion and level here")
    arguments = parser.parse_args()
    check_targets(arguments)
    if arguments.heat_map:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.heat_map, arguments.overwrite, [arguments.file])
    predictions = read_predictions(arguments.file)
    result = measure_agreement(predictions.labels, predictions.predictions)
    tables = sort_by_distortion(predictions)
    if arguments.distortion is not None:
        if arguments.distortion not in tables:
            parser.error(f"{arguments.file} holds no image of distortion {arguments.distortion}")
        print_scenes(tables[arguments.distortion])
        return 0
    if (arguments.distortions or arguments.heat_map) and not tables:
        parser.error(f"{arguments.file} holds no scene with all {LEVELS} levels of a distortion")
    scenes = name_scenes(predictions.ids)
    print_results(format_agreement(result), result, predictions, arguments.file, interval_options(arguments), scenes)
    if arguments.distortions:
        print_distortions(tables, arguments.bootstrap)
    if arguments.heat_map:
        draw_errors(tables, arguments.heat_map, predictions.provenance.get("scale", SCALE))
    if arguments.json:
        write_json(arguments.json, result.as_json())
    if arguments.card:
        note_figures(arguments.card, predictions, result)
    if arguments.figure:
        draw_results(predictions, SCALE, arguments.file, arguments.figure, arguments.show)
    return 0


if __name__ == "__main__":
    run(main)

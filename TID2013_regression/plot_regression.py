"""Print how well predictions agree with people's scores, in the words of the original's tables.

    python TID2013_regression/plot_regression.py
    python TID2013_regression/plot_regression.py FILE.mat --json metrics.json --figure figure.png
    python TID2013_regression/plot_regression.py FILE.mat --distortions --heat-map errors.pdf
    python TID2013_regression/plot_regression.py FILE.mat --distortion 10

Without a file it reads tid_wtf_regression.mat beside this script.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.cards import TID2013_SCALE, read_card
from iqa.commands.plot import check_targets, plot_parser, print_results, write_results
from iqa.commands.terminal import run
from iqa.distortions.table import DISTORTIONS as TYPES
from iqa.errors import PredictionsError
from iqa.evaluation.metrics import (
    FEWEST_SCENES,
    Agreement,
    correlate,
    estimate_interval,
    measure_agreement,
    resample_metrics,
)
from iqa.evaluation.predictions import Predictions, name_scenes, read_predictions
from iqa.files import printable, write_json

PREDICTIONS = Path(__file__).with_name("tid_wtf_regression.mat")
LEVELS = 5

#: Of files that do not tell theirs.
SCALE = TID2013_SCALE.name

#: {distortion: (names of the scenes, labels and predictions float (scenes, 5, 2))}
Tables = dict[int, tuple[list[str], NDArray[np.float64]]]


def sort_by_distortion(predictions: Predictions) -> Tables:
    """The scenes of each distortion; those of which a level is missing are left out."""
    pairs = np.stack([predictions.labels, predictions.predictions], axis=-1)
    rows = {tuple(image_id.rsplit("_", 2)): row for row, image_id in enumerate(predictions.ids)}
    ladders: dict[int, dict[str, list[int | None]]] = {}
    for scene, number in sorted({name[:2] for name in rows if len(name) == 3 and name[1].isdecimal()}):
        steps = [rows.get((scene, number, str(level))) for level in range(1, LEVELS + 1)]
        if None not in steps:
            ladders.setdefault(int(number), {})[scene] = steps
    return {number: (list(scenes), pairs[np.array(list(scenes.values()))]) for number, scenes in sorted(ladders.items())}


def print_distortions(tables: Tables, resamples: int) -> None:
    """Figures by distortion, with the share of scenes whose levels are ranked as people ranked them; then by level.

    Of `FEWEST_SCENES` scenes or more, the LCC has a 95 % interval by a bootstrap of the scenes.
    """
    for distortion, (scenes, pairs) in tables.items():
        order = np.argsort(pairs, axis=1)
        ranked = np.mean((order[..., 0] == order[..., 1]).all(axis=1))
        sure = ""
        if resamples and len(scenes) >= FEWEST_SCENES:
            groups = np.repeat(np.arange(len(scenes)), LEVELS)
            low, high = estimate_interval(resample_metrics(*pairs.reshape(-1, 2).T, resamples, groups)["lcc"])
            sure = f"LCC between {low:.2f} and {high:.2f}, "
        print(f"distortion {distortion:2d}: {format_figures(pairs)}, {sure}ranked as people {ranked:.2f} of scenes")
    every = np.concatenate([pairs for _, pairs in tables.values()])
    for level in range(LEVELS):
        print(f"level {level + 1}: {format_figures(every[:, level])}")


def format_figures(pairs: NDArray[np.float64]) -> str:
    labels, scores = pairs.reshape(-1, 2).T
    lcc, srcc = correlate(labels, scores)
    rmse = np.sqrt(np.mean((labels - scores) ** 2))
    return f"n {labels.size:4d}, LCC {lcc:.4f}, SRCC {srcc:.4f}, RMSE {rmse:.4f}"


def draw_errors(tables: Tables, path: Path, scale: str) -> None:
    """Draw the root mean square error by distortion and level."""
    from iqa.evaluation.plots import save_figure, start_figure

    errors = np.array([np.sqrt(np.mean((pairs[..., 0] - pairs[..., 1]) ** 2, axis=0)) for _, pairs in tables.values()])
    names = [f"{number} {TYPES[number].name}" if number in TYPES else str(number) for number in tables]
    figure = start_figure(0.9 * LEVELS + 4, 0.28 * len(names) + 1.2)
    axis = figure.subplots()
    image = axis.imshow(errors, cmap="cividis", aspect="auto")
    middle = (np.nanmin(errors) + np.nanmax(errors)) / 2
    for (row, column), error in np.ndenumerate(errors):
        colour = "white" if error < middle else "black"
        axis.text(column, row, f"{error:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(LEVELS), [f"level {level}" for level in range(1, LEVELS + 1)])
    axis.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(image, label="RMSE")
    save_figure(figure, path)
    print(f"{printable(path)}: root mean square error of the score ({scale}) by distortion and level")


def note_figures(card_path: Path, predictions: Predictions, result: Agreement) -> None:
    """Add the correlations to the card of the weights that predicted, under the geometry and the scenes."""
    card = read_card(card_path)
    if not card.sha256 or predictions.provenance.get("weights_sha256") != card.sha256:
        raise PredictionsError(f"{card_path}: the predictions were made with other weights")
    scenes = sorted(set(name_scenes(predictions.ids)))
    figures = {"lcc": result.lcc[0], "srcc": result.srcc[0], "rmse": result.rmse}
    measured = f"{predictions.provenance.get('geometry', 'unknown geometry')}, {scenes[0]}-{scenes[-1]}"
    figures = {"n": result.n} | {name: round(value, 4) for name, value in figures.items()}
    write_json(card_path, replace(card, figures=card.figures | {measured: figures}).to_json())


def main() -> int:
    parser = plot_parser(__doc__, PREDICTIONS)
    parser.add_argument("--distortion", type=int, help="print labels and predictions of this distortion (1-24) by level")
    parser.add_argument("--card", type=Path, help="write LCC and SRCC onto this model card (.json)")
    parser.add_argument("--distortions", action="store_true", help="also print the figures of each distortion and level")
    parser.add_argument("--heat-map", type=Path, help="draw the error by distortion and level into this file")
    arguments = parser.parse_args()
    check_targets(arguments)
    predictions = read_predictions(arguments.file)
    result = measure_agreement(predictions.labels, predictions.predictions)
    tables = sort_by_distortion(predictions)
    if arguments.distortion is not None:
        if arguments.distortion not in tables:
            parser.error(f"{arguments.file} holds no image of distortion {arguments.distortion}")
        with np.printoptions(precision=3, suppress=True):
            for scene, pairs in zip(*tables[arguments.distortion], strict=True):
                print(f"Image {printable(scene)}, labels:{pairs[:, 0]}, predictions:{pairs[:, 1]}")
        return 0
    if (arguments.distortions or arguments.heat_map) and not tables:
        parser.error(f"{arguments.file} holds no scene with all {LEVELS} levels of a distortion")
    print_results(arguments, predictions, result, name_scenes(predictions.ids))
    if arguments.distortions:
        print_distortions(tables, arguments.bootstrap)
    if arguments.heat_map:
        draw_errors(tables, arguments.heat_map, predictions.provenance.get("scale", SCALE))
    if arguments.card:
        note_figures(arguments.card, predictions, result)
    write_results(arguments, predictions, result, SCALE)
    return 0


if __name__ == "__main__":
    run(main)

"""The experiments that degrade one picture step by step: which pictures, a row each, a curve."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.commands.infer import add_patch_options
from iqa.commands.terminal import Parser, add_overwrite, parser_of
from iqa.distortions.everyday import everyday_ladders
from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.finding import list_images, sample_photograph
from iqa.images.reading import read_image
from iqa.labels.histograms import Score
from iqa.scoring.scorer import Scorer

Steps = Sequence[tuple[str, Path | NDArray[np.uint8]]]  # of one scene, (label, uint8 RGB), the undistorted one first


def scene_parser(description: str | None, weights: str | PathLike[str], patches: bool = False) -> Parser:
    """The parser of these experiments: the script's docstring, default weights, whether the model sees patches."""
    parser = parser_of(description)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER", help="an image, or a folder of one scene")
    parser.add_argument("--weights", default=str(weights), help="score with these weights (default: as the infer script)")
    if patches:
        add_patch_options(parser)
    parser.add_argument("--figure", type=Path, help="draw the curves into this file")
    add_overwrite(parser)
    return parser


def check_figure_of(arguments: Namespace) -> None:
    """Refuse, before the work, a figure that may not be written."""
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite, [arguments.scene] if arguments.scene else ())


def list_series(named: str | None) -> Mapping[str, Steps]:
    """The pictures of one scene that an experiment compares, {title: steps}; an `ImageError` names one that cannot be read.

    `named` is a folder of files of one scene, the undistorted one that with the shortest name; or an image, by default the
    sample photograph, which is degraded by `everyday_ladders`.
    """
    path = Path(named) if named else sample_photograph()
    if path.is_dir():
        files = sorted(list_images(path), key=lambda file: (len(file.stem), file.name))
        if not files:
            raise ImageError(f"{path}: a folder without images")
        return {path.name: [(file.name, file) for file in files]}
    try:
        return everyday_ladders(read_image(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def print_curves(
    series: Mapping[str, Steps],
    scorer: Scorer,
    figure: Path | None,
    scale: str,
    distance: Callable[[Any, Any], float] | None = None,
) -> int:
    """Print a row for every picture, and draw the curves if a figure is wanted; returns the exit code.

    `scale` names the figure's vertical axis. `distance` is a function (features of the undistorted picture, features) -> a
    number that each row shows beside the score, and the curve instead of it.
    """
    curves, refused = {}, 0
    for title, steps in series.items():
        print(f"{printable(title)}:")
        labels, values, undistorted = [], [], None
        for place, (name, image) in enumerate(steps):
            label = printable(name)
            try:
                score = scorer.score(image)
                features = scorer.features(image) if distance else None
            except ImageError as error:
                if distance and place == 0:
                    raise ImageError(f"{label}: {error}, and the others are compared with it") from None
                print(f"{label}: {printable(str(error))}", file=sys.stderr)
                refused += 1
                continue
            undistorted = features if place == 0 else undistorted
            mean = score.mean if isinstance(score, Score) else score
            values.append(distance(undistorted, features) if distance else mean)
            print(f"file:{label}, score:{mean:.6f}" + (f", cos: {values[-1]:.6f}" if distance else ""))
            labels.append(label)
        curves[title] = (labels, values)
    if figure:
        from iqa.evaluation.plots import draw_ladders

        draw_ladders(curves, figure, scale)
    return 1 if refused else 0

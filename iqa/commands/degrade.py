"""The experiments that degrade one picture step by step: which pictures, a row each, a curve."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.commands.infer import add_looks, print_error
from iqa.commands.terminal import Parser, add_overwrite, parser_of
from iqa.distortions.table import everyday_ladders
from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.finding import list_images, named_images
from iqa.images.reading import read_image
from iqa.labels.opinions import Prediction
from iqa.scoring.scorer import Scorer

#: A series of pictures of one scene: (label, path or uint8 RGB array), the undistorted picture first.
Steps = Sequence[tuple[str, Path | NDArray[np.uint8]]]


def scene_parser(description: str | None, weights: str | PathLike[str], patches: bool = False) -> Parser:
    """The parser of the experiments that degrade a picture step by step.

    Args:
        description: the script's docstring.
        weights: the default of --weights.
        patches: whether the model sees patches, see `iqa.commands.infer.add_looks`.
    """
    parser = parser_of(description)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--weights", default=str(weights), help="default: those of the infer script")
    if patches:
        add_looks(parser)
    parser.add_argument("--figure", type=Path, help="write the curves here")
    add_overwrite(parser)
    return parser


def check_figure_of(arguments: Namespace) -> None:
    """Refuse, before the work, a figure that may not be written; see `iqa.files.check_target`."""
    if arguments.figure:
        from iqa.evaluation.plots import check_figure

        check_figure(arguments.figure, arguments.overwrite, [arguments.scene] if arguments.scene else ())


def list_series(named: str | PathLike[str] | None) -> Mapping[str, Steps]:
    """The pictures of one scene that an experiment on distortions compares.

    Args:
        named: a folder of files of one scene, of which the one with the shortest name is the undistorted one; or an
            image, which is degraded by `everyday_ladders`; or None, which takes the sample photograph.

    Returns:
        {title: steps}.

    Raises:
        ImageError: if an image cannot be read, or the folder holds none; the message names it.
    """
    path = Path(named) if named else Path(next(iter(named_images([])))[0])
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
    distance: Callable[[Prediction, Prediction], float] | None = None,
) -> int:
    """Print a row for every picture of `list_series`, and draw the curves if a figure is wanted.

    Args:
        series: see `list_series`.
        scorer: scores the pictures.
        figure: file to write, or None.
        scale: name of the figure's vertical axis.
        distance: function (undistorted, distorted) -> a number that each row shows beside the score. The curve then shows
            it instead of the scores.

    Returns:
        The exit code: 1 if a picture could not be scored.

    Raises:
        ImageError: if `distance` is given and the undistorted picture could not be scored.
    """
    curves, refused = {}, 0
    for title, steps in series.items():
        print(f"{printable(title)}:")
        scored, bad = score_steps(scorer, steps)
        refused += bad
        values = [result.score for _, result in scored]
        if distance:
            undistorted = printable(steps[0][0])
            if not scored or scored[0][0] != undistorted:
                raise ImageError(f"{undistorted}: it could not be scored, and the others are compared with it")
            values = [distance(scored[0][1], result) for _, result in scored]
        for (label, result), value in zip(scored, values, strict=True):
            print(f"file:{label}, score:{result.score:.6f}" + (f", cos: {value:.6f}" if distance else ""))
        curves[title] = ([label for label, _ in scored], values)
    if figure:
        from iqa.evaluation.plots import draw_ladders

        draw_ladders(curves, figure, scale)
    return 1 if refused else 0


def score_steps(scorer: Scorer, steps: Steps) -> tuple[list[tuple[str, Prediction]], int]:
    """Score the pictures of a series; one that cannot be scored is named on stderr and left out.

    Returns:
        (scored, refused): a list of (printable label, prediction), and how many were left out.
    """
    scored, refused = [], 0
    for (label, _), (_, result) in zip(steps, scorer.score_all([image for _, image in steps]), strict=True):
        if result.reason:
            refused += 1
            print_error(label, result.reason)
        else:
            scored.append((printable(label), result))
    return scored, refused

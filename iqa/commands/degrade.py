"""The experiments that degrade one picture step by step: which pictures, a row each, a curve."""

from pathlib import Path

from iqa.commands.infer import print_error
from iqa.commands.terminal import parser_of
from iqa.distortions.table import everyday_ladders
from iqa.errors import ImageError
from iqa.files import printable
from iqa.images.finding import list_images, named_images
from iqa.images.reading import read_image


def scene_parser(description, weights, crops=()):
    """The parser of the experiments that degrade a picture step by step; see `infer_parser` for the arguments."""
    parser = parser_of(description)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--weights", type=Path, default=Path(weights), help="default: those of the infer script")
    if crops:
        parser.add_argument("--crop", choices=crops, default="centre", help="which patches are seen (default: centre)")
    parser.add_argument("--figure", type=Path, help="write the curves here")
    return parser


def scene_series(named):
    """The pictures of one scene that an experiment on distortions compares.

    Args:
        named: a folder of files of one scene, of which the one with the shortest name is the undistorted one; or an
            image, which is degraded by `everyday_ladders`; or None, which takes the sample photograph.

    Returns:
        {title: [(label, path or uint8 array)]}, each series beginning with the undistorted picture.

    Raises:
        ImageError: if an image cannot be read, or the folder holds none; the message names it.
    """
    path = Path(named) if named else next(named_images([]))[0]
    if path.is_dir():
        files = sorted(list_images(path), key=lambda file: (len(file.stem), file.name))
        if not files:
            raise ImageError(f"{path}: a folder without images")
        return {path.name: [(file.name, file) for file in files]}
    try:
        return everyday_ladders(read_image(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def print_curves(series, scorer, figure, scale):
    """Print the score of every picture of `scene_series`, a row each, and draw them if a figure is wanted.

    Returns the exit code: 1 if a picture could not be scored.

    Args:
        series: see `scene_series`.
        scorer: `iqa.scoring.scorer.Scorer`.
        figure: file to write, or None.
        scale: name of the figure's vertical axis.
    """
    curves, refused = {}, 0
    for title, steps in series.items():
        print(f"{title}:")
        scored, bad = score_steps(scorer, steps)
        refused += bad
        for label, result in scored:
            print(f"file:{label}, score:{result.score:.6f}")
        curves[title] = ([label for label, _ in scored], [result.score for _, result in scored])
    if figure:
        from iqa.evaluation.plots import distortion_curves

        distortion_curves(curves, figure, scale)
    return 1 if refused else 0


def score_steps(scorer, steps):
    """Score the pictures of a series; one that cannot be scored is named on stderr and left out.

    Returns:
        (scored, refused): a list of (printable label, `Prediction`), and how many were left out.
    """
    scored, refused = [], 0
    for (label, _), (_, result) in zip(steps, scorer.score_all([image for _, image in steps])):
        if result.reason:
            refused += 1
            print_error(label, result.reason)
        else:
            scored.append((printable(label), result))
    return scored, refused

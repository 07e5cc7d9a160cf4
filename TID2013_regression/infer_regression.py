"""Score the technical quality of images with the TID2013 model: 0 (worst) to 9.

    python TID2013_regression/infer_regression.py photo.jpg holiday/
    python TID2013_regression/infer_regression.py holiday/ --longer-side 1920 --out scores.csv
    python TID2013_regression/infer_regression.py --labels data/tid2013/mos_with_names.txt --images data/tid2013 \\
        --references i01 i02 i03 --out TID2013_regression/tid_wtf_regression.mat
    python TID2013_regression/infer_regression.py --labels scores.csv --scale 0 100 --images pictures --out mine.mat

From another project:

    from TID2013_regression.infer_regression import infer
    score = infer("photo.jpg")

The score is the mean over the 10 patches of 224x224 pixels with the most detail; patches with more detail have more
weight. `--crop centre` takes one patch, as the original did. `--longer-side 1920` first downscales larger images to
1,920 pixels. An image smaller than a patch is extended by its mirror image, with a warning; under 96 pixels it is
refused.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import TID2013_SCALE, keras2_card
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = "tid2013_regression"


def load(weights: str | os.PathLike[str] = WEIGHTS, **options: Any) -> Scorer:
    """The model of `infer`, loaded once per process.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` or of an `.hdf5` of Keras 2.
        options: crop, pooling, longer_side, runtime; see `iqa.scoring.scorer.load_scorer`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `load_scorer`.
    """
    return load_scorer(weights, "regression", keras2_card("regression", "patch", TID2013_SCALE), **options)


def infer(image: ImageLike, model: Scorer | None = None, *, timeout: float | None = None, **options: Any) -> float:
    """The technical quality of an image.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W), at least 96
            pixels in a side.
        model: what `load` returned, or None for the shipped weights.
        timeout: seconds allowed, for files from strangers: a worker process then decodes the image.
        options: those of `load`, if `model` is None.

    Returns:
        A float on the scale of TID2013's mean opinion scores, 0-9.

    Raises:
        ImageError: if the image cannot be read, is too small or takes too long.
        TypeError: if `image` is not an image.
        UsageError: if an option has an invalid value, or is given together with a model.
    """
    return scorer_of(model, load, "regression", options).score(image, timeout)


def features(image: ImageLike, model: Scorer | None = None, **options: Any) -> NDArray[np.float32]:
    """The 1000 features (tanh, -1..1) before the score, float32 (1000,); see `infer`."""
    return scorer_of(model, load, "regression", options).features(image)


def main() -> int:
    from iqa.commands.infer import infer_images, infer_parser
    from iqa.labels.ratings import TID2013, locate_ratings, read_scores
    from iqa.labels.tid2013 import locate, read_mos

    parser = infer_parser(__doc__, WEIGHTS, patches=True)
    parser.add_argument("--references", nargs="+", help="score only these scenes of the labelled set, such as i01 i02")
    parser.add_argument(
        "--scale",
        type=float,
        nargs=2,
        metavar=("LOWEST", "HIGHEST"),
        help="lowest and highest possible score in a .csv of --labels (default: 0 9)",
    )
    arguments = parser.parse_args()
    of_scores = bool(arguments.labels) and arguments.labels.suffix.lower() == ".csv"
    if arguments.references and (of_scores or not arguments.labels):
        parser.error("--references chooses scenes of a labelled set and needs --labels in TID2013's form")
    if arguments.scale and not of_scores:
        parser.error("--scale is that of scores in a .csv, and --labels names none")

    def read_labelled() -> list[Any]:
        if of_scores:
            return list(locate_ratings(read_scores(arguments.labels, tuple(arguments.scale or TID2013)), arguments.folder))
        wanted = {name.lower() for name in arguments.references or ()}
        images = [image for image in read_mos(arguments.labels) if not wanted or image.reference in wanted]
        return list(locate(images, arguments.folder))

    return infer_images(parser, arguments, load, read_labelled)


if __name__ == "__main__":
    run(main)

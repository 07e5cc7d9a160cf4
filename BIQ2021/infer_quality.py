"""Score the quality of images, what people would say of them: 1 (bad) to 5 (excellent).

    python BIQ2021/infer_quality.py photo.jpg holiday/
    python BIQ2021/infer_quality.py holiday/ --json
    python BIQ2021/infer_quality.py --labels data/biq2021/test.csv --images data/photographs/biq2021 \\
        --out BIQ2021/quality.mat

A row holds the mean grade, how far people's grades lie from such a mean (a standard deviation), and how many of BIQ2021's
photographs score lower. Another project imports `infer`.

    from BIQ2021.infer_quality import infer
    grade = infer("photo.jpg")       # Grade(mean=3.61, std=0.34, percentile=58.2)
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.scoring.layer import Layer, load_layer
from iqa.scoring.results import Grade
from iqa.scoring.scorer import Scorer, scorer_of

WEIGHTS = "biq2021_quality"


def load(weights: str | os.PathLike[str] = WEIGHTS, **options: Any) -> Layer:
    """The model of `infer`, loaded once per process.

    Args:
        weights: the name of the shipped layer, or the path of an `.npz`.
        options: runtime; see `iqa.scoring.scorer.load_scorer`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `iqa.scoring.layer.load_layer`.
    """
    return load_layer(weights, **options)


def infer(image: ImageLike, model: Scorer | None = None, *, timeout: float | None = None, **options: Any) -> Grade:
    """What people would say of an image: bad 1, poor 2, fair 3, good 4, excellent 5.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W), at least 96
            pixels in a side.
        model: what `load` returned, or None for the layer that ships.
        timeout: seconds that it may take, for files of strangers; a worker process decodes it then.
        options: of `load`, for the layer that ships, since a model has its own.

    Returns:
        `Grade(mean, std, percentile)`: mean 1-5, std in the same units, percentile 0-100.

    Raises:
        ImageError: if the image cannot be read, is too small or takes too long.
        TypeError: if it is no image.
        UsageError: if an option has a value that it cannot have, or goes with a model.
    """
    grade = scorer_of(model, load, "layer", options).score(image, timeout)
    assert isinstance(grade, Grade)
    return grade


def features(image: ImageLike, model: Scorer | None = None, **options: Any) -> NDArray[np.float32]:
    """What the layer sees: the scores and features of both networks, float32 (3570,); see `infer`."""
    return scorer_of(model, load, "layer", options).features(image)


def main() -> int:
    from iqa.commands.infer import infer_images, infer_parser
    from iqa.labels.biq2021 import read_grades

    parser = infer_parser(__doc__, WEIGHTS)
    arguments = parser.parse_args()
    return infer_images(parser, arguments, load, lambda: read_grades(arguments.labels, arguments.folder))


if __name__ == "__main__":
    run(main)

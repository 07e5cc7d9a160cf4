"""Score images with the AVA patches model: the mean over patches of 224x224 pixels at their own size.

    python AVA/infer_patches.py photo.jpg holiday/
    python AVA/infer_patches.py holiday/ --crop centre --out scores.csv
    python AVA/infer_patches.py --labels data/ava_labels_test.json --images data/ava --out AVA/wtf_patches.mat

From another project:

    from AVA.infer_patches import infer
    mean, std, histogram = infer("photo.jpg")
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import AVA_SCALE, keras2_card
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = "ava_patches"
HINT = "train it with AVA/ava_patches.py, or name an .hdf5 of the original project with --weights"


def load(weights: str | os.PathLike[str] = WEIGHTS, **options: Any) -> Scorer:
    """The model of `infer`, loaded once per process.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` or of an `.hdf5` of Keras 2.
        options: crop, pooling, longer_side, runtime; see `iqa.scoring.scorer.load_scorer`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `load_scorer`.
    """
    return load_scorer(weights, "histogram", keras2_card("histogram", "patch", AVA_SCALE), **options)


def infer(image: ImageLike, model: Scorer | None = None, *, timeout: float | None = None, **options: Any) -> Score:
    """How beautiful people would find an image, judged by patches of it.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W), at least 96
            pixels in a side.
        model: what `load` returned, or None for the shipped weights.
        timeout: seconds allowed, for files from strangers: a worker process then decodes the image.
        options: those of `load`, if `model` is None.

    Returns:
        `Score(mean, std, histogram)`: mean 1-10, histogram float32 (10,), the shares of the votes 1-10. Its `percentile`
        is the share of AVA's photographs that score lower, in per cent.

    Raises:
        ImageError: if the image cannot be read, is too small or takes too long.
        TypeError: if `image` is not an image.
        UsageError: if an option has an invalid value, or is given together with a model.
    """
    return scorer_of(model, load, "histogram", options).score(image, timeout)


def features(image: ImageLike, model: Scorer | None = None, **options: Any) -> NDArray[np.float32]:
    """The pooled features, float32 (1280,); see `infer`."""
    return scorer_of(model, load, "histogram", options).features(image)


def main() -> int:
    from iqa.commands.infer import infer_images, infer_parser
    from iqa.labels.ratings import locate_ratings, read_ratings

    parser = infer_parser(__doc__, WEIGHTS, patches=True)
    arguments = parser.parse_args()
    return infer_images(
        parser, arguments, load, lambda: locate_ratings(read_ratings(arguments.labels), arguments.folder), HINT
    )


if __name__ == "__main__":
    run(main)

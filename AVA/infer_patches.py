"""Score images with the AVA patches model: the mean over patches of 224x224 pixels at their own size.

    python AVA/infer_patches.py photo.jpg holiday/
    python AVA/infer_patches.py holiday/ --crop centre --out scores.csv
    python AVA/infer_patches.py --labels data/ava_labels_test.json --images data/ava --out AVA/wtf_patches.mat

Another project imports `infer`.

    from AVA.infer_patches import infer
    mean, std, histogram = infer("photo.jpg")
"""

import os

import numpy as np
from numpy.typing import NDArray

from iqa.cards import AVA_SCALE, keras2_card
from iqa.commands.infer import infer_images, infer_parser, looks_of
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.labels.ratings import RatedImage, locate_ratings, read_ratings
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = "ava_patches"
HINT = "train it with AVA/ava_patches.py, or name an .hdf5 of the original project with --weights"


def load(
    weights: str | os.PathLike[str] = WEIGHTS,
    *,
    crop: str | None = None,
    pooling: str | None = None,
    view: int | None = None,
    runtime: str = "auto",
) -> Scorer:
    """The model of `infer`, a `Scorer`, loaded once per process.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` or of an `.hdf5` of Keras 2.
        crop: where it looks: "grid" (None) for a bounded number of patches; "cover" for as many as cover the picture;
            "centre" or "left_top" for one.
        pooling: how the patches make a score: "mean", or "detail", where patches with more detail count for more; None for
            what the weights' card says.
        view: score a larger picture as it looks when its longer side has so many pixels.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `Scorer`.
    """
    cardless = keras2_card("histogram", "patch", AVA_SCALE)
    return load_scorer(weights, crop, "histogram", cardless, runtime=runtime, pooling=pooling, view=view)


def infer(
    image: ImageLike,
    model: Scorer | None = None,
    *,
    crop: str | None = None,
    pooling: str | None = None,
    view: int | None = None,
    runtime: str | None = None,
    timeout: float | None = None,
) -> Score:
    """How beautiful people would find an image, judged by patches of it.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W), at least 96
            pixels in a side.
        model: what `load` returned, or None for the weights that ship.
        crop, pooling, view, runtime: see `load`; for the weights that ship, since a model has its own.
        timeout: seconds that it may take, for files of strangers; a worker process decodes it then.

    Returns:
        `iqa.labels.opinions.Score(mean, std, histogram)`: mean 1-10, histogram float32 (10,), the shares of the votes 1-10.
        Its `percentile` says how many of AVA's photographs score lower.

    Raises:
        ImageError: if the image cannot be read, is too small or takes too long.
        TypeError: if it is no image.
        UsageError: if an argument has a value that it cannot have, or goes with a model.
    """
    scorer = scorer_of(model, "histogram", load, crop=crop, pooling=pooling, view=view, runtime=runtime)
    return scorer.distribution(image, timeout)


def features(
    image: ImageLike,
    model: Scorer | None = None,
    *,
    crop: str | None = None,
    pooling: str | None = None,
    view: int | None = None,
    runtime: str | None = None,
) -> NDArray[np.float32]:
    """The pooled features, float32 (1280,); see `infer`."""
    scorer = scorer_of(model, "histogram", load, crop=crop, pooling=pooling, view=view, runtime=runtime)
    return scorer.features(image)


def main() -> int:
    parser = infer_parser(__doc__, WEIGHTS, patches=True)
    arguments = parser.parse_args()

    def read_labelled() -> list[RatedImage]:
        return locate_ratings(read_ratings(arguments.labels), arguments.folder)

    def load_chosen() -> Scorer:
        return load(arguments.weights, runtime=arguments.runtime, **looks_of(arguments))

    return infer_images(parser, arguments, load_chosen, read_labelled, HINT)


if __name__ == "__main__":
    run(main)

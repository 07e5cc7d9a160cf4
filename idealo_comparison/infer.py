"""Score images with idealo's aesthetic model, a MobileNet trained on AVA, as idealo ran it.

    python data/download.py idealo
    python idealo_comparison/infer.py photo.jpg holiday/
    python idealo_comparison/infer.py --labels data/ava_labels_test.json --images data/ava --out idealo.mat
    python idealo_comparison/infer.py --six-crops data/photographs --out teacher.jsonl      # to distil, see AVA/distill.py

Its weights were trained with the padding of Keras 2.1, (1, 1) before every 3x3 convolution. Current Keras pads (0, 1)
before those of stride 2, which moves scores by up to 0.46; this script uses the old padding. Images are resized by
nearest neighbour, as idealo did. Nearly equal pictures then get different scores; --six-crops averages over the mirror
image and small shifts.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.scoring.idealo import AESTHETIC, AESTHETIC_WEIGHTS, HINT
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = AESTHETIC_WEIGHTS


def load(weights: str | os.PathLike[str] = WEIGHTS, **options: Any) -> Scorer:
    """The model of `infer`, loaded once per process.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` or of an `.hdf5` of Keras 2.
        options: six_crops, runtime; see `iqa.scoring.scorer.load_scorer`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `load_scorer`.
    """
    return load_scorer(weights, "histogram", AESTHETIC, **options)


def infer(image: ImageLike, model: Scorer | None = None, *, timeout: float | None = None, **options: Any) -> Score:
    """The votes that idealo's model predicts for an image.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W).
        model: what `load` returned, or None for the weights that idealo published.
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
    """The pooled features, float32 (1024,); see `infer`."""
    return scorer_of(model, load, "histogram", options).features(image)


def main() -> int:
    from iqa.commands.infer import infer_images, infer_parser
    from iqa.labels.ratings import locate_ratings, read_ratings

    parser = infer_parser(__doc__, WEIGHTS)
    parser.add_argument("--six-crops", action="store_true", help="average over the mirror image and small shifts")
    arguments = parser.parse_args()
    return infer_images(
        parser, arguments, load, lambda: locate_ratings(read_ratings(arguments.labels), arguments.folder), HINT
    )


if __name__ == "__main__":
    run(main)

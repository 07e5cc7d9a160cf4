"""Score images with idealo's aesthetic model, a MobileNet trained on AVA, as idealo ran it.

    python data/download.py idealo
    python idealo_comparison/infer.py photo.jpg holiday/
    python idealo_comparison/infer.py --labels data/ava_labels_test.json --images data/ava --out idealo.mat
    python idealo_comparison/infer.py --labels-out labels.json holiday/

Its weights were trained with the padding of Keras 2.1, (1, 1) before every 3x3 convolution; current Keras pads (0, 1)
before those of stride 2, which moves its scores by up to 0.46. Images are resized by nearest neighbour, as idealo did.
--labels-out writes the histograms as labels in AVA's form, to train on. Sampling by nearest neighbour makes the scores of
nearly equal pictures differ; --six-crops takes the mean over the mirror image and small shifts.
"""

import argparse
import os

import numpy as np
from numpy.typing import NDArray

from iqa.commands.teach import infer_or_label
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.scoring.idealo import AESTHETIC, AESTHETIC_WEIGHTS, HINT
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = AESTHETIC_WEIGHTS


def load(weights: str | os.PathLike[str] = WEIGHTS, *, six_crops: bool = False, runtime: str = "auto") -> Scorer:
    """The model of `infer`, a `Scorer` of idealo's `.hdf5`, loaded once per process.

    Args:
        weights: the path of the file.
        six_crops: whether it takes the mean over six views of a picture.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `Scorer`.
    """
    return load_scorer(weights, None, "histogram", AESTHETIC, six_crops, runtime)


def infer(
    image: ImageLike, model: Scorer | None = None, *, runtime: str | None = None, timeout: float | None = None
) -> Score:
    """The votes that idealo's model predicts for an image.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W).
        model: what `load` returned, or None for idealo's weights.
        runtime: see `load`; for idealo's weights, since a model has its own.
        timeout: seconds that it may take, for files of strangers; a worker process decodes it then.

    Returns:
        `iqa.labels.histograms.Score(mean, std, histogram)`: mean 1-10, histogram float32 (10,), the shares of 1-10.
        Its `percentile` says how many of AVA's photographs score lower.

    Raises:
        CardError: if the weights are missing.
        ImageError: if the image cannot be read or takes too long.
        TypeError: if it is no image.
        UsageError: if an argument has a value that it cannot have, or goes with a model.
    """
    return scorer_of(model, "histogram", load, runtime=runtime).distribution(image, timeout)


def features(image: ImageLike, model: Scorer | None = None, *, runtime: str | None = None) -> NDArray[np.float32]:
    """The pooled features, float32 (1024,); see `infer`."""
    return scorer_of(model, "histogram", load, runtime=runtime).features(image)


def main() -> int:
    def load_chosen(arguments: argparse.Namespace) -> Scorer:
        return load(arguments.weights, six_crops=arguments.six_crops, runtime=arguments.runtime)

    return infer_or_label(__doc__, WEIGHTS, load_chosen, HINT)


if __name__ == "__main__":
    run(main)

"""Score images with idealo's technical model, a MobileNet trained on histograms made of TID2013's scores: 1 (worst) to 10.

    python data/download.py idealo
    python idealo_comparison/infer_technical.py photo.jpg holiday/

It sees and scores images as the aesthetic model does, see infer.py. Its scores say nothing about AVA's photographs.
"""

import argparse
import os

import numpy as np
from numpy.typing import NDArray

from iqa.commands.teach import infer_or_label
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.histograms import Score
from iqa.scoring.idealo import HINT, TECHNICAL, TECHNICAL_WEIGHTS
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = TECHNICAL_WEIGHTS


def load(weights: str | os.PathLike[str] = WEIGHTS, *, six_crops: bool = False, runtime: str = "auto") -> Scorer:
    """The model of `infer`, a `Scorer` of idealo's `.hdf5`, loaded once per process.

    Args:
        weights: the path of the file.
        six_crops: whether it takes the mean over six views of a picture.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.

    Raises:
        CardError, WeightsError, RuntimeUnavailable, UsageError: see `Scorer`.
    """
    return load_scorer(weights, None, "histogram", TECHNICAL, six_crops, runtime)


def infer(
    image: ImageLike, model: Scorer | None = None, *, runtime: str | None = None, timeout: float | None = None
) -> Score:
    """The technical quality of an image, as idealo's model sees it.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W).
        model: what `load` returned, or None for idealo's weights.
        runtime: see `load`; for idealo's weights, since a model has its own.
        timeout: seconds that it may take, for files of strangers; a worker process decodes it then.

    Returns:
        `iqa.labels.histograms.Score(mean, std, histogram)`: mean 1-10, histogram float32 (10,), the shares of 1-10. It has
        no percentile.

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

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
from iqa.labels.opinions import Score
from iqa.scoring.idealo import HINT, TECHNICAL, TECHNICAL_WEIGHTS
from iqa.scoring.scorer import Scorer, load_scorer

WEIGHTS = TECHNICAL_WEIGHTS


def load(weights: str | os.PathLike[str] = WEIGHTS, mean_opinion: bool = False, runtime: str = "auto") -> Scorer:
    """The model of `infer`, a `Scorer` of idealo's `.hdf5`, loaded once per process.

    Args:
        weights: the path of the file.
        mean_opinion: whether it takes the mean over six views of a picture.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.
    """
    return load_scorer(weights, None, "histogram", TECHNICAL, mean_opinion, runtime)


def infer(image: ImageLike, model: Scorer | None = None, runtime: str = "auto", timeout: float | None = None) -> Score:
    """The technical quality of an image, as idealo's model sees it: `Score(mean, std, histogram)`, 1-10."""
    return (model or load(runtime=runtime)).score(image, timeout).distribution


def features(image: ImageLike, model: Scorer | None = None, runtime: str = "auto") -> NDArray[np.float32]:
    """The pooled features, float32 (1024,); see `infer`."""
    return (model or load(runtime=runtime)).features(image)


def main() -> int:
    def load_chosen(arguments: argparse.Namespace) -> Scorer:
        return load(arguments.weights, arguments.mean_opinion, arguments.runtime)

    return infer_or_label(__doc__, WEIGHTS, load_chosen, HINT)


if __name__ == "__main__":
    run(main)

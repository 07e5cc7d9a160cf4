"""Score the technical quality of images with the TID2013 model: 0 (worst) to 9.

    python TID2013_regression/infer_regression.py photo.jpg holiday/
    python TID2013_regression/infer_regression.py holiday/ --crop grid --out scores.csv
    python TID2013_regression/infer_regression.py --labels data/tid2013/mos_with_names.txt --images data/tid2013 \\
        --references i01 i02 i03 --out TID2013_regression/tid_wtf_regression.mat

From another project:

    from TID2013_regression.infer_regression import infer
    score = infer("photo.jpg")

The model sees 224x224 pixels at their own size: the centre of the image, or with --crop grid the mean over patches
that cover all of it. An image smaller than that is refused.
"""

import os

import numpy as np
from numpy.typing import NDArray

from iqa.cards import TID2013_SCALE, keras2_card
from iqa.commands.infer import infer_images, infer_parser
from iqa.commands.terminal import run
from iqa.images.geometry import CROPS
from iqa.images.reading import ImageLike
from iqa.labels.tid2013 import LabelledImage, locate, read_mos
from iqa.scoring.scorer import Scorer, load_scorer

WEIGHTS = "tid2013_regression"


def load(weights: str | os.PathLike[str] = WEIGHTS, crop: str = "centre", runtime: str = "auto") -> Scorer:
    """The model of `infer`, a `Scorer`, loaded once per process.

    Args:
        weights: the name of shipped weights, or the path of a `.weights.h5` or of an `.hdf5` of Keras 2.
        crop: where it looks: "centre", "left_top", or "grid" for the mean over patches that cover the picture.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.
    """
    cardless = keras2_card("regression", "patch", TID2013_SCALE)
    return load_scorer(weights, crop, "regression", cardless, runtime=runtime)


def infer(image: ImageLike, model: Scorer | None = None, crop: str = "centre", runtime: str = "auto") -> float:
    """The technical quality of an image.

    Args:
        image: a path, a PIL image, or a uint8 array (H, W, 3), at least 224 pixels in a side.
        model: what `load` returned, or None for the weights that ship.
        crop, runtime: see `load`; for the weights that ship, since a model has its own.

    Returns:
        A float on the scale of TID2013's mean opinion scores, 0-9.

    Raises:
        ImageError: if the image cannot be read or is too small.
    """
    return (model or load(crop=crop, runtime=runtime)).score(image).score


def features(
    image: ImageLike, model: Scorer | None = None, crop: str = "centre", runtime: str = "auto"
) -> NDArray[np.float32]:
    """The 1000 features (tanh, -1..1) before the score, float32 (1000,); see `infer`."""
    return (model or load(crop=crop, runtime=runtime)).features(image)


def main() -> int:
    parser = infer_parser(__doc__, WEIGHTS, CROPS)
    parser.add_argument("--references", nargs="+", help="score only these scenes of the labelled set, such as i01 i02")
    arguments = parser.parse_args()
    if arguments.references and not arguments.labels:
        parser.error("--references chooses scenes of a labelled set and needs --labels")

    def read_labelled() -> list[LabelledImage]:
        wanted = {name.lower() for name in arguments.references or ()}
        images = [image for image in read_mos(arguments.labels) if not wanted or image.reference in wanted]
        return locate(images, arguments.folder)

    def load_chosen() -> Scorer:
        return load(arguments.weights, arguments.crop, arguments.runtime)

    return infer_images(parser, arguments, load_chosen, read_labelled)


if __name__ == "__main__":
    run(main)

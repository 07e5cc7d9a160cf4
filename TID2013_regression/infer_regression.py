"""Score the technical quality of images with the TID2013 model: 0 (worst) to 9.

    python TID2013_regression/infer_regression.py photo.jpg holiday/
    python TID2013_regression/infer_regression.py holiday/ --view 1920 --out scores.csv
    python TID2013_regression/infer_regression.py --labels data/tid2013/mos_with_names.txt --images data/tid2013 \\
        --references i01 i02 i03 --out TID2013_regression/tid_wtf_regression.mat
    python TID2013_regression/infer_regression.py --labels scores.csv --scale 0 100 --images pictures --out mine.mat

Another project imports `infer`.

    from TID2013_regression.infer_regression import infer
    score = infer("photo.jpg")

The model sees 224x224 pixels at their own size: the 10 patches with the most detail, of which those with more count for
more. With `--crop centre` it sees one, as the original did. `--view 1920` scores a larger image as it looks when its
longer side has 1,920 pixels. An image smaller than a patch is continued by its mirror image, with a warning; under 96
pixels it is refused.
"""

import os

import numpy as np
from numpy.typing import NDArray

from iqa.cards import TID2013_SCALE, keras2_card
from iqa.commands.infer import infer_images, infer_parser, looks_of
from iqa.commands.terminal import run
from iqa.images.reading import ImageLike
from iqa.labels.ratings import RatedImage, locate_ratings
from iqa.labels.scores import TID2013, read_scores
from iqa.labels.tid2013 import LabelledImage, locate, read_mos
from iqa.scoring.scorer import Scorer, load_scorer, scorer_of

WEIGHTS = "tid2013_regression"


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
    cardless = keras2_card("regression", "patch", TID2013_SCALE)
    return load_scorer(weights, crop, "regression", cardless, runtime=runtime, pooling=pooling, view=view)


def infer(
    image: ImageLike,
    model: Scorer | None = None,
    *,
    crop: str | None = None,
    pooling: str | None = None,
    view: int | None = None,
    runtime: str | None = None,
    timeout: float | None = None,
) -> float:
    """The technical quality of an image.

    Args:
        image: a path, a PIL image, the bytes of a file, a binary file, or a uint8 array (H, W, 3) or (H, W), at least 96
            pixels in a side.
        model: what `load` returned, or None for the weights that ship.
        crop, pooling, view, runtime: see `load`; for the weights that ship, since a model has its own.
        timeout: seconds that it may take, for files of strangers; a worker process decodes it then.

    Returns:
        A float on the scale of TID2013's mean opinion scores, 0-9.

    Raises:
        ImageError: if the image cannot be read, is too small or takes too long.
        TypeError: if it is no image.
        UsageError: if an argument has a value that it cannot have, or goes with a model.
    """
    scorer = scorer_of(model, "regression", load, crop=crop, pooling=pooling, view=view, runtime=runtime)
    return scorer.score(image, timeout).score


def features(
    image: ImageLike,
    model: Scorer | None = None,
    *,
    crop: str | None = None,
    pooling: str | None = None,
    view: int | None = None,
    runtime: str | None = None,
) -> NDArray[np.float32]:
    """The 1000 features (tanh, -1..1) before the score, float32 (1000,); see `infer`."""
    scorer = scorer_of(model, "regression", load, crop=crop, pooling=pooling, view=view, runtime=runtime)
    return scorer.features(image)


def main() -> int:
    parser = infer_parser(__doc__, WEIGHTS, patches=True)
    parser.add_argument("--references", nargs="+", help="score only these scenes of the labelled set, such as i01 i02")
    parser.add_argument(
        "--scale", type=float, nargs=2, metavar=("LOWEST", "HIGHEST"), help="of --labels FILE.csv (default: 0 9)"
    )
    arguments = parser.parse_args()
    of_scores = bool(arguments.labels) and arguments.labels.suffix.lower() == ".csv"
    if arguments.references and (of_scores or not arguments.labels):
        parser.error("--references chooses scenes of a labelled set and needs --labels in TID2013's form")
    if arguments.scale and not of_scores:
        parser.error("--scale is that of scores in a .csv, and --labels names none")

    def read_labelled() -> list[LabelledImage] | list[RatedImage]:
        if of_scores:
            lowest, highest = arguments.scale or TID2013
            return locate_ratings(read_scores(arguments.labels, (lowest, highest)), arguments.folder)
        wanted = {name.lower() for name in arguments.references or ()}
        images = [image for image in read_mos(arguments.labels) if not wanted or image.reference in wanted]
        return locate(images, arguments.folder)

    def load_chosen() -> Scorer:
        return load(arguments.weights, runtime=arguments.runtime, **looks_of(arguments))

    return infer_images(parser, arguments, load_chosen, read_labelled)


if __name__ == "__main__":
    run(main)

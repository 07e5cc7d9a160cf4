"""Score the technical quality of images with the TID2013 model: 0 (worst) to 9.

    python TID2013_regression/infer_regression.py photo.jpg holiday/
    python TID2013_regression/infer_regression.py photo.jpg --crop grid
    python TID2013_regression/infer_regression.py --labels data/tid2013/mos_with_names.txt --images data/tid2013 \\
        --references i01 i02 i03 --out TID2013_regression/tid_wtf_regression.mat

From another project:

    from TID2013_regression.infer_regression import infer
    score = infer("photo.jpg")

The model sees 224x224 pixels at their own size: the centre of the image, or with --crop grid the mean over patches
that cover all of it. An image smaller than that is refused.
"""

from functools import cache
from pathlib import Path

from iqa.command_line import parser_of, print_scores, quiet_start, run, score_labelled
from iqa.datasets import locate, read_mos
from iqa.images import CROPS
from iqa.scoring import Scorer

WEIGHTS = "tid2013_regression"


@cache
def load(weights=WEIGHTS, crop="centre"):
    """The model of `infer`, read once a process: a name of shipped weights or a `.weights.h5`; see `Scorer`."""
    return Scorer(weights, crop)


def infer(image, model=None, crop="centre"):
    """The technical quality of an image.

    Args:
        image: a path, a PIL image, or a uint8 array (H, W, 3), at least 224 pixels in a side.
        model: a `Scorer` of `load`, or None for the weights that ship.
        crop: "centre", "left_top" or "grid", for the weights that ship; a model given has its own.

    Returns:
        A float on the scale of TID2013's mean opinion scores, 0-9.

    Raises:
        ImageError: if the image cannot be read or is too small.
    """
    return (model or load(crop=crop)).score(image)


def features(image, model=None, crop="centre"):
    """The 1000 features (tanh, -1..1) before the score, float32 (1000,); see `infer`."""
    return (model or load(crop=crop)).features(image)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: path, mean or error")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="a .weights.h5 with its card beside it (default: what ships)"
    )
    parser.add_argument("--crop", choices=CROPS, default="centre", help="which patches are seen (default: centre)")
    parser.add_argument("--batch-size", type=int, default=1, help="images a step (default: 1)")
    parser.add_argument("--labels", type=Path, help="mos_with_names.txt of a labelled set")
    parser.add_argument("--images", dest="folder", type=Path, help="folder of the labelled set")
    parser.add_argument("--references", nargs="+", help="score only these scenes of the labelled set, such as i01 i02")
    parser.add_argument("--out", type=Path, help=".mat to write the predictions of the labelled set to")
    arguments = parser.parse_args()
    labelled = (arguments.labels, arguments.folder, arguments.out)
    if any(labelled) and (not all(labelled) or arguments.images):
        parser.error("a labelled run takes --labels, --images and --out, and no other images")
    if arguments.batch_size < 1:
        parser.error("--batch-size must be 1 or more")
    try:
        if not arguments.labels:
            with quiet_start():
                scorer = load(arguments.weights, arguments.crop)
            return print_scores(scorer, arguments.images, arguments.json, arguments.batch_size)
        images = read_mos(arguments.labels)
        if arguments.references:
            images = [image for image in images if image.reference in {name.lower() for name in arguments.references}]
        images = locate(images, arguments.folder)
        if not any(image.path for image in images):
            parser.error(f"{arguments.folder} holds none of the {len(images)} images of {arguments.labels}")
        with quiet_start():
            scorer = load(arguments.weights, arguments.crop)
        return score_labelled(scorer, images, f"not in {arguments.folder}", arguments.out, arguments.batch_size)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    run(main)

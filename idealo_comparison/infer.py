"""Score images with idealo's aesthetic model, a MobileNet trained on AVA, as idealo ran it.

    python data/download.py idealo
    python idealo_comparison/infer.py photo.jpg holiday/
    python idealo_comparison/infer.py --labels data/ava_labels_test.json --images data/ava --out idealo.mat
    python idealo_comparison/infer.py --labels-out labels.json holiday/

Its weights were trained with the padding of Keras 2.1, (1, 1) before every 3x3 convolution; current Keras pads (0, 1)
before those of stride 2, which moves its scores by up to 0.46. Images are resized by nearest neighbour, as idealo did.
With --labels-out the histograms are written as labels in AVA's form, to train on like a data set. Sampling by nearest
neighbour makes its opinion jump: --mean-opinion takes the mean over the mirror image and small shifts.
"""

from functools import cache
from pathlib import Path

from iqa.cards import AVA_SCALE, keras2_card
from iqa.commands.infer import infer_images, infer_parser, write_labels
from iqa.commands.terminal import load_quietly, run
from iqa.labels.ratings import locate_ratings, read_ratings
from iqa.scoring.scorer import Scorer

WEIGHTS = Path(__file__).resolve().parent.parent / "data/idealo/weights_mobilenet_aesthetic_0.07.hdf5"
HINT = "get it with: python data/download.py idealo"
FACTS = keras2_card("histogram", "resize", AVA_SCALE, "mobilenet", normalisation="minus_one_to_one", padding="symmetric")


@cache
def load(weights=WEIGHTS, mean_opinion=False, runtime="auto"):
    """The model of `infer`, read once a process, from idealo's `.hdf5`; `mean_opinion`: of six views, see `Scorer`."""
    return Scorer(weights, head="histogram", cardless=FACTS, mean_opinion=mean_opinion, runtime=runtime)


def infer(image, model=None, runtime="auto"):
    """idealo's opinion of an image (a path, a PIL image, or uint8 RGB (H, W, 3)): `Score(mean, std, histogram)`, 1-10."""
    return (model or load(runtime=runtime)).score(image).distribution


def features(image, model=None, runtime="auto"):
    """The pooled features, float32 (1024,); see `infer`."""
    return (model or load(runtime=runtime)).score(image).features


def command(description, weights):
    """The command line of idealo's models; returns the exit code."""
    parser = infer_parser(description, weights)
    parser.add_argument("--labels-out", type=Path, help="write labels in AVA's form for one folder of images")
    parser.add_argument("--mean-opinion", action="store_true", help="mean over the mirror image and small shifts")
    arguments = parser.parse_args()

    def load_chosen():
        return load(arguments.weights, arguments.mean_opinion, arguments.runtime)

    if arguments.labels_out:
        if len(arguments.images) != 1 or not Path(arguments.images[0]).is_dir() or arguments.out or arguments.report:
            parser.error("--labels-out takes one folder of images, and neither --out nor --report")
        scorer = load_quietly(load_chosen, HINT)
        return write_labels(scorer, Path(arguments.images[0]), arguments.labels_out, arguments)

    def read_labelled():
        return locate_ratings(read_ratings(arguments.labels), arguments.folder)

    return infer_images(parser, arguments, load_chosen, read_labelled, HINT)


def main():
    return command(__doc__, WEIGHTS)


if __name__ == "__main__":
    run(main)

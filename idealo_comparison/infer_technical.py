"""Score images with idealo's technical model, a MobileNet trained on histograms made of TID2013's scores: 1 (worst) to 10.

    python data/download.py idealo
    python idealo_comparison/infer_technical.py photo.jpg holiday/

It sees and scores images as the aesthetic model does, see infer.py. Its scores say nothing about AVA's photographs.
"""

from pathlib import Path

from iqa.cards import Scale, idealo_card
from iqa.commands.teach import infer_or_label
from iqa.commands.terminal import run
from iqa.scoring.scorer import load_scorer

WEIGHTS = Path(__file__).resolve().parent.parent / "data/idealo/weights_mobilenet_technical_0.11.hdf5"
HINT = "get it with: python data/download.py idealo"
SCALE = Scale(1, 10, "mean of histograms made of TID2013's scores, higher is better")


def load(weights=WEIGHTS, mean_opinion=False, runtime="auto"):
    """The model of `infer`, a `Scorer` of idealo's `.hdf5`, loaded once per process.

    Args:
        weights: the path of the file.
        mean_opinion: whether it takes the mean over six views of a picture.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`.
    """
    return load_scorer(weights, "centre", "histogram", idealo_card(SCALE), mean_opinion, runtime)


def infer(image, model=None, runtime="auto"):
    """The technical quality of an image, as idealo's model sees it: `Score(mean, std, histogram)`, 1-10."""
    return (model or load(runtime=runtime)).score(image).distribution


def features(image, model=None, runtime="auto"):
    """The pooled features, float32 (1024,); see `infer`."""
    return (model or load(runtime=runtime)).score(image).features


def main():
    def load_chosen(arguments):
        return load(arguments.weights, arguments.mean_opinion, arguments.runtime)

    return infer_or_label(__doc__, WEIGHTS, load_chosen, HINT)


if __name__ == "__main__":
    run(main)

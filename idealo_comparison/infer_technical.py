"""Score images with idealo's technical model, a MobileNet trained on histograms made of TID2013's scores: 1 (worst) to 10.

    python data/download.py idealo
    python idealo_comparison/infer_technical.py photo.jpg holiday/

All else is as in infer.py.
"""

from pathlib import Path

from idealo_comparison import infer as aesthetic
from iqa.commands.terminal import run

WEIGHTS = Path(aesthetic.WEIGHTS).with_name("weights_mobilenet_technical_0.11.hdf5")


def infer(image, model=None, runtime="auto"):
    """The technical quality of an image, as idealo's model sees it: `Score(mean, std, histogram)`, 1-10."""
    return aesthetic.infer(image, model or aesthetic.load(WEIGHTS, runtime=runtime))


def features(image, model=None, runtime="auto"):
    """The pooled features, float32 (1024,)."""
    return aesthetic.features(image, model or aesthetic.load(WEIGHTS, runtime=runtime))


def main():
    return aesthetic.command(__doc__, WEIGHTS)


if __name__ == "__main__":
    run(main)

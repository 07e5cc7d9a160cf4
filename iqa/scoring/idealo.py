"""idealo's models, which come without cards: where their weights are, and what the scripts that use them must know.

    scorer = Scorer(AESTHETIC_WEIGHTS, head="histogram", cardless=AESTHETIC)

Both are MobileNets of Keras 2.1, which padded (1, 1) before a convolution of stride 2, with pixels of -1 to 1 and whole
pictures resized by nearest neighbour.
"""

from pathlib import Path

from iqa.cards import AVA_SCALE, Card, Scale, keras2_card

_FOLDER = Path(__file__).resolve().parents[2] / "data/idealo"

AESTHETIC_WEIGHTS = _FOLDER / "weights_mobilenet_aesthetic_0.07.hdf5"
TECHNICAL_WEIGHTS = _FOLDER / "weights_mobilenet_technical_0.11.hdf5"

#: Where to get weights that are missing.
HINT = "get it with: python data/download.py idealo"

#: idealo made histograms of votes 1-10 of TID2013's scores for the technical model: AVA's photographs are no measure of it.
TECHNICAL_SCALE = Scale(1, 10, "mean of a histogram made of TID2013's scores, higher is better")


def _card(scale: Scale) -> Card:
    return keras2_card("histogram", "resize", scale, "mobilenet", normalisation="minus_one_to_one", padding="symmetric")


AESTHETIC, TECHNICAL = _card(AVA_SCALE), _card(TECHNICAL_SCALE)

"""idealo's models, which come without cards: where their weights are and what they mean.

    scorer = load_scorer(AESTHETIC_WEIGHTS, head="histogram", cardless=AESTHETIC)

`data/download.py` fetches the weights.
"""

from pathlib import Path

from iqa.cards import CARDLESS

_FOLDER = Path(__file__).resolve().parents[2] / "data/idealo"

AESTHETIC_WEIGHTS = _FOLDER / "weights_mobilenet_aesthetic_0.07.hdf5"
TECHNICAL_WEIGHTS = _FOLDER / "weights_mobilenet_technical_0.11.hdf5"

#: Where to get missing weights.
HINT = "get it with: python data/download.py idealo"

AESTHETIC, TECHNICAL = CARDLESS["idealo"], CARDLESS["idealo_technical"]

"""idealo's models, which come without cards: where `data/download.py` puts their weights, and what they mean."""

from pathlib import Path

from iqa.cards import CARDLESS

_FOLDER = Path(__file__).resolve().parents[2] / "data/idealo"
AESTHETIC_WEIGHTS = _FOLDER / "weights_mobilenet_aesthetic_0.07.hdf5"
TECHNICAL_WEIGHTS = _FOLDER / "weights_mobilenet_technical_0.11.hdf5"
AESTHETIC, TECHNICAL = CARDLESS["idealo"], CARDLESS["idealo_technical"]
HINT = "get it with: python data/download.py idealo"

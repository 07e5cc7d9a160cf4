"""The card beside a weight file, `weights/NAME.json`: what a network is, what it was trained on, what was measured.

weights/README.md says what its keys mean.
"""

import hashlib
import json
from pathlib import Path


class CardError(ValueError):
    """Weights that must not be used: no card, an unreadable one, or another file than the card describes."""


class WeightsError(ValueError):
    """A weight file that cannot be read, or that belongs to another network."""


def shipped_weights(name):
    """The path of shipped weights, in an installed wheel (`iqa/weights`) or in a checkout (`weights` beside `iqa`)."""
    here = Path(__file__).resolve().parent
    folder = here / "weights" if (here / "weights").is_dir() else here.parent / "weights"
    return folder / f"{name}.weights.h5"


def card_of(weights):
    """The path of the card beside a weight file: NAME.weights.h5 -> NAME.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(".h5").removesuffix(".weights") + ".json")


def sha256(path):
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(path):
    """The card at a path.

    Raises:
        CardError: if it is missing, no JSON, or lacks what a model is built from.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        card["geometry"]["size"], card["sha256"], card["head"]["kind"], card["backbone"]["backbone"]
    except FileNotFoundError:
        raise CardError(f"{path}: there is no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CardError(f"{path}: not a card ({type(error).__name__}: {error})") from None
    return card


def keras2_card(head, geometry, backbone="mobilenet_v2", normalisation="imagenet", padding="keras"):
    """The facts of weights that come without a card, as the projects of Keras 2's time saved them.

    Args:
        head: "histogram" or "regression".
        geometry: "resize" (nearest neighbour, to 224x224) or "patch".
    """
    return {
        "backbone": {
            "backbone": backbone,
            "normalisation": normalisation,
            "padding": padding,
            "batch_norm_epsilon": 1e-3,
            "noise": 0.0,
        },
        "head": {"kind": head, "dropout": 0.75},
        "geometry": {"kind": geometry, "size": 224, "interpolation": "nearest"},
    }


def weights_file(weights):
    """The path that a name of shipped weights, or the path of a weight file, stands for.

    Raises:
        CardError: if there is no such file.
    """
    path = Path(weights) if Path(weights).suffix in (".h5", ".hdf5") else shipped_weights(weights)
    if not path.is_file():
        raise CardError(f"{path}: there is no such file")
    return path

"""The kinds of fault that the technical model tells apart, and the distortions of TID2013 that are of each kind."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa.cards import sha256
from iqa.errors import WeightsError

#: {kind: numbers of its distortions}. Changes of brightness (16), contrast (17) and saturation (18) are of no kind: a
#: picture alone does not say whether it was meant to be so.
KINDS: dict[str, tuple[int, ...]] = {
    "none": (),
    "noise": (1, 2, 3, 4, 5, 6, 19, 20),
    "blur": (8, 9),
    "compression": (10, 11, 21),
    "banding": (7, 22),
    "colour fringes": (23,),
    "damage": (12, 13, 14, 15, 24),
}


#: What each kind means, for those who look at pictures.
EXPLAINED = {
    "noise": "grain or speckles over the picture",
    "blur": "out of focus, or moved",
    "compression": "blocks and smeared detail, as in a JPEG of low quality",
    "banding": "steps in what should change smoothly, such as a sky",
    "colour fringes": "coloured edges beside dark ones",
    "damage": "parts that are missing or displaced, as after a broken transfer",
}

#: A fault is shown if its share is this large or larger: of clean photographs, 2 % or fewer then have one.
SURE = 0.7


class Fault(NamedTuple):
    """The worst fault of a picture: a kind of `KINDS`, and its share, 0-1, among all kinds and "none"."""

    kind: str
    share: float


def main_fault(logits: ArrayLike) -> Fault | None:
    """The kind of the largest of `len(KINDS)` logits; None if that is "none", or its share is below `SURE`."""
    values = np.asarray(logits, np.float64)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    best = int(shares.argmax())
    kind = list(KINDS)[best]
    return None if kind == "none" or shares[best] < SURE else Fault(kind, float(shares[best]))


def read_faults(folder: Path, named: dict[str, str]) -> NDArray[np.float32]:
    """The layer of faults that a card names as {file: sha256}: kernel and, as last row, bias, float32 (n + 1, 7)."""
    ((name, digits),) = named.items()
    file = folder / name
    try:
        layer = np.load(file, allow_pickle=False) if sha256(file) == digits else None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not the layer of faults that its card names ({error})") from None
    if layer is None or layer.dtype != np.float32 or layer.ndim != 2 or layer.shape[1] != len(KINDS):
        raise WeightsError(f"{file}: not the layer of faults that its card names, float32 (n, {len(KINDS)})")
    return layer

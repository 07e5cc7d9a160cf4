"""The compiled file that ships beside a weight file, made and compared with Keras.

    shipped = ship(Path("weights/ava_vanilla.weights.h5"))     # writes weights/ava_vanilla.tflite, its hash on the card

`iqa.scoring.network_cache.find_compiled` finds it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, card_of, read_card, sha256
from iqa.errors import CardError, ExportError
from iqa.files import temporary_beside, write_json
from iqa.images.finding import sample_photograph
from iqa.images.geometry import Geometry
from iqa.images.reading import ImageLike, read_image
from iqa.scoring.engines import ENGINES
from iqa.scoring.network_cache import ask_keras, check_keras, compiled_beside

#: How many pictures a compiled file is compared with Keras on.
PICTURES = 50

#: How far a score may be from Keras's, and how far any other number that comes out.
EXACT, NEAR = 1e-5, 1e-4


@dataclass(frozen=True)
class Shipped:
    """A compiled file that was written.

    Attributes:
        file, sha256: the file and its hash.
        pictures: on how many it was compared with Keras.
        score, output: how far it was from Keras at most, in the score, and in the histogram and the features.
    """

    file: Path
    sha256: str
    pictures: int
    score: float
    output: float


def ship(weights: Path, pictures: Sequence[ImageLike] = ()) -> Shipped:
    """Write the compiled file of a weight file, NAME.tflite, and its hash and what Keras says of the probe on the card.

    Args:
        weights: with its card beside it.
        pictures: to compare with Keras on; by default `PICTURES` views of matplotlib's sample photograph.

    Raises:
        CardError: if the card describes other weights.
        ExportError: if the file disagrees with Keras; nothing is written then.
        RuntimeUnavailable: if Keras is missing.
        ImageError: if a picture cannot be read.
    """
    check_keras(weights)
    from iqa.models.export import export
    from iqa.models.networks import network_of

    card, found = read_card(card_of(weights)), sha256(weights)
    if card.sha256 != found:
        raise CardError(f"{weights}: not the weights that {card_of(weights).name} describes (sha256 {found[:12]}...)")
    engine = ENGINES["litert"]
    file, network = compiled_beside(weights, engine.suffix), network_of(card, weights)
    card = replace(card, probe=tuple(float(f"{value:.9g}") for value in ask_keras(network, card).outputs[0]))
    patches = _look_at(pictures or _views_of_sample(), card)
    with tempfile.TemporaryDirectory(dir=weights.parent, prefix=f".{file.name}.") as folder:
        written = Path(folder) / file.name
        export(network, card, written, engine.format, "uint8")
        run, _ = engine.open(written, 2)
        score = output = 0.0
        for patch in patches:
            ours, theirs = run(patch[None]), network.predict_on_batch(patch[None])
            score = max(score, abs(_score(ours[0]) - _score(theirs[0])))
            output = max(output, *(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)))
        if not (score <= EXACT and output <= NEAR):
            raise ExportError(
                f"{file}: not written, it differs from Keras: a score by {score:.2g}, the rest by {output:.2g}"
            )
        with temporary_beside(file, durable=True) as temporary:
            temporary.write_bytes(written.read_bytes())
    compiled = card.compiled | {file.name: sha256(file)}
    write_json(card_of(weights), replace(card, compiled=compiled).to_json(), durable=True)
    return Shipped(file, compiled[file.name], len(patches), score, output)


def _score(outputs: NDArray[np.float32]) -> float:
    row = np.asarray(outputs[0], np.float64)
    return float(row[0] if len(row) == 1 else row @ np.arange(1.0, len(row) + 1))


def _look_at(pictures: Sequence[ImageLike], card: Card) -> list[NDArray[np.uint8]]:
    """One patch of each picture, as the network sees it."""
    see = Geometry.of(card).patches
    return [see(picture)[0] for picture in pictures]


def _views_of_sample() -> list[NDArray[np.uint8]]:
    """`PICTURES` parts of the sample photograph, of different sizes, brightness and noise."""
    photograph, rng = read_image(sample_photograph()), np.random.default_rng(0)
    views = []
    for number in range(PICTURES):
        height, width = rng.integers(230, 512, 2)
        top, left = (
            int(rng.integers(0, whole - part)) for whole, part in zip(photograph.shape, (height, width), strict=False)
        )
        part = photograph[top : top + height, left : left + width].astype(float)
        noise = rng.normal(0, number / 2, part.shape)
        views.append(np.clip(part * rng.uniform(0.4, 1.5) + noise, 0, 255).astype(np.uint8))
    return views

"""The compiled network beside a weight file, NAME.tflite, which LiteRT and OpenVINO read without Keras."""

import importlib.util
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.cards import Card, card_for, card_of, compiled_beside, sha256
from iqa.errors import CardError, ExportError, RuntimeUnavailable
from iqa.files import temporary_beside, write_json
from iqa.images.finding import sample_photograph
from iqa.images.probe import draw_probe
from iqa.images.reading import read_image

#: Pictures on which a compiled network is compared with Keras; how far a score may be from Keras's, and any other number
#: that comes out (of numbers above 1, this share of the largest).
PICTURES, EXACT, NEAR = 50, 1e-5, 1e-4


def compile_weights(weights: Path, cardless: Card | None = None) -> Path:
    """Write the compiled network of a weight file beside it, and note it on the card; returns its path.

    Args:
        weights: with its card beside it; or an `.hdf5` or `.h5` file of Keras 2, whose card is written.
        cardless: the card of such a file, if it has none.

    Raises:
        CardError: if there is no card, or it describes other weights.
        WeightsError: see `iqa.models.networks.network_of`.
        ExportError: if the compiled network disagrees with Keras; nothing is written then.
        RuntimeUnavailable: if Keras is missing.
    """
    check_keras(weights)
    card, found = card_for(weights, cardless), sha256(weights)
    if card.sha256 not in (None, found):
        raise CardError(f"{weights}: not the weights that {card_of(weights).name} describes (sha256 {found[:12]}...)")
    from iqa.models.export import export
    from iqa.models.networks import network_of

    file, network = compiled_beside(weights), network_of(card, weights)
    size = card.preprocessing.size
    probe = np.asarray(network.predict_on_batch(draw_probe(size)[None])[0])[0]
    with tempfile.TemporaryDirectory(dir=weights.parent, prefix=f".{file.name}.") as folder:
        written = Path(folder) / file.name
        export(network, card, written, "litert")
        views = _views_of_sample(size)
        ours = _run_litert(written, card, views)
        theirs = [network.predict_on_batch(views[first : first + 10]) for first in range(0, PICTURES, 10)]
        _compare(file, ours, [np.concatenate(parts) for parts in zip(*theirs, strict=True)])
        with temporary_beside(file, durable=True) as temporary:
            shutil.copyfile(written, temporary)
    new = replace(
        card, sha256=found, compiled={file.name: sha256(file)}, probe=tuple(float(f"{value:.9g}") for value in probe)
    )
    write_json(card_of(weights), new.to_json(), durable=True)
    return file


def check_keras(weights: Path) -> None:
    """Raise `RuntimeUnavailable` if Keras, which reads a weight file, is not installed."""
    if not importlib.util.find_spec("keras"):
        raise RuntimeUnavailable(f"{weights.name} needs Keras, which is not installed: pip install tensorflow keras h5py")


def _run_litert(file: Path, card: Card, views: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    from iqa.models.export import outputs_of

    run = Interpreter(str(file)).get_signature_runner()
    rows = [run(pixels=view[None]) for view in views]
    return [np.concatenate([row[name] for row in rows]) for name in outputs_of(card)]


def _compare(file: Path, ours: list[NDArray[np.float32]], theirs: list[NDArray[np.float32]]) -> None:
    """Raise `ExportError` if the outputs of a compiled network are not Keras's; both are [output, features ...]."""
    values = np.arange(1.0, 11.0) if ours[0].shape[1] == 10 else np.ones(1)
    pairs = [(ours[0] @ values, theirs[0] @ values, EXACT), *((a, b, NEAR) for a, b in zip(ours, theirs, strict=True))]
    shares = [float(np.abs(a - b).max() / max(1, np.abs(b).max()) / limit) for a, b, limit in pairs]
    if not max(shares) <= 1:  # NaN too
        raise ExportError(f"{file}: not written, it differs from Keras by {max(shares):.3g} times what is allowed")


def _views_of_sample(size: int) -> NDArray[np.uint8]:
    """`PICTURES` parts of the sample photograph, of different scale, brightness and noise."""
    photograph, rng = Image.fromarray(read_image(sample_photograph())), np.random.default_rng(0)
    views = []
    for number in range(PICTURES):
        part = rng.uniform(0.4, 1) * min(photograph.size)
        left, top = (rng.uniform(0, side - part) for side in photograph.size)
        view = np.asarray(photograph.resize((size, size), box=(left, top, left + part, top + part)), float)
        view = view * rng.uniform(0.4, 1.5) + rng.normal(0, number / 2, view.shape)
        views.append(np.clip(view, 0, 255).astype(np.uint8))
    return np.stack(views)

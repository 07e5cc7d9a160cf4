"""A network as a file for a runtime that needs no Keras; NAME.tflite beside its weights is read by LiteRT and OpenVINO.

The file takes `pixels`, uint8 0-255, (N, size, size, 3) RGB, cut or resized as docs/deploy.md says, and normalises them.
Its outputs are `histogram` (N, 10) or `score` (N, 1), `features`, and `levels` if the head sees several.
"""

import importlib.util
import os
import shutil
import tempfile
import warnings
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from iqa.cards import Card, card_for, card_of, compiled_beside, sha256
from iqa.errors import CardError, ExportError, RuntimeUnavailable
from iqa.files import temporary_beside, write_json
from iqa.images.finding import sample_photograph
from iqa.images.geometry import draw_probe
from iqa.images.reading import read_image

if TYPE_CHECKING:
    import keras

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


#: {format: (Keras's name of it, suffix, the module that Keras needs for it)}.
FORMATS: dict[str, tuple[str, str, str]] = {
    "litert": ("litert", ".tflite", "tensorflow"),
    "onnx": ("onnx", ".onnx", "tf2onnx"),
    "saved_model": ("tf_saved_model", "", "tensorflow"),
}


def outputs_of(card: Card) -> tuple[str, ...]:
    """The names of the outputs of an exported network, in the order in which the network of the card has them."""
    said = {"histogram": "histogram", "regression": "score"}[card.head.kind]
    return (said, "features", "levels") if card.head.levels else (said, "features")


def check_file(file: str | PathLike[str], format: str) -> Path:
    """The path to write to; an `ExportError` if its suffix is another format's, or it is a folder of something else."""
    file, suffix = Path(file), FORMATS[format][1]
    if file.suffix != suffix or not file.stem.strip("."):
        raise ExportError(f"{file}: {format} is written to a name like {file.stem.strip('.') or 'model'}{suffix}")
    if file.is_dir() and not (format == "saved_model" and (file / "saved_model.pb").is_file()):
        raise ExportError(f"{file}: a folder of that name exists; choose another name")
    return file


def export(network: "keras.Model", card: Card, file: str | PathLike[str], format: str) -> None:
    """Write a network for another runtime with Keras's own `Model.export`; the file is whole or not there.

    The network is as `iqa.models.networks.network_of` makes it of the card, the format a key of `FORMATS`. An `ExportError`
    is raised as by `check_file`, or if a package is missing, Keras does not run on TensorFlow, or the format lacks a layer.
    """
    import keras

    name, _, module = FORMATS[format]
    file = check_file(file, format)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"{format} is written with Keras on tensorflow, not on {keras.backend.backend()}")
    if not importlib.util.find_spec(module):
        raise ExportError(f"{format} needs {module}: pip install {module}")
    pixels = keras.Input(network.input_shape[1:], dtype="uint8", name="pixels")
    outputs = network(keras.ops.cast(pixels, "float32"))
    deployed = keras.Model(pixels, dict(zip(outputs_of(card), outputs, strict=True)))
    deployed(keras.ops.zeros((1, *network.input_shape[1:]), "uint8"))  # ONNX wants a model that was called
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters' own, of NumPy and of Keras
        written = Path(folder) / file.name
        deployed.export(str(written), format=name, verbose=False)
        if format == "onnx":
            _check_onnx(written)
        if file.is_dir():  # out of the way, and gone with the temporary folder
            os.replace(file, Path(folder) / ".before")
        os.replace(written, file)


def _check_onnx(file: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(file)
    except onnx.checker.ValidationError as error:  # Keras computes some convolutions by XLA, of which ONNX knows nothing
        reason = str(error).splitlines()[0][:200]
        raise ExportError(f"{file.name}: this network cannot be written as ONNX: {reason}") from None

"""Write a network as a file for a runtime that needs no Keras; `iqa.commands.export` is the command for it.

The file takes `pixels`, uint8 0-255, (N, size, size, 3) RGB, cut or resized as docs/deploy.md says, and normalises them.
Its outputs are `histogram` (N, 10) or `score` (N, 1), `features`, and `levels` if the head sees several.
"""

import importlib.util
import os
import tempfile
import warnings
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from iqa.cards import Card
from iqa.errors import ExportError

if TYPE_CHECKING:
    import keras

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

    Args:
        network: as `iqa.models.networks.network_of` makes it of the card.
        format: a key of `FORMATS`.

    Raises:
        ExportError: see `check_file`; or if a package is missing, Keras runs on another backend than TensorFlow, or the
            network has layers that the format does not know.
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

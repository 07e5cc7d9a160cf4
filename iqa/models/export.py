"""Write a network as a file for a runtime that needs no Keras; `iqa.commands.export` is the command for it.

The file takes `pixels`, 0-255, (N, size, size, 3) RGB, as float32 or as uint8. It normalises them, but it neither cuts nor
resizes a picture to that size: docs/deploy.md says how to do that. It gives two arrays, `histogram` (N, 10) or `score`
(N, 1), and the `features` behind it, and it holds the card of its weights.
"""

import importlib.util
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from iqa.cards import Card
from iqa.errors import ExportError
from iqa.models.metadata import describe, outputs_of

if TYPE_CHECKING:
    import keras

#: {format: (Keras's name of it, suffix, the module that Keras needs for it, the extra of this project that brings it)}.
FORMATS: dict[str, tuple[str, str, str, str | None]] = {
    "litert": ("litert", ".tflite", "tensorflow", None),
    "onnx": ("onnx", ".onnx", "tf2onnx", "onnx"),
    "openvino": ("openvino", ".xml", "openvino", "openvino"),
    "saved_model": ("tf_saved_model", "", "tensorflow", None),
}

INPUTS = ("float32", "uint8")


def check_file(file: str | os.PathLike[str], format: str) -> Path:
    """The path of a file that a network may be written to.

    Raises:
        ExportError: if its suffix is another format's, or a folder of that name exists, which must not be written over.
    """
    file, suffix = Path(file), FORMATS[format][1]
    if file.suffix != suffix or not file.stem.strip("."):
        raise ExportError(f"{file}: {format} is written to a name like {file.stem.strip('.') or 'model'}{suffix}")
    if file.is_dir() and not (format == "saved_model" and (file / "saved_model.pb").is_file()):
        raise ExportError(f"{file}: a folder of that name exists; choose another name")
    return file


def export(network: "keras.Model", card: Card, file: str | os.PathLike[str], format: str, input: str = "float32") -> None:
    """Write a network for another runtime with Keras's own `Model.export`; the file is whole or not there.

    Args:
        network: a `keras.Model` of pixels 0-255 (N, H, W, 3), such as `iqa.models.networks.network_of` makes of the card.
        card: of its weights, which is written into the file; see `iqa.models.metadata`.
        file: with the suffix in `FORMATS`.
        format: a key of `FORMATS`.
        input: the type of the pixels, "float32" or "uint8".

    Raises:
        ExportError: see `check_file`; or if a package is missing, or Keras runs on another backend than TensorFlow.
    """
    import keras

    name, _, module, extra = FORMATS[format]
    file = check_file(file, format)
    if keras.backend.backend() != "tensorflow":
        raise ExportError(f"{format} is written with Keras on tensorflow, not on {keras.backend.backend()}")
    if not importlib.util.find_spec(module):
        raise ExportError(f"{format} needs {module}: pip install 'image-quality-assessment[{extra}]'")
    pixels = keras.Input(network.input_shape[1:], dtype=input, name="pixels")
    cast = pixels if input == "float32" else keras.ops.cast(pixels, "float32")
    deployed = keras.Model(pixels, dict(zip(outputs_of(card), network(cast), strict=True)))
    deployed(keras.ops.zeros((1, *network.input_shape[1:]), input))  # ONNX wants a model that was called
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters' own, of NumPy and of Keras
        deployed.export(str(Path(folder) / file.name), format=name, verbose=False)
        describe(format, Path(folder) / file.name, card)
        if file.is_dir():  # out of the way, and gone with the temporary folder
            os.replace(file, Path(folder) / ".before")
        # The companions first (OpenVINO's .bin), so that a reader that sees the file finds all of it.
        parts = [part for part in Path(folder).iterdir() if part.name != ".before"]
        for part in sorted(parts, key=lambda part: part.name == file.name):
            os.replace(part, file.with_name(part.name))

"""The weights of a torch network, a `.pth`, in the same network here. Reading one takes torch, which only this needs."""

import importlib
from os import PathLike
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.errors import WeightsError

#: What the names of the tensors of the last, classifying layer begin with.
_CLASSIFIER = "classifier."


def read_tensors(file: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a `.pth` state dict, {name: array} in the order of the file; nothing in it is executed.

    Raises:
        WeightsError: if torch is not installed, or the file is no such state dict.
        OSError: if the file cannot be opened.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise WeightsError(f"{file}: a .pth is read by torch, which is not installed: pip install torch") from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except OSError:
        raise
    except Exception as error:  # whatever torch raises for a broken or foreign file
        # Not with torch's own words, which advise to execute what is in the file.
        raise WeightsError(f"{file}: not a state dict of torch, of tensors alone ({type(error).__name__})") from None


def load_tensors(model: keras.Model, tensors: dict[str, NDArray[Any]]) -> None:
    """Copy the tensors of a network of torch, but for its classifier, into a backbone, layer by layer in the order of both.

    The backbone must have the padding and epsilon that the file was trained with.

    Raises:
        WeightsError: naming the first layer and the shapes that do not fit.
    """
    names = [name for name in tensors if name.endswith(".weight") and not name.startswith(_CLASSIFIER)]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        raise WeightsError(f"not the weights of {model.name}: {len(names)} layers with weights instead of {len(layers)}")
    for layer, name in zip(layers, names, strict=True):
        prefix = name.removesuffix("weight")
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [tensors.get(prefix + part, np.empty(0)) for part in parts]
        else:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            kernel = tensors[name]
            values = [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)) if kernel.ndim == 4 else kernel]
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = [value.shape for value in values]
        if found != expected:
            raise WeightsError(f"{name} has the shape {found} where layer {layer.name} needs {expected}")
        layer.set_weights(values)

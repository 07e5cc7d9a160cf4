"""The weights of a torch network, copied into the same network here; `iqa.models.torch_files` reads them."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.errors import WeightsError

#: What the names of the tensors begin with that the last, classifying layer of a network has.
_CLASSIFIERS = ("classifier.", "_fc.")


def load_tensors(model: keras.Model, tensors: dict[str, NDArray[Any]]) -> None:
    """Copy the tensors of a network of torch into a backbone, layer by layer in the order of both.

    Args:
        model: of `iqa.models.backbones`, of the padding and epsilon that the file was trained with, or its features are not
            those of torch.
        tensors: from `iqa.models.torch_files.read_torch_tensors`; the classifier in it is left out.

    Raises:
        WeightsError: naming the first layer and the shapes that do not fit.
    """
    names = [name for name in tensors if name.endswith(".weight") and not name.startswith(_CLASSIFIERS)]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        raise WeightsError(f"not the weights of {model.name}: {len(names)} layers with weights instead of {len(layers)}")
    for layer, name in zip(layers, names, strict=True):
        prefix = name.removesuffix("weight")
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            values = [tensors.get(prefix + part, np.empty(0)) for part in parts]
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            values = [_transpose(tensors[name], (2, 3, 0, 1))]
        else:
            values = [_transpose(tensors[name], (2, 3, 1, 0))]
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = [value.shape for value in values]
        if found != expected:
            raise WeightsError(f"{name} has the shape {found} where layer {layer.name} needs {expected}")
        layer.set_weights(values)


def _transpose(value: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    return value.transpose(axes) if value.ndim == len(axes) else value

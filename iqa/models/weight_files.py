"""Weight files: read them, all weights or none, and save them with their card."""

from dataclasses import replace
from os import PathLike
from pathlib import Path

import keras
import numpy as np

from iqa.cards import Card, card_of, sha256
from iqa.errors import OutputError, WeightsError
from iqa.files import temporary_beside, write_json
from iqa.models.hdf5 import list_datasets, list_keras2_layers, open_hdf5


def load_weights(model: keras.Model, file: str | PathLike[str]) -> None:
    """Load weights, all of them or nothing: `.weights.h5` of Keras 3, `.hdf5` or `.h5` of Keras 2.

    Whatever the file declares is checked before a number is read (see `iqa.models.hdf5`). If the model is compiled, the
    state of its optimizer is loaded too.

    Raises:
        WeightsError: if the file is missing, broken, or of another network; the message names it.
    """
    if not Path(file).is_file():
        raise WeightsError(f"{file}: there is no such file")
    before = model.get_weights()
    try:
        if str(file).endswith(".weights.h5"):
            _check_shapes(model, file)
            model.load_weights(file)
        else:
            load_keras2(model, file)
    except Exception as error:  # h5py and Keras raise whatever a foreign file makes them stumble over
        model.set_weights(before)
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{file}: not the weights of this model ({reason})") from None


def _check_shapes(model: keras.Model, file: str | PathLike[str]) -> None:
    """Make sure that the layers in a file of Keras 3 have arrays of the shapes that the layers of the model have."""
    shapes = {tuple(variable.shape) for variable in model.variables}
    with open_hdf5(file) as opened:
        for name, dataset in list_datasets(opened):
            if name.startswith("/layers/") and dataset.shape not in shapes:
                raise WeightsError(f"{name} has the shape {dataset.shape}, which no layer of this network has")


def load_keras2(model: keras.Model, file: str | PathLike[str]) -> None:
    """Load a whole Keras 2 model or its weights (HDF5, Keras 2.1 to 2.15); nothing in the file is executed.

    Layers are matched by name; those that the user named, or Keras numbered (`dense_1`), in their order.

    Raises:
        WeightsError: naming the layer and shapes that do not fit, or how many layers the file and the model have.
        OSError: if it is not an HDF5 file.
    """
    with open_hdf5(file) as opened:
        stored = list_keras2_layers(opened)
        layers = [layer for layer in model.layers if layer.weights]
        if len(stored) != len(layers):
            raise WeightsError(f"{len(stored)} layers with weights in the file, {len(layers)} in the model")
        names = {layer.name for layer in layers}
        others = iter([name for name in stored if name not in names])
        sources = [layer.name if layer.name in stored else next(others) for layer in layers]
        for layer, source in zip(layers, sources, strict=True):
            expected, found = ([tuple(w.shape) for w in weights] for weights in (layer.weights, stored[source]))
            if expected != found:
                raise WeightsError(f"layer {source} of the file has {found} where layer {layer.name} needs {expected}")
        for layer, source in zip(layers, sources, strict=True):
            layer.set_weights([np.asarray(dataset) for dataset in stored[source]])


def without_optimizer(model: keras.Model) -> keras.Model:
    """The same network uncompiled: the optimizer's state would triple the size of a weight file."""
    return keras.Model(model.inputs, model.outputs, name=model.name)


def check_name(path: str | PathLike[str]) -> None:
    """Make sure that weights can be saved under a name, before the work of making them.

    Raises:
        OutputError: if it does not end in `.weights.h5`, which Keras needs.
    """
    if not str(path).endswith(".weights.h5"):
        raise OutputError(f"{path}: weights are written to a name like {Path(path).stem or 'model'}.weights.h5")


def save_with_card(model: keras.Model, path: str | PathLike[str], card: Card) -> None:
    """Save the weights of a model alone, and beside them the card with their sha256; each file is whole or not there.

    The new card names no compiled files and no layer of faults: those belong to other weights.

    Raises:
        OutputError: see `check_name`.
    """
    check_name(path)
    with temporary_beside(path, durable=True) as file:
        without_optimizer(model).save_weights(file)
    write_json(card_of(path), replace(card, sha256=sha256(path), compiled={}, faults={}).to_json(), durable=True)

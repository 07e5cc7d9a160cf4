"""Weight files: read them, all weights or none, and save them with their card.

HDF5 can name other files (links, external storage, virtual data sets) and declare arrays of any size in a few kilobytes. No
weights need that, so it is refused before an array is read.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path

import h5py
import keras

from iqa.cards import Card, card_of, sha256
from iqa.errors import OutputError, WeightsError
from iqa.files import temporary_beside, write_json

#: Bytes of an array, at most (the largest of the networks here has 9 MB), and groups and arrays in a file.
_LARGEST, _MOST = 1 << 26, 5_000


def load_weights(model: keras.Model, file: str | PathLike[str]) -> None:
    """Load weights, all of them or nothing: `.weights.h5` of Keras 3, `.hdf5` or `.h5` of Keras 2.

    If the model is compiled, the state of its optimizer is loaded too. Raises a `WeightsError` that names the file if it is
    missing, broken, or of another network.
    """
    if not Path(file).is_file():
        raise WeightsError(f"{file}: there is no such file")
    before = model.get_weights()
    try:
        check_hdf5(file, {tuple(variable.shape) for variable in model.variables})
        model.load_weights(file)
    except Exception as error:  # h5py and Keras raise whatever a foreign file makes them stumble over
        model.set_weights(before)
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{file}: not the weights of this model ({reason})") from None


def check_hdf5(file: str | PathLike[str], shapes: Collection[tuple[int, ...]] = ()) -> None:
    """Check that nothing in an HDF5 file is a link, and all data sets are plain numbers, stored in it, of 64 MB at most.

    Those of layers of Keras 3 must have one of the `shapes`, if some are given.

    Raises a `WeightsError` that names the first thing that is not so, and an `OSError` if it is not an HDF5 file.
    """
    with h5py.File(Path(file), "r") as opened:
        for name, dataset in _list_datasets(opened):
            facts, shape = dataset.id.get_create_plist(), dataset.shape
            if facts.get_external_count() or facts.get_layout() == h5py.h5d.VIRTUAL:
                raise WeightsError(f"{name} keeps its numbers in other places, which are not read")
            if dataset.dtype.kind not in "fiu" or shape is None:
                raise WeightsError(f"{name} does not hold plain numbers")
            if math.prod(shape) * dataset.dtype.itemsize > _LARGEST:
                raise WeightsError(f"{name} has the shape {shape}, larger than any array of the networks here")
            if math.prod(shape) and not dataset.id.get_storage_size():
                raise WeightsError(f"{name} has the shape {shape}, but no numbers")
            if shapes and name.startswith("/layers/") and shape not in shapes:
                raise WeightsError(f"{name} has the shape {shape}, which no layer of this network has")


def _list_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All data sets of a file with their paths in it; a `WeightsError` if it has links or more than `_MOST` parts."""
    seen, open_groups = 0, [("", file["/"])]
    while open_groups:
        path, group = open_groups.pop()
        seen += len(group)
        if seen > _MOST:
            raise WeightsError("it has more groups and arrays than any network needs")
        for name in group:
            inner = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{inner[:80]!r} is a link to another place or file, which is not followed")
            if isinstance(group[name], h5py.Group):
                open_groups.append((inner, group[name]))
            elif isinstance(group[name], h5py.Dataset):
                yield inner, group[name]


def without_optimizer(model: keras.Model) -> keras.Model:
    """The same network uncompiled: the optimizer's state would triple the size of a weight file."""
    return keras.Model(model.inputs, model.outputs, name=model.name)


def check_name(path: str | PathLike[str]) -> None:
    """Raise `OutputError` if a name does not end in `.weights.h5`, which Keras needs."""
    if not str(path).endswith(".weights.h5"):
        raise OutputError(f"{path}: weights are written to a name like {Path(path).stem or 'model'}.weights.h5")


def save_with_card(model: keras.Model, path: str | PathLike[str], card: Card) -> None:
    """Save the weights of a model without its optimizer, and beside them the card with their sha256; see `check_name`.

    The new card names no compiled network, probe or layer of faults: those belong to other weights.
    """
    check_name(path)
    with temporary_beside(path, durable=True) as file:
        without_optimizer(model).save_weights(file)
    new = replace(card, sha256=sha256(path), compiled={}, faults={}, probe=())
    write_json(card_of(path), new.to_json(), durable=True)

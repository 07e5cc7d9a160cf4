"""HDF5 files that anybody may have made: what a file says of itself is checked before an array is read.

    with open_hdf5("weights.hdf5", most=10**7) as file:
        ...

An HDF5 file can name other files (external links, external storage, virtual data sets), declare arrays of any size in a few
kilobytes, and unpack a thousandfold. None of that is needed for weights, so all of it is refused.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

from iqa.errors import WeightsError

#: Groups and data sets in a file, and levels of groups, at most.
_OBJECTS, _DEPTH = 5_000, 16

#: Bytes of a list of names, and chunks of a data set, at most.
_NAMES, _CHUNKS = 1 << 20, 10_000

#: The filters that are admitted, in the order in which h5py applies them when it writes.
_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32)


@contextmanager
def open_hdf5(file: str | PathLike[str], most: int) -> Iterator[h5py.File]:
    """Open an HDF5 file whose arrays can all be read without surprises.

    Args:
        most: bytes that the largest array may have.

    Yields:
        The open file, in which nothing is a link. All of its data sets are plain numbers, stored in full, of at most `most`
        bytes each.

    Raises:
        WeightsError: naming the first thing in it that is not admitted.
        OSError: if it is not an HDF5 file.
    """
    with h5py.File(Path(file), "r") as opened:
        for name, dataset in list_datasets(opened):
            _check_dataset(name, dataset, most)
        yield opened


def list_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All data sets of a file with their paths in it.

    Raises:
        WeightsError: if it has links that are not its own parts, more than `_OBJECTS` parts or more than `_DEPTH` levels.
    """
    seen, open_groups = 0, [("", file["/"])]
    while open_groups:
        path, group = open_groups.pop()
        seen += len(group)
        if seen > _OBJECTS or path.count("/") > _DEPTH:
            raise WeightsError("it has more groups and arrays than any network needs")
        for name in group:
            inner = f"{path}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsError(f"{_shown(inner)} is a link to another place or file, which is not followed")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield inner, item
            elif isinstance(item, h5py.Group):
                open_groups.append((inner, item))
            else:
                raise WeightsError(f"{_shown(inner)} is neither a group nor an array")


def list_keras2_layers(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The arrays of each layer with weights in a file of Keras 2, not read yet, in the order of the file.

    Raises:
        WeightsError: if it is no such file.
    """
    root = file.get("model_weights", file)
    if not isinstance(root, h5py.Group) or "layer_names" not in root.attrs:
        raise WeightsError("no weights of Keras 2")
    stored = {}
    for name in _read_names(root, "layer_names"):
        layer = root.get(name)
        if not isinstance(layer, h5py.Group):
            raise WeightsError(f"layer {_shown(name)} is missing")
        arrays = [layer.get(weight) for weight in _read_names(layer, "weight_names")]
        if not all(isinstance(array, h5py.Dataset) for array in arrays):
            raise WeightsError(f"an array of layer {_shown(name)} is missing")
        if arrays:
            stored[name] = arrays
    return stored


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, as Keras 2 wrote them: texts of one fixed length, together a megabyte at most."""
    if attribute not in group.attrs:
        raise WeightsError(f"{_shown(group.name)} has no {attribute}")
    found = h5py.h5a.open(group.id, attribute.encode())
    shape, kind = found.shape or (), found.get_type()
    count = math.prod(shape)
    if count == 0:
        return []
    fixed = kind.get_class() == h5py.h5t.STRING and not kind.is_variable_str()
    if not fixed or len(shape) != 1 or count * kind.get_size() > _NAMES:
        raise WeightsError(f"the {attribute} of {_shown(group.name)} are not a list of names")
    return [name.decode() for name in group.attrs[attribute]]


def _check_dataset(name: str, dataset: h5py.Dataset, most: int) -> None:
    """Refuse a data set whose reading needs another file, more memory than `most` bytes, or what is not stored."""
    facts, kind, space = dataset.id.get_create_plist(), dataset.id.get_type(), dataset.id.get_space()
    layout = facts.get_layout()
    if facts.get_external_count() or layout == h5py.h5d.VIRTUAL:
        raise WeightsError(f"{_shown(name)} keeps its numbers in other places, which are not read")
    plain = kind.get_class() in (h5py.h5t.FLOAT, h5py.h5t.INTEGER) and kind.get_size() <= 8
    if not plain or space.get_simple_extent_type() == h5py.h5s.NULL:
        raise WeightsError(f"{_shown(name)} does not hold plain numbers")
    shape = space.get_simple_extent_dims()
    size = math.prod(shape) * kind.get_size()
    if size > most:
        raise WeightsError(f"{_shown(name)} has the shape {shape}, larger than any array of this network")
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(name, dataset, facts, size, most)
    elif dataset.id.get_storage_size() != size:
        raise WeightsError(f"{_shown(name)} has the shape {shape}, but not as many numbers")
    if "dtype" in dataset.attrs:  # Keras reads it
        found = h5py.h5a.open(dataset.id, b"dtype")
        if found.shape != () or found.get_type().get_class() != h5py.h5t.STRING:
            raise WeightsError(f"the attribute dtype of {_shown(name)} is not a text")


def _check_chunks(name: str, dataset: h5py.Dataset, facts: Any, size: int, most: int) -> None:
    """Refuse chunks that are missing, too many or too large, that unpack to more than they should, or need a plug-in."""
    filters = [facts.get_filter(number)[0] for number in range(facts.get_nfilters())]
    if [code for code in _FILTERS if code in filters] != filters:
        raise WeightsError(f"{_shown(name)} is packed in a way that is not read here")
    shape, chunk = dataset.id.get_space().get_simple_extent_dims(), facts.get_chunk()
    whole = math.prod(chunk) * dataset.id.get_type().get_size()
    count = math.prod(-(-side // step) for side, step in zip(shape, chunk, strict=True))
    if whole > most or count > _CHUNKS or dataset.id.get_num_chunks() != count:
        raise WeightsError(f"{_shown(name)} has the shape {shape}, but not as many numbers")
    stored: list[Any] = []
    if size:
        dataset.id.chunk_iter(stored.append)
    unpack = filters.index(h5py.h5z.FILTER_DEFLATE) if h5py.h5z.FILTER_DEFLATE in filters else None
    for part in stored:
        if part.size > whole + 1024:
            raise WeightsError(f"a part of {_shown(name)} is larger than it should be")
        if unpack is not None and not part.filter_mask >> unpack & 1:
            # HDF5 itself unpacks as far as it goes, whatever the size of a chunk is.
            _, packed = dataset.id.read_direct_chunk(part.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, whole + 1)) > whole:
                raise WeightsError(f"a part of {_shown(name)} unpacks to more than it should")


def _shown(name: str) -> str:
    """A name of the file in a message: on one line, and not longer than that."""
    return repr(name if len(name) <= 80 else name[:77] + "...")

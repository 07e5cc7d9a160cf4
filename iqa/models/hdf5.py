"""HDF5 files that anybody may have made: what a file says of itself is checked before an array is read.

    with open_hdf5("weights.hdf5") as file:
        ...

An HDF5 file can name other files (external links, external storage, virtual data sets), declare arrays of any size in a few
kilobytes, and unpack a thousandfold. None of that is needed for weights, so all of it is refused.
"""

import json
import math
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import h5py

from iqa.errors import WeightsError

#: Bytes of an array, at most. The largest of the networks here has 6 MB.
LARGEST = 1 << 26

#: Groups and data sets in a file, and levels of groups, at most.
_OBJECTS, _DEPTH = 5_000, 16

#: Bytes of a list of names, and chunks of a data set, at most.
_NAMES, _CHUNKS = 1 << 20, 10_000

#: The filters that are admitted, in the order in which h5py applies them when it writes.
_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32)


@contextmanager
def open_hdf5(file: str | PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file whose arrays can all be read without surprises.

    Yields:
        The open file, in which nothing is a link. All of its data sets are plain numbers, stored in full, of at most
        `LARGEST` bytes each.

    Raises:
        WeightsError: naming the first thing in it that is not admitted or is broken.
        OSError: if it is not an HDF5 file.
    """
    with h5py.File(Path(file), "r") as opened:
        with _explain():
            for name, dataset in list_datasets(opened):
                _check_dataset(name, dataset)
        yield opened


@contextmanager
def _explain() -> Iterator[None]:
    """Turn whatever h5py and zlib raise when they stumble over a broken file into one kind of error."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"it is broken ({' '.join(str(error).split())[:200]})") from None


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


@_explain()
def list_keras2_layers(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The arrays of each layer with weights in a file of Keras 2, not read yet, in the order of the file.

    Raises:
        WeightsError: if it is no such file.
    """
    root = file.get("model_weights", file)
    if not isinstance(root, h5py.Group) or "layer_names" not in root.attrs:
        raise WeightsError("no weights of Keras 2")
    apart = None if _is_fixed(root, "layer_names") else _read_names_apart(file.filename)
    stored = {}
    for name in _read_names(root, "layer_names") if apart is None else apart:
        layer = root.get(name)
        if not isinstance(layer, h5py.Group):
            raise WeightsError(f"layer {_shown(name)} is missing")
        names = _read_names(layer, "weight_names") if apart is None else apart[name]
        arrays = [layer.get(weight) for weight in names]
        if not all(isinstance(array, h5py.Dataset) for array in arrays):
            raise WeightsError(f"an array of layer {_shown(name)} is missing")
        if arrays:
            stored[name] = arrays
    return stored


def _is_fixed(group: h5py.Group, attribute: str) -> bool:
    """Whether an attribute has texts of one fixed length, as Keras wrote them before h5py 3."""
    kind = h5py.h5a.open(group.id, attribute.encode()).get_type()
    return not (kind.get_class() == h5py.h5t.STRING and kind.is_variable_str())


def _read_names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, texts of one fixed length, together a megabyte at most."""
    if attribute not in group.attrs:
        raise WeightsError(f"{_shown(group.name)} has no {attribute}")
    found = h5py.h5a.open(group.id, attribute.encode())
    shape: tuple[int, ...] = found.shape or ()
    kind = found.get_type()
    if 0 in shape:
        return []
    text = kind.get_class() == h5py.h5t.STRING and _is_fixed(group, attribute)
    if not text or len(shape) != 1 or shape[0] * kind.get_size() > _NAMES:
        raise WeightsError(f"the {attribute} of {_shown(group.name)} are not a list of names")
    return [name.decode() for name in group.attrs[attribute]]


# For texts of any length HDF5 allocates what the file says, up to 4 GB each, before it looks whether they are there.
_NAMES_APART = """
import json, sys
path, sys.path[:], most = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
import h5py
try:
    import resource
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), used + (1 << 28)))
except (ImportError, OSError):  # not on Linux
    pass
with h5py.File(path, "r") as file:
    root = file.get("model_weights", file)
    names = lambda group, name: [text.decode() if isinstance(text, bytes) else text for text in group.attrs[name]]
    text = json.dumps({layer: names(root[layer], "weight_names") for layer in names(root, "layer_names")})
print(text if len(text) <= most else "")
"""


def _read_names_apart(path: str) -> dict[str, list[str]]:
    """{layer: names of its arrays} of a file with texts of any length, read by a process of bounded memory and time."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _NAMES_APART, path, json.dumps(sys.path), str(_NAMES)],
            capture_output=True,
            timeout=60,
            check=True,
        )
        return dict(json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError):
        raise WeightsError("the names of its layers cannot be read") from None


def _check_dataset(name: str, dataset: h5py.Dataset) -> None:
    """Refuse a data set whose reading needs another file, more memory than `LARGEST` bytes, or what is not stored."""
    facts, kind, space = dataset.id.get_create_plist(), dataset.id.get_type(), dataset.id.get_space()
    layout = facts.get_layout()
    if facts.get_external_count() or layout == h5py.h5d.VIRTUAL:
        raise WeightsError(f"{_shown(name)} keeps its numbers in other places, which are not read")
    plain = kind.get_class() in (h5py.h5t.FLOAT, h5py.h5t.INTEGER) and kind.get_size() <= 8
    if not plain or dataset.dtype.kind not in "fiu" or space.get_simple_extent_type() == h5py.h5s.NULL:
        raise WeightsError(f"{_shown(name)} does not hold plain numbers")
    shape = space.get_simple_extent_dims()
    size = math.prod(shape) * kind.get_size()
    if size > LARGEST:
        raise WeightsError(f"{_shown(name)} has the shape {shape}, larger than any array of the networks here")
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(name, dataset, facts, size)
    elif dataset.id.get_storage_size() != size:
        raise WeightsError(f"{_shown(name)} has the shape {shape}, but not as many numbers")
    if "dtype" in dataset.attrs:  # which Keras reads; it is there if the numbers are bytes of bfloat16
        raise WeightsError(f"{_shown(name)} is marked as a type that is not read here")


def _check_chunks(name: str, dataset: h5py.Dataset, facts: Any, size: int) -> None:
    """Refuse chunks that are missing, too many or too large, that unpack to more than they should, or need a plug-in."""
    filters = [facts.get_filter(number)[0] for number in range(facts.get_nfilters())]
    if [code for code in _FILTERS if code in filters] != filters:
        raise WeightsError(f"{_shown(name)} is packed in a way that is not read here")
    shape, chunk = dataset.id.get_space().get_simple_extent_dims(), facts.get_chunk()
    whole = math.prod(chunk) * dataset.id.get_type().get_size()
    count = math.prod(-(-side // step) for side, step in zip(shape, chunk, strict=True))
    if whole > LARGEST or count > _CHUNKS or dataset.id.get_num_chunks() != count:
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

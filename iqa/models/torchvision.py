"""torchvision's MobileNetV2: reads its `.pth` without torch, and copies its weights into ours."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from os import PathLike
from typing import IO, Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.errors import WeightsError

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}

_MAGIC = 0x1950A86A20F9469CFC6C  # what a file of torch.save before torch 1.6 begins with


def read_torch_tensors(file: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the tensors of a `.pth` state dict without torch; nothing in the file is executed.

    Both forms of `torch.save` are read: the zip archive of torch >= 1.6 and the older stream of pickles.

    Returns:
        {name: array}, in the order of the file.

    Raises:
        WeightsError: if the file is no such state dict, or holds anything but tensors.
        OSError: if it cannot be opened.
    """
    try:
        with open(file, "rb") as stream:
            tensors = _read_zip(stream) if zipfile.is_zipfile(stream) else _read_legacy(stream)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle raises whatever its bytes happen to mean
        raise WeightsError(f"{file}: not a state dict of torch ({type(error).__name__}: {error})") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise WeightsError(f"{file}: not a state dict of tensors")
    return dict(tensors)


def load_torchvision(model: keras.Model, tensors: dict[str, NDArray[Any]]) -> None:
    """Copy torchvision's MobileNetV2 into the model of `mobilenet_v2`, layer by layer in the order of both networks.

    Args:
        model: with "symmetric" padding and an epsilon of 1e-5, or the features are not torchvision's.
        tensors: from `read_torch_tensors`; the classifier in it is left out.

    Raises:
        WeightsError: naming the first layer and the shapes that do not fit.
    """
    names = [name for name in tensors if name.startswith("features.") and name.endswith(".weight")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        raise WeightsError(f"not torchvision's MobileNetV2: {len(names)} layers with weights instead of {len(layers)}")
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


class _TensorUnpickler(pickle.Unpickler):
    """Admits tensors, ordered dicts and plain values; it refuses whatever else a pickle names."""

    def __init__(self, file: IO[bytes], read_storage: Callable[[str, str, int], NDArray[Any]]) -> None:
        super().__init__(file)
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise WeightsError(f"it holds {module}.{name}, but only tensors are read")

    def persistent_load(self, identifier: Any) -> NDArray[Any]:
        # ("storage", type, key, device, elements), and in the older form a view, which state dicts do not have.
        known = isinstance(identifier, tuple) and identifier[:1] == ("storage",)
        if not known or len(identifier) < 5 or identifier[5:] not in ((), (None,)):
            raise WeightsError("it refers to something that is no tensor")
        _, dtype, key, _, size = identifier[:5]
        return self._read_storage(dtype, key, size)


def _rebuild_tensor(storage: NDArray[Any], offset: int, shape: Any, stride: Any, *_: Any) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64))
    contiguous = tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
    if (tuple(stride) != contiguous and size > 1) or offset < 0 or offset + size > storage.size:
        raise WeightsError("a tensor in it does not fit its storage")
    return storage[offset : offset + size].reshape(shape)


def _read_zip(stream: IO[bytes]) -> Any:
    with zipfile.ZipFile(stream) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = pickled.removesuffix("data.pkl")

        def read_storage(dtype: str, key: str, size: int) -> NDArray[Any]:
            return np.frombuffer(archive.read(f"{folder}data/{key}"), dtype)

        with archive.open(pickled) as file:
            return _TensorUnpickler(file, read_storage).load()


def _read_legacy(stream: IO[bytes]) -> Any:
    # Three pickles (magic number, protocol, system), the state dict, the keys of the storages, then for each the number
    # of its elements (int64) and its bytes. The tensors come before their data: they are views of arrays filled later.
    stream.seek(0)
    storages: dict[str, NDArray[Any]] = {}

    def refuse_storage(dtype: str, key: str, size: int) -> NDArray[Any]:
        raise WeightsError("it has a tensor where none is allowed")

    def read_storage(dtype: str, key: str, size: int) -> NDArray[Any]:
        return storages.setdefault(key, np.zeros(size, dtype))

    plain = [_TensorUnpickler(stream, refuse_storage).load() for _ in range(3)]
    if plain[0] != _MAGIC:
        raise WeightsError("it was not written by torch.save")
    tensors = _TensorUnpickler(stream, read_storage).load()
    for key in _TensorUnpickler(stream, refuse_storage).load():
        (size,) = np.frombuffer(stream.read(8), "<i8")
        if key not in storages or size != storages[key].size:
            raise WeightsError("a storage in it has another size than its tensor")
        storages[key][:] = np.frombuffer(stream.read(storages[key].nbytes), storages[key].dtype)
    return tensors

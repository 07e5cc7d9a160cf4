"""The `.pth` files of torch, read without torch: tensors alone, and nothing in a file is executed.

Both forms of `torch.save` are read: the zip archive of torch >= 1.6 and the older stream of pickles. A pickle is a program;
here its instructions are followed one by one, and those that a dictionary of tensors does not need are refused. They build
texts, numbers, tuples and dictionaries, so a file can neither name a function nor change one.
"""

import io
import math
import pickletools
import zipfile
from dataclasses import dataclass
from os import PathLike
from typing import Any

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

#: Bytes of a file, instructions of a pickle, and members of an archive, at most. MobileNetV2 has 14 MB, 10,000 and 320.
_LARGEST, _INSTRUCTIONS, _MEMBERS = 1 << 26, 200_000, 5_000


@dataclass(frozen=True)
class _Storage:
    """Numbers that lie elsewhere in the file; tensors are views of them."""

    dtype: str
    key: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]  # from the slowest in the storage to the fastest


@dataclass(frozen=True)
class _Name:
    """What a pickle calls by the name of a module and something in it."""

    text: str


def read_torch_tensors(file: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the tensors of a `.pth` state dict.

    Returns:
        {name: array}, in the order of the file. The arrays are views of what the file holds and cannot be changed.

    Raises:
        WeightsError: if the file is no such state dict, holds anything but tensors, or is larger than 64 MB.
        OSError: if it cannot be opened.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise WeightsError(f"larger than {_LARGEST >> 20} MB, so not the weights of a network that is known here")
        return _read_zip(content) if content.startswith(b"PK\3\4") else _read_legacy(content)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    except OSError:
        raise
    except Exception as error:  # a broken pickle or archive raises whatever its bytes happen to mean
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{file}: not a state dict of torch ({type(error).__name__}: {reason})") from None


def _read_zip(content: bytes) -> dict[str, NDArray[Any]]:
    if content.count(b"PK\1\2") > _MEMBERS:  # each costs memory as soon as the archive is opened
        raise WeightsError("it has more members than any network here has tensors")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise WeightsError("not an archive of torch.save, which packs one data.pkl and compresses nothing")
        folder = pickles[0].removesuffix("data.pkl")
        tensors = _tensors_of(_load(io.BytesIO(archive.read(pickles[0]))))
        arrays = {}
        for storage in _storages_of(tensors, len(content)):
            member = members.get(f"{folder}data/{storage.key}")
            if member is None or member.file_size != _bytes_of(storage):
                raise WeightsError("a storage in it is missing, or has another size than its tensor")
            arrays[storage] = np.frombuffer(archive.read(member), storage.dtype)
    return _view(tensors, arrays)


def _read_legacy(content: bytes) -> dict[str, NDArray[Any]]:
    # Three pickles (magic number, protocol, system), the state dict, the keys of the storages, then for each the number
    # of its elements (int64) and its bytes.
    stream = io.BytesIO(content)
    plain = [_load(stream) for _ in range(3)]
    if plain[0] != _MAGIC:
        raise WeightsError("it was not written by torch.save")
    tensors, keys = _tensors_of(_load(stream)), _load(stream)
    storages = {storage.key: storage for storage in _storages_of(tensors, len(content))}
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(storages):
        raise WeightsError("it has other storages than its tensors need")
    arrays = {}
    for key in keys:
        storage = storages[key]
        if int.from_bytes(stream.read(8), "little") != storage.size:
            raise WeightsError("a storage in it has another size than its tensor")
        arrays[storage] = np.frombuffer(stream.read(_bytes_of(storage)), storage.dtype)
        if arrays[storage].size != storage.size:
            raise WeightsError("it ends in the middle of its tensors")
    return _view(tensors, arrays)


def _tensors_of(value: Any) -> dict[str, _Tensor]:
    if not isinstance(value, dict) or not all(isinstance(entry, _Tensor) for entry in value.values()):
        raise WeightsError("not a state dict of tensors")
    return value


def _storages_of(tensors: dict[str, _Tensor], length: int) -> list[_Storage]:
    """The storages of the tensors, which have distinct keys and are together not larger than a file of `length` bytes."""
    storages = list(dict.fromkeys(tensor.storage for tensor in tensors.values()))
    if len({storage.key for storage in storages}) < len(storages) or sum(map(_bytes_of, storages)) > length:
        raise WeightsError("its tensors need more numbers than it holds")
    return storages


def _bytes_of(storage: _Storage) -> int:
    return storage.size * np.dtype(storage.dtype).itemsize


def _view(tensors: dict[str, _Tensor], arrays: dict[_Storage, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name: arrays[tensor.storage][tensor.offset : tensor.offset + math.prod(tensor.shape)]
        .reshape([tensor.shape[axis] for axis in tensor.axes])
        .transpose(np.argsort(tensor.axes))
        for name, tensor in tensors.items()
    }


# --- pickles --------------------------------------------------------------------------------------------------------

_MARK = object()

#: Instructions that push what stands behind them.
_PLAIN = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "BINSTRING", "BINFLOAT")
)

#: Instructions that push something known.
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}

#: How many values an instruction takes from the stack to a tuple.
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _load(stream: io.BytesIO) -> Any:
    """What the next pickle of a stream says: texts, numbers, tuples, lists, dictionaries, `_Tensor`.

    Raises:
        WeightsError: if it says anything else.
    """
    stack: list[Any] = []
    memory: dict[Any, Any] = {}
    for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        name = instruction.name
        if count > _INSTRUCTIONS:
            raise WeightsError("it has more parts than any network here needs")
        if name == "STOP":
            break
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = stack[-1]
        elif name == "MEMOIZE":
            memory[len(memory)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[argument])
        elif name not in ("PROTO", "FRAME"):
            _build(name, argument, stack)
    if len(stack) != 1 or stack[0] is _MARK:
        raise WeightsError("its pickle is broken")
    return stack[0]


def _build(name: str, argument: Any, stack: list[Any]) -> None:
    """Follow an instruction that makes something of what lies on the stack."""
    if name == "EMPTY_DICT":
        stack.append({})
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name in _TUPLES:
        parts = [stack.pop() for _ in range(_TUPLES[name])]
        stack.append(tuple(reversed(parts)))
    elif name == "TUPLE":
        parts = _pop_to_mark(stack)
        stack.append(tuple(parts))
    elif name in ("SETITEM", "SETITEMS"):
        parts = _pop_to_mark(stack) if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
        _put(stack[-1], parts)
    elif name in ("APPEND", "APPENDS"):
        parts = _pop_to_mark(stack) if name == "APPENDS" else [stack.pop()]
        if not isinstance(stack[-1], list):
            raise WeightsError("its pickle is broken")
        stack[-1].extend(parts)
    elif name == "GLOBAL":
        stack.append(_Name(str(argument)))
    elif name == "STACK_GLOBAL":
        thing, module = stack.pop(), stack.pop()
        stack.append(_Name(f"{module if isinstance(module, str) else '?'} {thing if isinstance(thing, str) else '?'}"))
    elif name == "REDUCE":
        arguments, called = stack.pop(), stack.pop()
        stack.append(_call(called, arguments))
    elif name == "BINPERSID":
        stack.append(_storage_of(stack.pop()))
    elif name == "BUILD":
        stack.pop()  # the versions of the layers, an attribute of torch's dictionary, which nothing here needs
    else:
        raise WeightsError(f"it has the instruction {name}, which no dictionary of tensors needs")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    at = len(stack) - 1 - next(place for place, entry in enumerate(reversed(stack)) if entry is _MARK)
    parts = stack[at + 1 :]
    del stack[at:]
    return parts


def _put(target: Any, parts: list[Any]) -> None:
    names = parts[::2]
    # Nothing but a text is a key: the hash of tuples within tuples can take for ever, or crash.
    if not isinstance(target, dict) or len(parts) % 2 or not all(isinstance(name, str) for name in names):
        raise WeightsError("its dictionaries have something else than names")
    target.update(zip(names, parts[1::2], strict=True))


def _call(called: Any, arguments: Any) -> Any:
    name = called.text if isinstance(called, _Name) else "something without a name"
    if name == "collections OrderedDict" and arguments == ():
        return {}
    if name == "torch._utils _rebuild_tensor_v2" and isinstance(arguments, tuple) and len(arguments) >= 4:
        return _tensor_of(*arguments[:4])
    raise WeightsError(f"it holds {name.replace(' ', '.')[:80]!r}, but only tensors are read")


def _storage_of(identifier: Any) -> _Storage:
    # ("storage", type, key, device, elements), and in the older form a view, which state dicts do not have.
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise WeightsError("it refers to something that is no tensor")
    _, kind, key, _, size, *view = identifier
    module, _, name = kind.text.partition(" ") if isinstance(kind, _Name) else ("", "", "")
    known = module == "torch" and name in _DTYPES and isinstance(key, str) and _is_count(size)
    if not known or view not in ([], [None]):
        raise WeightsError("it refers to something that is no tensor")
    return _Storage(_DTYPES[name], key, size)


def _tensor_of(storage: Any, offset: Any, shape: Any, stride: Any) -> _Tensor:
    shaped = isinstance(shape, tuple) and len(shape) <= 8 and all(map(_is_count, shape))
    if not isinstance(storage, _Storage) or not shaped or not _is_count(offset):
        raise WeightsError("a tensor in it is broken")
    strided = isinstance(stride, tuple) and len(stride) == len(shape) and all(map(_is_count, stride))
    axes = tuple(sorted(range(len(shape)), key=lambda axis: -stride[axis])) if strided else ()
    # No gaps and no overlaps: whatever the order of the axes, the numbers of a tensor stand together.
    steps = [math.prod(shape[axis] for axis in axes[place + 1 :]) for place in range(len(axes))]
    dense = strided and all(stride[axis] == step for axis, step in zip(axes, steps, strict=True) if shape[axis] != 1)
    if not dense or offset + math.prod(shape) > storage.size:
        raise WeightsError("a tensor in it does not fit its storage")
    return _Tensor(storage, offset, shape, axes)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40

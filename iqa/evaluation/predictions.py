"""The `.mat` files of predictions: MATLAB version 5 (https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf)."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from iqa.errors import PredictionsError
from iqa.files import name_to_text, printable, written_whole
from iqa.labels.histograms import normalise


@dataclass
class Predictions:
    """Labels and predictions of one set.

    Attributes:
        labels: float64, mean opinion scores (N,) or histograms (N, 10).
        predictions: float32, the same.
        filenames: N names, in which an undecodable byte stands as `\\xNN`; empty in files of the original.
        provenance: model, weights, geometry, versions and time; the same.
        skipped: (name, reason) of the images left out.
        ids: N texts that tell the images apart, made by `read_predictions`: the stems of the names; without names the
            first column of the labels of histograms, or of scores what TID2013 has at that place.
    """

    labels: NDArray[np.float64]
    predictions: NDArray[np.float32]
    filenames: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)


def write_predictions(path: str | PathLike[str], predictions: Predictions) -> None:
    """Write `labels` (1, N) and `predictions` (N, 1, 1) of scores, or (N, 11) and (N, 1, 10) of histograms.

    The first column of the labels of histograms is the image's id, or its row number where the id is no number. Raises a
    `ValueError` if there are not as many predictions, and of histograms as many names, as labels.
    """
    labels = np.asarray(predictions.labels, np.float64)
    outputs = np.asarray(predictions.predictions, np.float32)
    names = predictions.filenames
    if len(outputs) != len(labels) or (len(names) != len(labels) and (names or labels.ndim == 2)):
        raise ValueError(f"{len(labels)} labels, {len(outputs)} predictions, {len(names)} file names")
    if labels.ndim == 2:
        stems = [Path(name).stem for name in names]
        ids = [float(stem) if stem.isdecimal() else row for row, stem in enumerate(stems)]
        labels = np.column_stack([np.array(ids, np.float64), labels])
    else:
        labels, outputs = labels[None, :], outputs[:, None]
    # Column by column, as MATLAB stores it: first the names, then the reasons.
    skipped = [*(name_to_text(name) for name, _ in predictions.skipped), *(why for _, why in predictions.skipped)]
    texts = [
        _cell("filenames", (1, len(names)), map(name_to_text, names)),
        _cell("skipped", (len(predictions.skipped), 2 if skipped else 1), skipped),
        _struct("provenance", predictions.provenance or {"model": ""}),
    ]
    with written_whole(path, durable=True) as file:
        scipy.io.savemat(file, {"labels": labels, "predictions": outputs[:, None, :]}, do_compression=True)
        for variable in map(zlib.compress, texts):
            file.write(struct.pack("<2I", 15, len(variable)) + variable)


# SciPy writes text beyond ASCII in UTF-8, which Octave cuts off and old MATLABs refuse: texts are written here, in UTF-16.


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def _matrix(kind: int, name: str, shape: tuple[int, int], content: bytes) -> bytes:
    head = _element(6, struct.pack("<2I", kind, 0)) + _element(5, struct.pack("<2i", *shape)) + _element(1, name.encode())
    return _element(14, head + content)


def _text(text: str) -> bytes:
    # A character that needs two units in UTF-16 is escaped: SciPy cannot read it.
    units = "".join(c if c <= "\uffff" else f"\\U{ord(c):08x}" for c in printable(text)).encode("utf-16-le")
    return _matrix(4, "", (1 if units else 0, len(units) // 2), _element(17, units))


def _cell(name: str, shape: tuple[int, int], texts: Iterable[str]) -> bytes:
    return _matrix(1, name, shape, b"".join(map(_text, texts)))


def _struct(name: str, fields: dict[str, str]) -> bytes:
    names = b"".join(key.encode().ljust(32, b"\0") for key in fields)
    head = struct.pack("<2Hi", 5, 4, 32) + _element(1, names)
    return _matrix(2, name, (1, 1), head + b"".join(map(_text, fields.values())))


def read_predictions(path: str | PathLike[str], bins: int | None = 1) -> Predictions:
    """Read a `.mat`, ours or the original's, and either as MATLAB saves them again; label histograms are normalised.

    `bins` is 1 for the scores of TID2013, 10 for the histograms of AVA, None for whichever the file holds. Raises a
    `PredictionsError` if there is no such file, it lacks a variable, or a variable has another shape or type.
    """
    content = _load(path, ("labels", "predictions", "filenames", "skipped", "provenance"))
    for name in ("labels", "predictions"):
        if name not in content:
            raise PredictionsError(f"{path}: it has no variable {name!r}")
        if getattr(content[name], "dtype", np.dtype(object)).kind not in "iuf":
            raise PredictionsError(f"{path}: its {name!r} are not numbers")
    labels, outputs = content["labels"].astype(np.float64), content["predictions"]
    count = len(outputs)
    bins = bins or (10 if outputs.shape[1:] in ((1, 10), (10,)) else 1)
    expected = [(1, count), (count, 1)] if bins == 1 else [(count, bins + 1)]
    # MATLAB drops trailing dimensions of 1: (N, 1, 1) comes back as (N, 1).
    if labels.shape not in expected or outputs.shape not in ((count, 1, bins), (count, bins)):
        kind = "scores" if bins == 1 else "histograms"
        raise PredictionsError(f"{path}: labels {labels.shape} and predictions {outputs.shape} are no {kind}")
    names = [_read_text(name) for name in np.ravel(content.get("filenames", ()))]
    if names and len(names) != count:
        raise PredictionsError(f"{path}: {len(names)} file names for {count} images")
    ids = [Path(name).stem.lower() for name in names]
    if not names:
        ids = [f"{number:.0f}" for number in labels[:, 0]] if bins > 1 else _ids_in_order(count)
    votes = labels.ravel() if bins == 1 else labels[:, 1:]
    if count and np.isnan(votes).all():
        raise PredictionsError(f"{path}: it holds predictions of images without labels; there is nothing to compare with")
    try:
        labels = votes if bins == 1 else normalise(votes)
    except ValueError as error:
        raise PredictionsError(f"{path}: {error}") from None
    skipped = np.asarray(content.get("skipped", ()), object)
    if skipped.size % 2:
        raise PredictionsError(f"{path}: its 'skipped' are not pairs of a file name and a reason")
    pairs = [(_read_text(name), _read_text(reason)) for name, reason in skipped.reshape(-1, 2)]
    outputs = outputs.reshape(labels.shape).astype(np.float32)
    return Predictions(labels, outputs, names, pairs, _read_struct(content), ids)


def read_provenance(path: str | PathLike[str]) -> dict[str, str]:
    """Where the predictions of a `.mat` come from; empty in files of the original. Raises as `read_predictions`."""
    return _read_struct(_load(path, ["provenance"]))


def _ids_in_order(count: int) -> list[str]:  # of TID2013: 24 distortions of 5 levels, scene by scene
    places = (np.unravel_index(number, (count // 120 + 1, 24, 5)) for number in range(count))
    return [f"i{scene + 1:02d}_{distortion + 1:02d}_{level + 1}" for scene, distortion, level in places]


def name_scenes(ids: Iterable[str]) -> list[str]:
    """The references that the ids of TID2013's images name: "i01" of "i01_08_3"."""
    return [image_id.partition("_")[0] for image_id in ids]


def _load(path: str | PathLike[str], names: Sequence[str]) -> dict[str, Any]:
    try:
        content = Path(path).read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if not order or 0 in content[:4]:
            raise ValueError("its first 128 bytes are of another format")
        # Of texts that are stored as plain numbers of 16 bits.
        codec = "utf-16-le" if order == "<" else "utf-16-be"
        with warnings.catch_warnings(action="ignore"):
            unpacked = io.BytesIO(_unpack(content, order))
            return dict(scipy.io.loadmat(unpacked, variable_names=names, uint16_codec=codec))
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except NotImplementedError:
        raise PredictionsError(f"{path}: a file of MATLAB 7.3; save it with -v7") from None
    except Exception as error:  # whatever NumPy, zlib or SciPy make of it
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise PredictionsError(f"{path}: not a file of MATLAB 5 that can be read ({reason})") from None


def _unpack(content: bytes, order: str) -> bytes:
    """A file with its variables unpacked: damage to a packed one, which zlib notices, crashes SciPy."""
    parts, at = [content[:128]], 128
    while at < len(content) and content[124:128] in (b"\0\1IM", b"\1\0MI"):
        kind, size, *flags = struct.unpack_from(f"{order}4I", content, at)
        if at + 8 + size > len(content) or (kind != 15 and (kind, *flags) != (14, 6, 8)):
            raise ValueError(f"it is broken at byte {at}")
        parts.append(zlib.decompress(content[at + 8 : at + 8 + size]) if kind == 15 else content[at : at + 8 + size])
        at += 8 + size
    return b"".join(parts)


def _read_struct(content: dict[str, Any]) -> dict[str, str]:
    value = content.get("provenance", ())
    names = getattr(getattr(value, "dtype", None), "names", None)
    return {name: _read_text(value[name].ravel()[0]) for name in names} if names and value.size else {}


def _read_text(cell: Any) -> str:
    cell = np.ravel(cell)
    return "".join(map(chr, cell.tolist())) if cell.dtype.kind == "u" else "".join(cell.astype(str))

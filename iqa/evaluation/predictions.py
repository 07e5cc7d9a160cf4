"""The `.mat` files of predictions: write and read.

MATLAB version 5, compressed, with the variables that readers of the original's files know, `labels` and
`predictions`, and beside them `filenames`, `skipped` and `provenance`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from iqa.errors import PredictionsError
from iqa.evaluation.matlab import read_variables
from iqa.files import name_to_text, printable, written_whole
from iqa.labels.histograms import normalise

#: The variables of a file.
VARIABLES = ("labels", "predictions", "filenames", "skipped", "provenance")


@dataclass
class Predictions:
    """Labels and predictions of one set.

    Attributes:
        labels: float64, mean opinion scores (N,) or histograms (N, 10).
        predictions: float32, the same.
        filenames: N names; an undecodable byte stands as `\\xNN`. Empty in files of the original.
        skipped: (name, reason) of the images left out.
        provenance: model, weights, geometry, versions, time; empty in files of the original.
        ids: N texts that tell the images from one another, made by `read_predictions`: the stems of the names; without
            names the first column of the labels of histograms, or of scores what TID2013 has at that place.
    """

    labels: NDArray[np.float64]
    predictions: NDArray[np.float32]
    filenames: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)


def write_predictions(path: str | PathLike[str], predictions: Predictions) -> None:
    """Write `labels` (1, N) and `predictions` (N, 1, 1) of scores, or (N, 11) and (N, 1, 10) of histograms.

    The first column of the labels of histograms is the image's id, or its row number where the id is no number.

    Raises:
        ValueError: if there are not as many predictions, and of histograms as many names, as labels.
    """
    labels = np.asarray(predictions.labels, np.float64)
    outputs = np.asarray(predictions.predictions, np.float32)
    names = predictions.filenames
    if len(outputs) != len(labels) or (len(names) != len(labels) and (names or labels.ndim == 2)):
        raise ValueError(f"{len(labels)} labels, {len(outputs)} predictions, {len(names)} file names")
    if labels.ndim == 2:
        labels = np.column_stack([np.arange(len(names), dtype=np.float64), labels])
        for row, name in enumerate(names):
            if (stem := Path(name).stem).isdecimal():
                labels[row, 0] = float(stem)
    else:
        labels, outputs = labels[None, :], outputs[:, None]
    with written_whole(path, durable=True) as file:
        scipy.io.savemat(
            file,
            {
                "labels": labels,
                "predictions": outputs[:, None, :],
                "filenames": _make_column(names),
                "skipped": _make_cell(predictions.skipped),
                "provenance": predictions.provenance or {"model": ""},
            },
            do_compression=True,
        )


def _make_column(names: Sequence[str]) -> NDArray[np.object_]:
    cell = np.empty(len(names), object)
    for number, name in enumerate(names):
        cell[number] = name_to_text(name)
    return cell


def _make_cell(rows: Sequence[tuple[str, str]]) -> NDArray[np.object_]:
    cell = np.empty((len(rows), max((len(row) for row in rows), default=1)), object)
    for number, row in enumerate(rows):
        cell[number] = [name_to_text(row[0]), *map(printable, row[1:])]
    return cell


def read_predictions(path: str | PathLike[str], bins: int | None = 1) -> Predictions:
    """Read predictions, ours or the original's, and either as MATLAB saves them again.

    Args:
        path: a `.mat`.
        bins: 1 for the scores of TID2013, 10 for the histograms of AVA; None for whichever the file holds.

    Returns:
        `Predictions`, labels and predictions (N,) or (N, 10), the histograms of the labels normalised.

    Raises:
        PredictionsError: if there is no such file, it lacks a variable, or a variable has another shape or type.
    """
    content = _load(path)
    labels, outputs = (_take_numbers(path, content, name) for name in ("labels", "predictions"))
    count = len(outputs)
    bins = bins or (10 if outputs.shape[1:] in ((1, 10), (10,)) else 1)
    expected = [(1, count), (count, 1)] if bins == 1 else [(count, bins + 1)]
    # MATLAB drops trailing dimensions of 1: (N, 1, 1) comes back as (N, 1).
    if labels.shape not in expected or outputs.shape not in ((count, 1, bins), (count, bins)):
        kind = "scores" if bins == 1 else "histograms"
        raise PredictionsError(f"{path}: labels {labels.shape} and predictions {outputs.shape} are no {kind}")
    labels = labels.astype(np.float64)
    names = [_text(name) for name in np.ravel(content.get("filenames", ()))]
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
    return Predictions(
        labels,
        outputs.reshape(labels.shape).astype(np.float32),
        names,
        [(_text(name), _text(reason)) for name, reason in skipped.reshape(-1, 2)],
        _read_struct(content.get("provenance")),
        ids,
    )


def read_provenance(path: str | PathLike[str]) -> dict[str, str]:
    """Where the predictions of a `.mat` come from; empty in files of the original.

    Raises:
        PredictionsError: if it is no such file.
    """
    return _read_struct(_load(path, ["provenance"]).get("provenance"))


def _take_numbers(path: str | PathLike[str], content: dict[str, Any], name: str) -> NDArray[Any]:
    if name not in content:
        raise PredictionsError(f"{path}: it has no variable {name!r}")
    value = content[name]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        raise PredictionsError(f"{path}: its {name!r} are not numbers")
    return value


def _ids_in_order(count: int) -> list[str]:
    """The ids of the first `count` images of TID2013: 24 distortions of 5 levels, scene by scene."""
    places = (np.unravel_index(number, (count // 120 + 1, 24, 5)) for number in range(count))
    return [f"i{scene + 1:02d}_{distortion + 1:02d}_{level + 1}" for scene, distortion, level in places]


def name_scenes(ids: Iterable[str]) -> list[str]:
    """The references that the ids of TID2013's images name.

    >>> name_scenes(["i01_08_3"])
    ['i01']
    """
    return [image_id.partition("_")[0] for image_id in ids]


def _load(path: str | PathLike[str], names: Sequence[str] = VARIABLES) -> dict[str, Any]:
    try:
        return read_variables(path, names)
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except OSError as error:
        raise PredictionsError(f"{path}: {error.strerror}") from None
    except PredictionsError as error:
        raise PredictionsError(f"{path}: {error}") from None


def _read_struct(value: Any) -> dict[str, str]:
    """The texts of a MATLAB struct; empty if it is none."""
    names = getattr(getattr(value, "dtype", None), "names", None)
    return {name: _text(value[name].ravel()[0]) for name in names} if names and value.size else {}


def _text(cell: Any) -> str:
    """A MATLAB string, which comes as an array of none or one text."""
    return "".join(np.ravel(cell).astype(str))

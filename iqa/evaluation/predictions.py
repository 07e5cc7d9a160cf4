"""The `.mat` files of predictions: write and read.

MATLAB version 5, compressed, with the variables that readers of the original's files know, `labels` and
`predictions`, and beside them `filenames`, `skipped` and `provenance`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy

from iqa.errors import PredictionsError
from iqa.files import printable, written_whole
from iqa.labels.histograms import normalise


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

    labels: np.ndarray
    predictions: np.ndarray
    filenames: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)


def write_predictions(path, predictions):
    """Write `labels` (1, N) and `predictions` (N, 1, 1) of scores, or (N, 11) and (N, 1, 10) of histograms.

    The first column of the labels of histograms is the image's id, or its row number where the id is no number.
    """
    labels = np.asarray(predictions.labels, np.float64)
    outputs = np.asarray(predictions.predictions, np.float32)
    if labels.ndim == 2:
        names = predictions.filenames
        if len(names) != len(labels) or len(outputs) != len(labels):
            raise ValueError(f"{len(labels)} labels, {len(outputs)} predictions, {len(names)} file names")
        labels = np.column_stack([np.arange(len(names), dtype=np.float64), labels])
        for row, name in enumerate(names):
            if (stem := Path(name).stem).isdecimal():
                labels[row, 0] = float(stem)
    else:
        labels, outputs = labels[None, :], outputs[:, None]
    with written_whole(path) as file:
        scipy.io.savemat(
            file,
            {
                "labels": labels,
                "predictions": outputs[:, None, :],
                "filenames": _names(predictions.filenames),
                "skipped": _cell(predictions.skipped),
                "provenance": predictions.provenance or {"model": ""},
            },
            do_compression=True,
        )


def _names(names):
    cell = np.empty(len(names), object)
    for number, name in enumerate(names):
        cell[number] = printable(name)
    return cell


def _cell(rows):
    cell = np.empty((len(rows), max((len(row) for row in rows), default=1)), object)
    for number, row in enumerate(rows):
        cell[number] = [printable(text) for text in row]
    return cell


def read_predictions(path, bins=1):
    """Read predictions, ours or the original's.

    Args:
        path: a `.mat`.
        bins: 1 for the scores of TID2013, 10 for the histograms of AVA; None for whichever the file holds.

    Returns:
        `Predictions`, labels and predictions (N,) or (N, 10), the histograms of the labels normalised.

    Raises:
        PredictionsError: if it is no such file, lacks a variable, or holds something of another shape.
    """
    content = _load(path)
    for name in ("labels", "predictions"):
        if name not in content:
            raise PredictionsError(f"{path}: it has no variable {name!r}")
        if not np.issubdtype(content[name].dtype, np.number):
            raise PredictionsError(f"{path}: its {name!r} are not numbers")
    labels, outputs = content["labels"], content["predictions"]
    count = len(outputs)
    bins = bins or (10 if outputs.shape[1:] == (1, 10) else 1)
    expected = [(1, count), (count, 1)] if bins == 1 else [(count, bins + 1)]
    if labels.shape not in expected or outputs.shape != (count, 1, bins):
        kind = "scores" if bins == 1 else "histograms"
        raise PredictionsError(f"{path}: labels {labels.shape} and predictions {outputs.shape} are no {kind}")
    labels = labels.astype(np.float64)
    names = [_text(name) for name in content.get("filenames", np.empty(0)).ravel()]
    ids = [Path(name).stem.lower() for name in names]
    if not names:
        ids = [f"{number:.0f}" for number in labels[:, 0]] if bins > 1 else _ids_in_order(count)
    if count and np.isnan(labels if bins == 1 else labels[:, 1:]).all():
        raise PredictionsError(f"{path}: predictions alone, of images without labels")
    try:
        labels = labels.ravel() if bins == 1 else normalise(labels[:, 1:])
    except ValueError as error:
        raise PredictionsError(f"{path}: {error}") from None
    skipped = content.get("skipped", np.empty((0, 2), object)).reshape(-1, 2)
    provenance = content.get("provenance", np.empty(0))
    return Predictions(
        labels,
        outputs.reshape(labels.shape),
        names,
        [(_text(name), _text(reason)) for name, reason in skipped],
        {name: _text(provenance[name].item()) for name in provenance.dtype.names or ()},
        ids,
    )


def _ids_in_order(count):
    """The ids of the first `count` images of TID2013: 24 distortions of 5 levels, scene by scene."""
    places = (np.unravel_index(number, (count // 120 + 1, 24, 5)) for number in range(count))
    return [f"i{scene + 1:02d}_{distortion + 1:02d}_{level + 1}" for scene, distortion, level in places]


def scenes_of(ids):
    """The references that the ids of TID2013's images name: i01_08_3 -> i01."""
    return [image_id.partition("_")[0] for image_id in ids]


def _load(path):
    try:
        return scipy.io.loadmat(path)
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except Exception as error:  # a broken file raises whatever its bytes happen to mean
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PredictionsError(f"{path}: not a file of MATLAB 5 ({reason})") from None


def _text(cell):
    """A MATLAB string, which comes as an array of none or one text."""
    return "".join(np.atleast_1d(cell).astype(str))

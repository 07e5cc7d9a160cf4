"""The `.mat` files of predictions: write, read, and go on with a run that was killed.

MATLAB version 5, compressed, with the variables that readers of the original's files know, `labels` and
`predictions`, and beside them `filenames`, `skipped` and `provenance`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import io

from iqa.files import written_whole


class PredictionsError(ValueError):
    """A file of predictions that cannot be used; the message names file and reason."""


@dataclass
class Predictions:
    """Labels and predictions of one set.

    Attributes:
        labels: float64, TID2013: (N,) mean opinion scores.
        predictions: float32, TID2013: (N,).
        filenames: N names; an undecodable byte stands as `\\xNN`. Empty in files of the original.
        skipped: (name, reason) of the images left out.
        provenance: model, weights, geometry, versions, time; empty in files of the original.
    """

    labels: np.ndarray
    predictions: np.ndarray
    filenames: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)


def printable(name):
    """A file name as text that any reader can show: undecodable bytes as `\\xNN`."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_regression(path, predictions):
    """Write TID2013 predictions: `labels` (1, N), `predictions` (N, 1, 1)."""
    scores = np.asarray(predictions.predictions, np.float32)
    with written_whole(path) as file:
        io.savemat(
            file,
            {
                "labels": np.asarray(predictions.labels, np.float64)[None, :],
                "predictions": scores[:, None, None],
                "filenames": _cell([[name] for name in predictions.filenames])[:, 0],
                "skipped": _cell(predictions.skipped),
                "provenance": predictions.provenance or {"model": ""},
            },
            do_compression=True,
        )


def _cell(rows):
    cell = np.empty((len(rows), max((len(row) for row in rows), default=1)), object)
    for number, row in enumerate(rows):
        cell[number] = [printable(text) for text in row]
    return cell


def read_regression(path):
    """Read TID2013 predictions, ours or the original's.

    Raises:
        PredictionsError: if it is no such file, lacks a variable, or labels and predictions differ in number.
    """
    content = _load(path)
    for name in ("labels", "predictions"):
        if name not in content:
            raise PredictionsError(f"{path}: it has no variable {name!r}")
        if not np.issubdtype(content[name].dtype, np.number):
            raise PredictionsError(f"{path}: its {name!r} are not numbers")
    labels, predictions = content["labels"], content["predictions"]
    if labels.size != predictions.size or 1 not in labels.shape:
        raise PredictionsError(f"{path}: labels {labels.shape} and predictions {predictions.shape} are not of TID2013")
    skipped = content.get("skipped", np.empty((0, 2), object)).reshape(-1, 2)
    provenance = content.get("provenance", np.empty(0))
    return Predictions(
        labels.astype(np.float64).ravel(),
        predictions.ravel(),
        [_text(name) for name in content.get("filenames", np.empty(0)).ravel()],
        [(_text(name), _text(reason)) for name, reason in skipped],
        {name: _text(provenance[name].item()) for name in provenance.dtype.names or ()},
    )


def _load(path):
    try:
        return io.loadmat(path)
    except FileNotFoundError:
        raise PredictionsError(f"{path}: there is no such file") from None
    except Exception as error:  # a broken file raises whatever its bytes happen to mean
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PredictionsError(f"{path}: not a file of MATLAB 5 ({reason})") from None


def _text(cell):
    """A MATLAB string, which comes as an array of none or one text."""
    return "".join(np.atleast_1d(cell).astype(str))


class Journal:
    """Results written one at a time beside the file that they will become; a killed run finds them again.

    A line an image, JSON: `name`, and `score` or `reason`. The first line says what the run is of (`head`): a journal
    of another run is started anew. A last line torn by the kill is dropped.
    """

    def __init__(self, path, head):
        self.path = Path(path)
        self.done = {}
        head = json.dumps({"run": head}, sort_keys=True)
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        if lines and lines[0] == head:
            for line in lines[1:]:
                entry = json.loads(line)
                self.done[entry.pop("name")] = entry
        else:
            lines = [head]
        with written_whole(self.path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115, open as long as the run

    def add(self, name, **entry):
        """Note a result under `name`, on disk before the next image is begun."""
        self.done[name] = entry
        self.file.write(json.dumps({"name": name, **entry}) + "\n")
        self.file.flush()

    def close(self, finished):
        """Close; a finished run needs its journal no more."""
        self.file.close()
        if finished:
            self.path.unlink()

"""The files that scores end up in: `.mat`, `.csv`, `.jsonl`, `.parquet`; and a score as a row for people and programs.

All but `.mat`, whose format needs whole arrays, are written picture by picture from the journal of the run.
"""

import csv
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from iqa.cards import Card, Scale
from iqa.errors import OutputError
from iqa.evaluation.predictions import Predictions, read_provenance, write_predictions
from iqa.files import csv_row, finite, name_to_text, temporary_beside, written_whole
from iqa.labels.opinions import Prediction
from iqa.labels.percentiles import percentile
from iqa.scoring.journal import Entry, Journal

#: What `--out` writes.
SUFFIXES = (".mat", ".csv", ".jsonl", ".parquet")

_ROWS = 10_000  # of a Parquet row group


def check_output(path: str | os.PathLike[str]) -> None:
    """Make sure that a file of this name can be written.

    Raises:
        OutputError: if the suffix is unknown, or Parquet's package is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path}: scores are written as {', '.join(SUFFIXES)}")
    if suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutputError(f"{path}: Parquet needs pyarrow: pip install 'image-quality-assessment[parquet]'")


def values_of(prediction: Prediction, scale: Scale) -> dict[str, Any]:
    """What a prediction says, {name: value}.

    A score is its `mean`. A histogram has also `std` and `histogram`, and a `percentile` where the scale has a population.
    """
    assert prediction.output is not None, prediction.reason
    if len(prediction.output) == 1:
        return {"mean": prediction.score}
    mean, std, histogram = prediction.distribution
    share = {"percentile": percentile(mean)} if scale.population else {}
    return {"mean": mean, "std": std, **share, "histogram": histogram.tolist()}


def row_of(entry: Entry, scale: Scale) -> dict[str, Any]:
    """An entry as {name: value}: `path`, what `values_of` says or `error`, its `warning` and `label` if any.

    The path is as `iqa.files.name_to_text` writes it.
    """
    row: dict[str, Any] = {"path": name_to_text(entry.path or entry.key)}
    if entry.prediction and entry.prediction.output is not None:
        row |= values_of(entry.prediction, scale)
        if entry.prediction.warning:
            row["warning"] = entry.prediction.warning
    else:
        row["error"] = entry.reason
    if entry.label is not None:
        row["label"] = entry.label.tolist() if len(entry.label) > 1 else float(entry.label[0])
    return row


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of JSON; a number that is not finite becomes null."""
    return json.dumps(finite(row), allow_nan=False)


def write_scores(path: str | os.PathLike[str], journal: Journal, card: Card, provenance: dict[str, str]) -> None:
    """Write the scores of a finished run. The file is whole or not there, and on the disk when this returns.

    Args:
        path: of a suffix in `SUFFIXES`.
        journal: of the run.
        card: of the model.
        provenance: {name: text}, for the formats that have a place for it (`.mat`, `.parquet`).
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".mat":
        write_predictions(path, _predictions(journal, card.bins, provenance))
    elif suffix == ".parquet":
        with temporary_beside(path, durable=True) as name:
            _write_parquet(name, journal, card, provenance)
    else:
        with written_whole(path, durable=True) as binary, io.TextIOWrapper(binary, "utf-8", newline="") as text:
            (_write_csv if suffix == ".csv" else _write_json_lines)(text, journal, card, name_model(provenance))


def name_model(provenance: dict[str, str]) -> str:
    """The model of a table in its rows: its name and the beginning of the hash of its weights."""
    return f"{provenance['model']} {provenance['weights_sha256'][:12]}"


def is_table_of(path: Path, card: Card, provenance: dict[str, str]) -> bool:
    """Whether `write_scores` wrote a file for the same model; may raise anything over any other file."""
    suffix, model = path.suffix.lower(), name_model(provenance)
    if suffix == ".mat":
        return name_model(read_provenance(path)) == model
    if suffix == ".parquet":
        from pyarrow import parquet

        return (
            name_model({key.decode(): value.decode() for key, value in parquet.read_schema(path).metadata.items()}) == model
        )
    with open(path, newline="", encoding="utf-8") as text:
        if suffix == ".csv":
            table = csv.DictReader(io.StringIO(text.read(_LONGEST_LINE), newline=""))
            row = next(table, {"model": csv_row({"model": model})["model"]})  # of nothing but a heading
            return table.fieldnames == _columns(card) and row["model"] == csv_row({"model": model})["model"]
        return bool(json.loads(text.readline(_LONGEST_LINE))["model"] == model)


#: No line that `write_scores` writes is longer.
_LONGEST_LINE = 1 << 20


def _predictions(journal: Journal, bins: int, provenance: dict[str, str]) -> Predictions:
    total, _ = journal.count()
    skipped = [(_name_of(entry), entry.reason or "") for entry in journal.entries(scored=False)]
    count = total - len(skipped)
    labels, outputs = np.full((count, bins), np.nan), np.empty((count, bins), np.float32)
    names = []
    for row, entry in enumerate(journal.entries(scored=True)):
        if entry.label is not None:
            labels[row] = entry.label
        outputs[row] = entry.output
        names.append(_name_of(entry))
    shape = (count,) if bins == 1 else (count, bins)
    return Predictions(labels.reshape(shape), outputs.reshape(shape), names, skipped, provenance)


def _name_of(entry: Entry) -> str:
    """The file name of a labelled picture, as the original's readers expect it; otherwise the path, as it was named."""
    if entry.path is None:
        return entry.key
    return entry.path.name if entry.label is not None else str(entry.path)


def _write_json_lines(text: IO[str], journal: Journal, card: Card, model: str) -> None:
    for entry in journal.entries():
        text.write(json_line(row_of(entry, card.scale) | {"model": model}) + "\n")


def _write_csv(text: IO[str], journal: Journal, card: Card, model: str) -> None:
    shares = _shares(card)
    table = csv.DictWriter(text, _columns(card))
    table.writeheader()
    for entry in journal.entries():
        row = row_of(entry, card.scale) | {"model": model}
        if "histogram" in row:
            row |= zip(shares, row.pop("histogram"), strict=True)
        if isinstance(row.get("label"), list):
            row["label"] = entry.label_mean
        table.writerow(csv_row(row))


def _columns(card: Card) -> list[str]:
    shares = _shares(card)
    of_histograms = ["std", *(["percentile"] if card.scale.population else []), *shares]
    return ["path", "mean", *(of_histograms if shares else []), "label", "warning", "error", "model"]


def _shares(card: Card) -> list[str]:
    return [f"share_{vote}" for vote in range(1, card.bins + 1)] if card.bins > 1 else []


def _write_parquet(name: Path, journal: Journal, card: Card, provenance: dict[str, str]) -> None:
    import pyarrow
    from pyarrow import parquet

    fields = [("path", pyarrow.string()), ("mean", pyarrow.float64())]
    label = pyarrow.float64()
    if card.bins > 1:
        fields += [("std", pyarrow.float64())]
        fields += [("percentile", pyarrow.float64())] if card.scale.population else []
        fields += [("histogram", pyarrow.list_(pyarrow.float32(), card.bins))]
        label = pyarrow.list_(pyarrow.float64(), card.bins)
    schema = pyarrow.schema(
        [*fields, ("label", label), ("warning", pyarrow.string()), ("error", pyarrow.string())], metadata=provenance
    )
    with parquet.ParquetWriter(name, schema) as writer:
        rows = []
        for entry in journal.entries():
            rows.append(row_of(entry, card.scale))
            if len(rows) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))

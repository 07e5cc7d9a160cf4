"""The files that scores end up in: `.mat`, `.csv`, `.jsonl`, `.parquet`; and a score as a row for people and programs.

All but `.mat`, whose format needs whole arrays, are written image by image from the journal of the run.
"""

import csv
import importlib.util
import io
import json
from pathlib import Path

import numpy as np

from iqa.errors import OutputError
from iqa.evaluation.predictions import Predictions, printable, write_predictions
from iqa.files import temporary_beside, written_whole
from iqa.labels.opinions import Prediction
from iqa.labels.percentiles import percentile

SUFFIXES = (".mat", ".csv", ".jsonl", ".parquet")

_ROWS = 10_000  # of a Parquet row group


def check_output(path):
    """Make sure that a file of this name can be written.

    Raises:
        OutputError: if the suffix is unknown, or Parquet's package is missing.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path}: scores are written as {', '.join(SUFFIXES)}")
    if suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutputError(f"{path}: Parquet needs pyarrow: pip install 'image-quality-assessment[parquet]'")


def values_of(output):
    """What an output says, {name: value}: `mean`, and of a histogram also `std`, `percentile` and `histogram`."""
    scored = Prediction(output)
    if len(output) == 1:
        return {"mean": scored.score}
    mean, std, histogram = scored.distribution
    return {"mean": mean, "std": std, "percentile": percentile(mean), "histogram": histogram.tolist()}


def row_of(image):
    """An `iqa.scoring.journal.Image` as {name: value}: `path`, what `values_of` says or `error`, and its label if it has one."""
    row = {"path": printable(image.path or image.key)}
    row |= values_of(image.output) if image.output is not None else {"error": image.reason}
    if image.label is not None:
        row["label"] = image.label.tolist() if len(image.label) > 1 else float(image.label[0])
    return row


def write_scores(path, journal, bins, provenance):
    """Write the scores of a finished run; the file is whole or not there.

    Args:
        path: of a suffix in `SUFFIXES`.
        journal: `iqa.scoring.journal.Journal`.
        bins: 1 for scores, 10 for histograms.
        provenance: a dict of text, for the formats that have a place for it (`.mat`, `.parquet`).
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".mat":
        write_predictions(path, _predictions(journal, bins, provenance))
    elif suffix == ".parquet":
        with temporary_beside(path) as name:
            _write_parquet(name, journal, bins, provenance)
    else:
        with written_whole(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
            (_write_csv if suffix == ".csv" else _write_json_lines)(text, journal, bins)


def _predictions(journal, bins, provenance):
    total, _ = journal.count()
    skipped = [(_shown(image), image.reason) for image in journal.images(scored=False)]
    count = total - len(skipped)
    labels, outputs, names = np.full((count, bins), np.nan), np.empty((count, bins), np.float32), []
    for row, image in enumerate(journal.images(scored=True)):
        if image.label is not None:
            labels[row] = image.label
        outputs[row] = image.output
        names.append(_shown(image))
    shape = (count,) if bins == 1 else (count, bins)
    return Predictions(labels.reshape(shape), outputs.reshape(shape), names, skipped, provenance)


def _shown(image):
    """Of a labelled image the file's name, as the original's readers expect it; else the path, as it was named."""
    if image.path is None:
        return image.key
    return image.path.name if image.label is not None else str(image.path)


def _write_json_lines(text, journal, bins):
    for image in journal.images():
        text.write(json.dumps(row_of(image)) + "\n")


def _write_csv(text, journal, bins):
    shares = [f"share_{vote}" for vote in range(1, bins + 1)] if bins > 1 else []
    names = ["path", "mean", *(["std", "percentile", *shares] if bins > 1 else []), "label", "error"]
    table = csv.DictWriter(text, names)
    table.writeheader()
    for image in journal.images():
        row = row_of(image)
        row |= zip(shares, row.pop("histogram", ()))
        if isinstance(row.get("label"), list):
            row["label"] = Prediction(np.array(row["label"])).score
        table.writerow(row)


def _write_parquet(name, journal, bins, provenance):
    import pyarrow
    from pyarrow import parquet

    shares = pyarrow.list_(pyarrow.float32(), bins)
    labels = pyarrow.float64() if bins == 1 else pyarrow.list_(pyarrow.float64(), bins)
    of_histograms = [("std", pyarrow.float64()), ("percentile", pyarrow.float64()), ("histogram", shares)]
    schema = pyarrow.schema(
        [
            ("path", pyarrow.string()),
            ("mean", pyarrow.float64()),
            *(of_histograms if bins > 1 else []),
            ("label", labels),
            ("error", pyarrow.string()),
        ],
        metadata=provenance,
    )
    with parquet.ParquetWriter(name, schema) as writer:
        rows = []
        for image in journal.images():
            rows.append(row_of(image))
            if len(rows) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pyarrow.Table.from_pylist(rows, schema))

"""What results end up in: `.csv`, `.jsonl`, `.parquet` and `.mat`; and a result as a row for people and programs."""

import csv
import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card
from iqa.errors import OutputError
from iqa.evaluation.predictions import Predictions, read_provenance, write_predictions
from iqa.files import csv_row, finite, name_to_text, temporary_beside, written_whole
from iqa.labels.histograms import Score, mean
from iqa.scoring.layer import LayerCard
from iqa.scoring.results import Grade, Result

#: What tables are written as; the results of one model also as `.mat`.
SUFFIXES = (".csv", ".jsonl", ".parquet")

#: The name of the score where there is one model alone: its columns then have no prefix.
ALONE = "mean"

_ROWS = 10_000  # of a Parquet row group
_LONGEST_LINE = 1 << 20  # no line that is written is longer


def check_output(path: Path, alone: bool) -> None:
    """Raise `OutputError` unless results, if `alone` those of one model, can be written to a file of this name."""
    suffix, known = path.suffix.lower(), (".mat", *SUFFIXES) if alone else SUFFIXES
    if suffix not in known:
        raise OutputError(f"{path}: results are written as {', '.join(known)}")
    if suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutputError(f"{path}: Parquet needs pyarrow: pip install pyarrow")


@dataclass(frozen=True)
class Table:
    """The columns of a table of results, and how a result becomes a row of it."""

    cards: Mapping[str, Card | LayerCard]  # {name of the score: of its model}; one model alone is called `ALONE`
    provenance: Mapping[str, str]
    bursts: bool = False  # whether they were looked for

    @property
    def model(self) -> str:
        """The model in each row of a table of one model: its name and the beginning of the hash of its weights."""
        return f"{self.provenance['model']} {self.provenance['weights_sha256'][:12]}"

    @property
    def alone(self) -> bool:
        """Whether the table is of one model."""
        return ALONE in self.cards

    def columns(self) -> dict[str, type]:
        """{column: type of what it holds}, in their order; a histogram is a list."""
        columns: dict[str, type] = {"path": str}
        for name, card in self.cards.items():
            columns[name] = float
            if card.bins > 1 or isinstance(card, LayerCard):
                prefix = "" if self.alone else f"{name}_"
                columns |= {f"{prefix}std": float}
                columns |= {f"{prefix}percentile": float} if card.scale.population else {}
                columns |= {"histogram": list} if self.alone and card.bins > 1 else {}
        if self.alone:
            return columns | {"label": float, "warning": str, "error": str, "model": str}
        columns |= {"width": int, "height": int, "error": str, "warning": str, "fault": str, "fault_share": float}
        return columns | ({"taken": str, "burst": int, "best_of_burst": bool} if self.bursts else {})

    def row(self, result: Result, label: NDArray[np.float64] | None = None, **more: Any) -> dict[str, Any]:
        """A result as {column: value}, without what is not known; `label` is what people said, float64 (1,) or (10,)."""
        row: dict[str, Any] = {"path": name_to_text(result.path)}
        for name, score in result.scores.items():
            found, prefix = {name: result.mean(name)}, "" if self.alone else f"{name}_"
            if isinstance(score, Score | Grade):
                found |= {f"{prefix}std": score.std, f"{prefix}percentile": score.percentile}
            for column, value in found.items():
                digits = 1 if column.endswith("percentile") else 4
                row[column] = value if self.alone or value is None else round(value, digits)
            if self.alone and isinstance(score, Score):
                row["histogram"] = score.histogram.tolist()
        if not self.alone:
            row |= {"width": result.width, "height": result.height} if result.width else {}
            row |= {"fault": result.fault.kind, "fault_share": round(result.fault.share, 2)} if result.fault else {}
            row |= {"taken": result.taken.isoformat()} if self.bursts and result.taken else {}
        row |= {"warning": result.warning, "error": result.error}
        row["label"] = None if label is None else label.tolist() if len(label) > 1 else float(label[0])
        return {name: value for name, value in (row | more).items() if value is not None}

    def describes(self, path: Path) -> bool:
        """Whether `write_table` wrote a file, and of one model for the same; may raise anything over any other file."""
        suffix = path.suffix.lower()
        if suffix == ".mat":
            return Table({}, read_provenance(path)).model == self.model
        if suffix == ".parquet":
            from pyarrow import parquet

            schema = parquet.read_schema(path)
            known = {key.decode(): value.decode() for key, value in schema.metadata.items()}
            return bool(schema.names[0] == "path") and Table({}, known).model == self.model
        with open(path, newline="", encoding="utf-8") as text:
            beginning = text.read(_LONGEST_LINE)
        if suffix == ".csv":
            rows = csv.DictReader(io.StringIO(beginning, newline=""))
            model = csv_row({"model": self.model})["model"]
            first = next(rows, {"model": model})  # a heading alone
            return list(rows.fieldnames or ()) == _flat(self.columns()) and (not self.alone or first["model"] == model)
        row = json.loads(beginning.splitlines()[0])
        if self.alone:
            return bool(row["model"] == self.model)
        return next(iter(row)) == "path" and "model" not in row and bool({*self.cards, "error"} & row.keys())


def _flat(columns: Iterable[str]) -> list[str]:  # as a CSV has them, a histogram in ten
    shares = [f"share_{vote}" for vote in range(1, 11)]
    return [name for column in columns for name in (shares if column == "histogram" else [column])]


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line of JSON; a number that is not finite becomes null."""
    return json.dumps(finite(dict(row)), allow_nan=False)


def write_table(path: Path, table: Table, list_rows: Callable[[], Iterable[dict[str, Any]]]) -> None:
    """Write rows of `Table.row` to a file of a suffix in `SUFFIXES`, which is on the disk when this returns."""
    suffix, columns = path.suffix.lower(), table.columns()
    model = {"model": table.model} if table.alone else {}
    if suffix == ".parquet":
        with temporary_beside(path, durable=True) as name:
            _write_parquet(name, {name: kind for name, kind in columns.items() if name != "model"}, table, list_rows())
        return
    with written_whole(path, durable=True) as binary, io.TextIOWrapper(binary, "utf-8", newline="") as text:
        if suffix == ".jsonl":
            text.writelines(json_line(row | model) + "\n" for row in list_rows())
            return
        writer = csv.DictWriter(text, _flat(columns))
        writer.writeheader()
        for row in list_rows():
            row |= {f"share_{vote}": share for vote, share in enumerate(row.pop("histogram", ()), start=1)} | model
            if isinstance(row.get("label"), list):
                row["label"] = float(mean(row["label"]))
            writer.writerow(csv_row(row))


def _write_parquet(name: Path, columns: Mapping[str, type], table: Table, rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    types[list] = pyarrow.list_(pyarrow.float32(), 10)
    fields = {column: types[kind] for column, kind in columns.items()}
    if "histogram" in columns:
        fields["label"] = pyarrow.list_(pyarrow.float64(), 10)
    schema = pyarrow.schema(fields.items(), metadata=dict(table.provenance))
    with parquet.ParquetWriter(name, schema) as writer:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema))


def write_mat(
    path: str | os.PathLike[str],
    pictures: Iterable[tuple[Result, NDArray[np.float64] | None]],
    bins: int,
    provenance: Mapping[str, str],
) -> None:
    """Write (result, label) of one model as `.mat`; labels are float64 (bins,) or None, `bins` 1 or 10."""
    labels, outputs, names, skipped = [], [], [], []
    for result, label in pictures:
        # Of a labelled picture the name of its file, as the original's readers expect it.
        name = str(result.path) if label is None else os.path.basename(result.path)
        if not result.scores:
            skipped.append((name, result.error or ""))
            continue
        score = result.scores[ALONE]
        outputs.append(score.histogram if isinstance(score, Score) else [result.mean(ALONE)])
        labels.append(np.full(bins, np.nan) if label is None else label)
        names.append(name)
    shape = (len(names),) if bins == 1 else (len(names), bins)
    known, found = np.reshape(np.array(labels, np.float64), shape), np.reshape(np.array(outputs, np.float32), shape)
    write_predictions(path, Predictions(known, found, names, skipped, dict(provenance)))

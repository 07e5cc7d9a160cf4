"""What both models say of a picture as a row, a table and a page; `iqa.scoring.pair` makes it."""

import csv
import importlib.util
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from iqa.cards import Scale
from iqa.errors import OutputError
from iqa.files import csv_row, name_to_text, temporary_beside, written_whole
from iqa.labels.percentiles import percentile
from iqa.scoring.journal import Entry
from iqa.scoring.pair import Opinion
from iqa.scoring.ranking import Place
from iqa.scoring.writers import json_line

#: Columns of a table and what they hold: text, a real number, an integer, or yes and no.
COLUMNS: dict[str, type] = {
    "path": str,
    "beauty": float,
    "beauty_std": float,
    "beauty_percentile": float,
    "technical": float,
    "width": int,
    "height": int,
    "error": str,
    "warning": str,
}

#: Columns of the main fault, empty where there is none; see `iqa.labels.faults`.
FAULT_COLUMNS: dict[str, type] = {"fault": str, "fault_share": float}

#: Columns that a search for bursts adds.
BURST_COLUMNS: dict[str, type] = {"taken": str, "burst": int, "best_of_burst": bool}

SUFFIXES = (".csv", ".jsonl", ".parquet")

_DIGITS = 4
_ROWS = 10_000  # of a Parquet row group


def check_table(path: Path) -> None:
    """Make sure that a table of this name can be written.

    Raises:
        OutputError: if the suffix is unknown, or Parquet's package is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{path}: a table is written as {', '.join(SUFFIXES)}")
    if suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutputError(f"{path}: Parquet needs pyarrow: pip install 'image-quality-assessment[parquet]'")


def is_table(path: Path) -> bool:
    """Whether `write_table` wrote a file, with whatever columns it has by now."""
    if path.suffix.lower() == ".parquet":
        from pyarrow import parquet

        names = list(parquet.read_schema(path).names)
    else:
        with open(path, encoding="utf-8", newline="") as file:
            line = file.readline(1_000_000)
        names = next(csv.reader([line])) if path.suffix.lower() == ".csv" else list(json.loads(line))
        if path.suffix.lower() == ".jsonl":
            return bool({"beauty", "technical", "error"} & set(names)) and names[0] == "path" and "model" not in names
    return names[: len(COLUMNS)] == list(COLUMNS)


def row_of_pair(entry: Entry, scale: Scale, place: Place | None = None) -> dict[str, Any]:
    """A picture as {column: value}, without what is not known.

    Args:
        entry: with the `Prediction` of a `Pair`, or the reason why there is none.
        scale: of beauty.
        place: in its burst, if bursts were looked for.
    """
    row: dict[str, Any] = {"path": name_to_text(entry.path or entry.key)}
    prediction = entry.prediction
    if prediction is None or prediction.output is None:
        return row | {"error": entry.reason}
    opinion = Opinion.of(prediction)
    if opinion.beauty is not None:
        row |= {"beauty": round(opinion.beauty.mean, _DIGITS), "beauty_std": round(opinion.beauty.std, _DIGITS)}
        if scale.population:
            row["beauty_percentile"] = round(percentile(opinion.beauty.mean), 1)
    if opinion.technical is not None:
        row["technical"] = round(opinion.technical, _DIGITS)
    if opinion.fault:
        row |= {"fault": opinion.fault.kind, "fault_share": round(opinion.fault.share, 2)}
    if opinion.width:
        row |= {"width": opinion.width, "height": opinion.height}
    if prediction.warning:
        whole = opinion.beauty is not None and opinion.technical is not None
        row["warning" if whole else "error"] = prediction.warning
    if place:
        row |= {"taken": opinion.taken.isoformat()} if opinion.taken else {}
        row |= {"burst": place.burst, "best_of_burst": place.best} if place.burst else {}
    return row


def write_table(
    path: Path, columns: dict[str, type], list_rows: Callable[[], Iterable[dict[str, Any]]], provenance: dict[str, str]
) -> None:
    """Write rows to a file, which is whole or not there, and on the disk when this returns.

    Args:
        path: of a suffix in `SUFFIXES`.
        columns: {name: type}, in their order.
        list_rows: function that lists the rows.
        provenance: {name: text}; `.parquet` has a place for it.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with temporary_beside(path, durable=True) as name:
            _write_parquet(name, columns, list_rows(), provenance)
        return
    with written_whole(path, durable=True) as binary, io.TextIOWrapper(binary, "utf-8", newline="") as text:
        if suffix == ".jsonl":
            text.writelines(json_line(row) + "\n" for row in list_rows())
        else:
            table = csv.DictWriter(text, list(columns))
            table.writeheader()
            table.writerows(map(csv_row, list_rows()))


def _write_parquet(
    name: Path, columns: dict[str, type], rows: Iterable[dict[str, Any]], provenance: dict[str, str]
) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(column, types[kind]) for column, kind in columns.items()], metadata=provenance)
    with parquet.ParquetWriter(name, schema) as writer:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
                waiting = []
        writer.write_table(pyarrow.Table.from_pylist(waiting, schema))

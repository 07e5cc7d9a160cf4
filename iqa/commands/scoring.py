"""What `iqa` and the infer scripts share: their options, and the way from what was named to rows, a table and a page."""

import argparse
import os
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.commands.terminal import Parser, add_overwrite, load_quietly, natural, seconds
from iqa.environment import processors
from iqa.files import check_target, printable, remove_leftovers
from iqa.images.finding import LeftOut, in_words, named_images
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.journal import Journal
from iqa.scoring.many import score_all
from iqa.scoring.page import MOST, SIDE, check_page, is_page
from iqa.scoring.ranking import STRUCTURE
from iqa.scoring.results import Result
from iqa.scoring.runs import Outcome, RunOptions, complain, provenance, score_collection
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import Scorer
from iqa.scoring.tables import Table, check_output, json_line
from iqa.scoring.workers import TIMEOUT


def add_scoring_options(parser: argparse.ArgumentParser, suffixes: str) -> None:
    """Add the options that `iqa` and the infer scripts share; `suffixes` of --out."""
    add = parser.add_argument
    named = "images, folders or patterns to score (default: matplotlib's sample photograph)"
    add("images", nargs="*", metavar="IMAGE_OR_FOLDER", help=named)
    add("--list", action="append", default=[], metavar="FILE", help="score the paths in FILE, one per line; - reads stdin")
    zero = "paths in --list are separated by zero bytes, as written by find -print0"
    add("-0", "--null", action="store_true", help=zero)
    add("--json", action="store_true", help="print one JSON object per image")
    add("--out", type=Path, metavar="FILE", help=f"write the scores to FILE ({suffixes}) instead of printing them")
    add("--report", type=Path, metavar="PAGE", help="write an HTML page with the pictures and their scores")
    add("--keep", action="store_true", help="keep the journal: the next run scores only new and changed images")
    add_overwrite(parser)
    add("--runtime", choices=RUNTIMES, default="auto", help="inference backend (default: the fastest one installed)")
    add("--workers", type=natural, default=processors(), help="number of worker processes (default: one per processor)")
    add("--timeout", type=seconds, metavar="SECONDS", help=f"seconds allowed per image (default: {TIMEOUT:g})")
    add("--engine", choices=("local", "ray"), default="local", help="where to score: this machine or a Ray cluster")
    where = "cluster address, or auto for the one running here (default: RAY_ADDRESS, or this machine alone)"
    add("--ray-address", metavar="ADDRESS", help=where)


def check_scoring_options(parser: Parser, arguments: argparse.Namespace, alone: bool, is_set: bool) -> None:
    """Refuse options that do not go together, and files that cannot be written, before anything is loaded.

    `alone`: one model scores; `is_set`: something is asked for that is known only when all pictures are scored.
    """
    if arguments.null and not arguments.list:
        parser.error("-0 says how a list is separated, and there is no --list")
    if arguments.json and arguments.out and not getattr(arguments, "top", None):
        parser.error("--json prints rows and --out writes a file instead: choose one")
    if arguments.timeout and not arguments.workers:
        parser.error("--timeout is for workers, and --workers is 0")
    if arguments.keep and not journal_beside(arguments):
        parser.error("--keep keeps the journal of a run that writes a file: give --out")
    if arguments.ray_address and arguments.engine != "ray":
        parser.error("--ray-address is for --engine ray")
    if arguments.engine == "ray" and not is_set:
        parser.error("--engine ray writes a file: give --out")
    if arguments.out:
        check_output(arguments.out, alone)
    if arguments.report:
        check_page(arguments.report)
    check_targets(arguments)


def check_targets(arguments: argparse.Namespace, table: Table | None = None) -> None:
    """Refuse to write where nothing can be written, over inputs, and over what is no older table of this kind, if known."""
    named = (getattr(arguments, name, None) for name in ("labels", "weights"))
    inputs = [*arguments.images, *arguments.list, *filter(None, named)]
    if arguments.out:
        check_target(arguments.out, arguments.overwrite, table.describes if table else lambda _: True, inputs)
    if arguments.report:
        check_target(arguments.report, arguments.overwrite, is_page, inputs)


def journal_beside(arguments: argparse.Namespace) -> Path | None:
    """The file or folder beside which the journal lies; None if nothing is written that could be resumed."""
    return next(filter(None, (getattr(arguments, name, None) for name in ("out", "report", "sort_into"))), None)


def score(
    arguments: argparse.Namespace,
    load: Callable[[], Mapping[str, Scorer]],
    is_set: bool,
    write: Callable[[Journal, Table, Thumbnails | None], int],
    labelled: Sequence[Any] | None = None,
    hint: str = "",
) -> int:
    """Do what the options of `add_scoring_options` ask for; returns the exit code.

    Args:
        load: function that loads the models, {name: model}; `hint` says where to get missing weights.
        is_set: see `check_scoring_options`; if not, a row is printed for each picture as soon as it is scored.
        write: function that writes and prints what is made of a set; returns how many things could not be done.
        labelled: the pictures of a labelled set (`name, path, label`), instead of what was named.
    """
    models = load_quietly(load, hint)
    cards = {name: model.card for name, model in models.items()}
    table = Table(cards, provenance(models), bool(getattr(arguments, "bursts", False)))
    check_targets(arguments, table)
    left_out = LeftOut()
    if is_set:
        outcome, failed = _score_set(models, table, arguments, write, labelled, left_out)
        code = 2 if not outcome.written else 1 if outcome.skipped or failed else 0
    else:
        code = _score_as_listed(models, table, arguments, left_out)
    if left_out:
        print(in_words(left_out), file=sys.stderr)
    if is_set and not outcome.written:
        complain("nothing was written: nothing that was named exists")
    elif arguments.out:
        print(f"{printable(arguments.out)}: {outcome.scored} images scored, {outcome.skipped} skipped")
    return code


def _score_as_listed(models: Mapping[str, Scorer], table: Table, arguments: argparse.Namespace, left_out: LeftOut) -> int:
    """Print a row for each picture, in their order, and at the end what held no picture; returns the exit code."""
    refused: list[Result] = []
    printer, failed, exists = Printer(table, arguments.json), 0, False
    means, faults = array("d"), Counter[str]()

    def readable() -> Iterable[Any]:
        for path, reason in named_images(arguments.images, arguments.list, arguments.null, left_out):
            if reason is None:
                yield path
            else:
                refused.append(Result(path, error=reason))

    batch_size = getattr(arguments, "batch_size", 1)
    scored = score_all(models, readable(), arguments.workers, arguments.timeout, batch_size)
    try:
        for result in chain(scored, refused):
            failed += bool(result.error)
            exists = exists or bool(result.scores) or os.path.exists(result.path)
            printer.show(result)
            means.extend(filter(None, [result.mean(next(iter(models)))]))
            faults.update([result.fault.kind] if result.fault else [])
    except KeyboardInterrupt:
        complain("stopped; what was scored is printed above, and a run with --out FILE can be resumed")
        raise
    if not exists and not failed:
        complain("no image was named")
    sum_up(table, means, faults)
    return 2 if not exists else 1 if failed else 0


def _score_set(
    models: Mapping[str, Scorer],
    table: Table,
    arguments: argparse.Namespace,
    write: Callable[[Journal, Table, Thumbnails | None], int],
    labelled: Sequence[Any] | None,
    left_out: LeftOut,
) -> tuple[Outcome, int]:
    """Score all that was named or labelled, then `write`; returns what became of both."""
    ray = arguments.engine == "ray"
    if ray:
        from iqa.scoring.ray_engine import connect

        load_quietly(lambda: connect(arguments.ray_address))
    stored = ray and not any(getattr(arguments, name, None) for name in ("report", "sort_into", "xmp"))

    def list_pictures() -> Iterable[Result]:
        left_out.clear()
        found: Iterable[tuple[Any, str | None]]
        if labelled is None:
            found = named_images(arguments.images, arguments.list, arguments.null, left_out, stored)
        else:
            missing = f"not in {arguments.folder}"
            found = [(image.path or arguments.folder / image.name, None if image.path else missing) for image in labelled]
        return (Result(path, error=reason) for path, reason in found)

    failed = 0

    def write_all(journal: Journal) -> None:
        nonlocal failed
        check_targets(arguments, table)  # again: somebody may have written there meanwhile
        for file in filter(None, (arguments.out, arguments.report)):
            remove_leftovers(file.parent, file.name)
        facts = {**table.provenance, "runtime": ", then ".join(journal.runtimes)}
        failed = write(journal, replace(table, provenance=facts), thumbnails)

    beside = journal_beside(arguments)
    with tempfile.TemporaryDirectory() as folder:
        # Of more pictures than a page holds, most will not be on it: a worker keeps its share of twice as many.
        most = min(MOST, 2 * MOST // max(1, arguments.workers))
        thumbnails = Thumbnails(folder, SIDE, most) if arguments.report else None
        options = RunOptions(
            arguments.workers,
            arguments.timeout,
            getattr(arguments, "batch_size", 1),
            thumbnails,
            STRUCTURE if table.bursts else None,
            ray,
            arguments.keep,
            again="-" not in arguments.list,  # stdin cannot be read twice
            resumable=beside is not None,
        )
        place = beside.with_name(f"{beside.name}.journal") if beside else Path(folder, "journal")
        return score_collection(models, list_pictures, place, write_all, options), failed


def sum_up(table: Table, means: Sequence[float] | NDArray[np.float64], faults: Counter[str]) -> None:
    """Say on stderr, of several pictures, how many there are, from what to what the first score goes, and which faults."""
    known, name = np.asarray(means)[np.isfinite(means)], next(iter(table.cards))
    if len(known) > 1:
        found = ", ".join(f"{number} {kind}" for kind, number in faults.most_common())
        spread = f"{name} {known.min():.2f} to {known.max():.2f}, median {np.median(known):.2f}"
        complain(f"{len(known)} pictures: {spread}{'; main faults: ' * bool(found)}{found}")


class Printer:
    """Prints results on stdout, as lines for people or as rows of JSON, and on stderr why a picture has no score."""

    def __init__(self, table: Table, as_json: bool) -> None:
        self._table, self._as_json, self._began = table, as_json, False

    def show(self, result: Result, tell: bool = True, alike: int = 0, **more: Any) -> None:
        """Print a result; if `tell`, its error on stderr as well; `alike` it are others. For `more` see `Table.row`."""
        if tell and result.error:
            complain(f"{printable(result.path)}: {result.error}")
        if self._as_json:
            print(json_line(self._table.row(result, **more)), flush=True)
        elif result.scores:
            line = self._line_alone(result) if self._table.alone else self._line(result)
            print(line + (f"  (and {alike} like it)" if alike else ""), flush=True)

    def _line_alone(self, result: Result) -> str:
        row, (card,) = self._table.row(result), self._table.cards.values()
        words = [f"{row[name]:.4f}" for name in ("mean", "std") if name in row]
        if "percentile" in row:
            words.append(f"{row['percentile']:.0f} % of {card.scale.population} score lower")
        if result.warning:
            words.append(f"warning: {printable(result.warning)}")
        return "\t".join([printable(result.path), *words])

    def _line(self, result: Result) -> str:
        """The scores of several models in columns, below a heading that is printed once."""
        row, cells, headings = self._table.row(result), [], []
        for name, card in self._table.cards.items():
            headings.append(f"{name}/{card.scale.highest:g}".rjust(len(name) + 4))
            cells.append((f"{row[name]:.2f}" if name in row else "-").rjust(len(headings[-1])))
            if card.scale.population:
                headings.append(f"{card.scale.population} percentile".rjust(14))
                cells.append((f"{row[f'{name}_percentile']:.0f}" if f"{name}_percentile" in row else "").rjust(14))
        fault = f"{result.fault.kind} {100 * result.fault.share:.0f} %" if result.fault else ""
        line = f"{'  '.join(cells)}  {fault:>19}  {printable(result.path)}"
        heading = "" if self._began else f"{'  '.join(headings)}  {'main fault':>19}  picture\n"
        self._began = True
        return f"{heading}{line}" + (f"  (warning: {printable(result.warning)})" if result.warning else "")

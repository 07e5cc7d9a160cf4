"""Two scores for each picture: how beautiful it is, and how good technically.

    iqa photo.jpg holiday/
    iqa holiday/ --out scores.csv --report page.html
    iqa holiday/ --top 20
    iqa holiday/ --sort-into sorted --xmp
    find / -name '*.jpg' -print0 | iqa -0 --list - --out scores.parquet

Beauty is the mean of the votes, 1-10, that AVA's vanilla model predicts, with the share of AVA's photographs that score
lower. Technical quality is a score on TID2013's scale, 0-9: how visible noise, blur, compression and other faults are, most
of all where the picture has detail.

To resume a run that was stopped, repeat the command; that needs --out, --report or --sort-into, beside which a journal
lies until all is done. --top, --sort-into and --xmp rank the pictures of this run among one another (--by): the highest
10 % are `best` and get five stars, the next 20 % are `good` and get four, the lowest 10 % are `worst` and get one star.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from iqa.cards import Scale
from iqa.commands.engine import add_engine, check_engine, engine_of, takes_urls
from iqa.commands.terminal import Parser, add_overwrite, load_quietly, natural, parser_of, positive, seconds
from iqa.environment import processors
from iqa.files import check_target, printable, remove_leftovers
from iqa.images.finding import FoundAnywhere, LeftOut, in_words, named_images
from iqa.images.thumbnails import Thumbnails
from iqa.labels.opinions import Prediction
from iqa.scoring.collection import RunOptions, complain, identify, named_entries, provenance, score_with_journal
from iqa.scoring.journal import Entry, Journal
from iqa.scoring.many import load_pair
from iqa.scoring.pair import Pair
from iqa.scoring.pair_results import Results, rows_of
from iqa.scoring.pair_tables import check_table, is_table, row_of_pair
from iqa.scoring.pool import TIMEOUT
from iqa.scoring.ranking import ORDERS
from iqa.scoring.report import MOST, SIDE, check_report, is_page
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.shelves import check_folder
from iqa.scoring.sidecars import NAMES
from iqa.scoring.writers import json_line


def main() -> int:
    """The command; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    _check(parser, arguments)
    pair = load_quietly(lambda: load_pair(arguments.runtime, arguments.bursts))
    left_out = LeftOut()
    if _is_set(arguments):
        code = score_set(pair, arguments, left_out)
    else:
        found = named_images(arguments.images, arguments.list, arguments.null, left_out)
        code = print_as_scored(pair, found, arguments.workers, arguments.json, arguments.timeout)
    if left_out:
        print(in_words(left_out), file=sys.stderr)
    return code


def _is_set(arguments: argparse.Namespace) -> bool:
    """Whether something is asked that is known only when all pictures are scored."""
    wanted = ("out", "report", "top", "sort_into", "xmp", "bursts")
    return any(getattr(arguments, name) for name in wanted)


def _parser() -> Parser:
    parser = parser_of(__doc__)
    parser.prog = "iqa"
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="or a pattern; default: matplotlib's sample photograph")
    add("--list", action="append", default=[], metavar="FILE", help="file of paths, one per line; - for stdin")
    add("-0", "--null", action="store_true", help="the paths in a list are separated by zero bytes (find -print0)")
    add("--out", type=Path, metavar="FILE", help="write a table instead of printing it: .csv, .jsonl or .parquet")
    add("--report", type=Path, metavar="PAGE", help="write an HTML page with the pictures and their scores")
    add("--top", type=positive, metavar="N", help="print only the N best, the best first")
    add("--by", choices=ORDERS, default="both", help="what the best are best at (default: both, the mean of two places)")
    add("--json", action="store_true", help="print one JSON object a line, with the columns of the table")
    add("--sort-into", type=Path, metavar="FOLDER", help="make FOLDER with links in best/ good/ rest/ worst/")
    add("--copy", action="store_true", help="for --sort-into: copies instead of links")
    add("--xmp", action="store_true", help="write one to five stars to an XMP sidecar beside each picture")
    add(
        "--xmp-names",
        choices=NAMES,
        default="darktable",
        help="a.jpg.xmp as darktable and digiKam expect it, or a.xmp as Lightroom does (default: darktable)",
    )
    add("--replace-stars", action="store_true", help="for --xmp: also where a picture has stars or is rejected already")
    add("--bursts", action="store_true", help="find pictures that were taken within seconds and look alike")
    add_overwrite(parser)
    add("--runtime", choices=RUNTIMES, default="auto", help="what computes (default: the fastest one)")
    add("--workers", type=natural, default=processors(), help="processes (default: one per processor)")
    add("--timeout", type=seconds, metavar="SECONDS", help=f"that a picture may take in a worker (default: {TIMEOUT:g})")
    add_engine(parser)
    add("--keep", action="store_true", help="keep the journal, so that a later run takes over its scores")
    return parser


def _check(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, and files that cannot be written, before anything is scored."""
    if arguments.null and not arguments.list:
        parser.error("-0 says how a list is separated, and there is no --list")
    if arguments.json and arguments.out and not arguments.top:
        parser.error("--json prints rows and --out writes a file instead: choose one")
    if arguments.timeout and not arguments.workers:
        parser.error("--timeout is for workers, and --workers is 0")
    if arguments.keep and not (arguments.out or arguments.report or arguments.sort_into):
        parser.error("--keep is for the journal of a run with --out, --report or --sort-into")
    if arguments.copy and not arguments.sort_into:
        parser.error("--copy says how --sort-into works: give both")
    if arguments.replace_stars and not arguments.xmp:
        parser.error("--replace-stars says how --xmp works: give both")
    check_engine(parser, arguments, resumable=_is_set(arguments))
    inputs = [*arguments.images, *arguments.list]
    if arguments.out:
        check_table(arguments.out)
        check_target(arguments.out, arguments.overwrite, is_table, inputs)
    if arguments.report:
        check_report(arguments.report)
        check_target(arguments.report, arguments.overwrite, is_page, inputs)
    if arguments.sort_into:
        check_folder(arguments.sort_into, arguments.images)


def print_as_scored(
    pair: Pair,
    found: Iterable[FoundAnywhere],
    workers: int = 0,
    as_json: bool = False,
    timeout: float | None = None,
) -> int:
    """Score pictures and print a row for each, in their order, as soon as it is known; returns the exit code.

    Args:
        pair: the models.
        found: (path, None), or (path, reason) for what holds no picture; see `named_images`.
        workers, timeout: see `Pair.score_all`.
        as_json: print rows of JSON.
    """
    refused: list[Entry] = []
    counts = {"scored": 0, "failed": 0}
    exists = False

    def readable() -> Iterator[Path]:
        for path, reason in found:
            if reason is None and isinstance(path, Path):
                yield path
            else:
                refused.append(Entry(str(path), path, prediction=Prediction(reason=reason)))

    show = partial(row_of_pair, scale=pair.beauty.card.scale)
    printer = Printer(pair.beauty.card.scale, as_json)
    try:
        for path, prediction in pair.score_all(readable(), workers=workers, timeout=timeout):
            row = show(Entry(str(path), path, prediction=prediction))
            counts["failed" if "error" in row else "scored"] += 1
            exists = exists or prediction.output is not None or os.path.exists(path)
            printer.show(row)
        for entry in refused:
            exists = exists or bool(entry.path and os.path.exists(entry.path))
            printer.show(show(entry))
    except KeyboardInterrupt:
        complain("stopped; what was scored is printed above, and with --out FILE a run can go on where it stopped")
        raise
    if not exists:
        if not refused and not counts["failed"]:
            complain("no image was named")
        return 2
    return 1 if counts["failed"] or refused else 0


def score_set(pair: Pair, arguments: argparse.Namespace, left_out: LeftOut) -> int:
    """Score all that was named, then write and print what the arguments ask for; returns the exit code."""
    origin = both(provenance(pair.beauty), provenance(pair.technical))
    head = {"beauty": identify(pair.beauty), "technical": identify(pair.technical), "features": pair.recipe["features"]}
    head["faults"] = pair.technical.card.faults

    def write(journal: Journal) -> None:
        scales = pair.beauty.card.scale, pair.technical.card.scale
        results = Results(journal.entries, scales[0], origin, arguments.by, arguments.bursts, scales[1])
        _write_all(results, arguments, thumbnails)

    for file in filter(None, (arguments.out, arguments.report)):
        remove_leftovers(file.parent, file.name)
    kept = next(filter(None, (arguments.out, arguments.report, arguments.sort_into)), None)
    with tempfile.TemporaryDirectory() as folder:
        # Of more pictures than a page holds, most will not be on it: a worker keeps its share of twice as many.
        thumbnails = (
            Thumbnails(folder, SIDE, min(MOST, 2 * MOST // max(1, arguments.workers))) if arguments.report else None
        )
        outcome = score_with_journal(
            partial(pair.score_all, thumbnails=thumbnails),
            lambda: named_entries(arguments.images, arguments.list, arguments.null, left_out, takes_urls(arguments)),
            head,
            kept.with_name(f"{kept.name}.journal") if kept else Path(folder) / "journal",
            write,
            _options(arguments, pair),
            again="-" not in arguments.list,  # stdin cannot be read twice
            resumable=kept is not None,
            runtime=origin["runtime"],
        )
    if not outcome.written:
        complain("nothing that was named exists")
        return 2
    if arguments.out:
        print(f"{printable(arguments.out)}: {outcome.scored} images scored, {outcome.skipped} skipped")
    return 1 if outcome.skipped else 0


def _options(arguments: argparse.Namespace, pair: Pair) -> RunOptions:
    return RunOptions(
        workers=arguments.workers,
        timeout=arguments.timeout,
        keep=arguments.keep,
        engine=engine_of(arguments, pair.recipe),
    )


def _write_all(results: Results, arguments: argparse.Namespace, thumbnails: Thumbnails | None) -> None:
    """What comes after the last score, in an order in which the files are safe before the terminal is written to."""
    said: list[Callable[[], Iterable[str]]] = []
    if arguments.out:
        results.write_table(arguments.out)
    if arguments.report:
        results.write_page(arguments.report, arguments.workers, thumbnails)
        said.append(lambda: [f"{printable(arguments.report)}: open this page in a browser"])
    if arguments.xmp:
        said.append(lambda: results.write_stars(arguments.xmp_names, arguments.replace_stars))
    if arguments.sort_into:
        said.append(lambda: results.sort_into(arguments.sort_into, arguments.copy))
    for lines in said:
        for line in lines():
            complain(printable(line))
    printer = Printer(results.scale, arguments.json)
    if arguments.top:
        for row in results.top(arguments.top):
            printer.show(row)
    elif not arguments.out:
        for row in rows_of(results):
            printer.show(row, tell=False)
    if not arguments.json:
        for line in results.describe_bursts():
            print(line)


def both(first: dict[str, str], second: dict[str, str]) -> dict[str, str]:
    """What is known of two models, in one text where they differ."""
    return {name: text if text == second[name] else f"{text}; {second[name]}" for name, text in first.items()}


class Printer:
    """Prints pictures on stdout, as a table or as rows of JSON, and on stderr why one has no score.

    Args:
        scale: of beauty.
        as_json: rows of JSON instead of a table.
    """

    _WIDTHS = (9, 14, 14, 21)

    def __init__(self, scale: Scale, as_json: bool) -> None:
        self._scale, self._as_json, self._began = scale, as_json, False

    def show(self, row: dict[str, Any], tell: bool = True) -> None:
        """Print a row of `row_of_pair`; if `tell`, its error on stderr as well."""
        if tell and "error" in row:
            complain(printable(f"{row['path']}: {row['error']}"))
        if self._as_json:
            print(json_line(row), flush=True)
        elif "beauty" in row or "technical" in row:
            if not self._began:
                self._began = True
                above = f"above in {self._scale.population}" if self._scale.population else ""
                self._print_line("beauty/10", above, "technical/9", "main fault", "picture")
            beauty, technical = (f"{row[name]:.2f}" if name in row else "-" for name in ("beauty", "technical"))
            share = f"{row['beauty_percentile']:.0f} %" if "beauty_percentile" in row else ""
            warning = f"  (warning: {row['warning']})" if "warning" in row else ""
            fault = f"{row['fault']} {100 * row['fault_share']:.0f} %" if "fault" in row else ""
            self._print_line(beauty, share, technical, fault, printable(f"{row['path']}{warning}"))

    def _print_line(self, *cells: str) -> None:
        *numbers, picture = cells
        columns = (f"{cell:>{width}}" for cell, width in zip(numbers, self._WIDTHS, strict=True))
        print(f"{''.join(columns)}  {picture}", flush=True)

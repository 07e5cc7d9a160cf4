"""What the infer scripts do: score what was named, and print a row for each picture or write a file."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iqa.commands.engine import add_engine, check_engine, engine_of, takes_urls
from iqa.commands.terminal import Parser, add_overwrite, load_quietly, natural, parser_of, positive, seconds
from iqa.environment import processors
from iqa.files import check_target, name_to_text, printable
from iqa.images.finding import FoundAnywhere, LeftOut, in_words, named_images
from iqa.images.geometry import CROP, CROPS
from iqa.images.pooling import POOLINGS
from iqa.labels.opinions import Prediction
from iqa.scoring.collection import (
    Labelled,
    Outcome,
    RunOptions,
    named_entries,
    provenance,
    score_labelled,
    score_to_file,
)
from iqa.scoring.journal import Entry
from iqa.scoring.pool import TIMEOUT
from iqa.scoring.report import check_report, is_page, write_report
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import Scorer
from iqa.scoring.writers import check_output, is_table_of, json_line, row_of, values_of


def add_looks(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what a model of patches sees of a picture; see `looks_of`."""
    parser.add_argument("--crop", choices=CROPS, help=f"where the model looks (default: {CROP}; centre: the original's)")
    parser.add_argument("--pooling", choices=POOLINGS, help="how its patches make a score (default: what its card says)")
    parser.add_argument(
        "--view", type=positive, metavar="PIXELS", help="as it looks when its longer side has so many (default: all)"
    )


def looks_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What `load_scorer` needs to know of the options of `add_looks`."""
    return {name: getattr(arguments, name) for name in ("crop", "pooling", "view")}


def infer_parser(description: str | None, weights: str | os.PathLike[str], patches: bool = False) -> Parser:
    """The parser that all infer scripts share.

    Args:
        description: the script's docstring.
        weights: the default of --weights.
        patches: whether the model sees patches, see `add_looks`.
    """
    parser = parser_of(description)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE_OR_FOLDER", help="or a pattern; default: matplotlib's sample photograph"
    )
    parser.add_argument("--list", action="append", default=[], help="file of paths, one per line; - for stdin")
    parser.add_argument(
        "-0", "--null", action="store_true", help="the paths in a list are separated by zero bytes (find -print0)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line: path, mean ..., or error")
    parser.add_argument("--out", type=Path, help="write to this file instead: .mat, .csv, .jsonl or .parquet")
    parser.add_argument("--keep", action="store_true", help="keep the journal, so that a later run takes over its scores")
    parser.add_argument("--report", type=Path, help="also write an HTML page with the pictures and their scores")
    add_overwrite(parser)
    parser.add_argument(
        "--weights", type=Path, default=Path(weights), help="a .weights.h5 with its card, or an .hdf5 of Keras 2"
    )
    if patches:
        add_looks(parser)
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto", help="what computes (default: the fastest one)")
    parser.add_argument("--workers", type=natural, default=processors(), help="processes (default: one per processor)")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help=f"that a picture may take in a worker (default: {TIMEOUT:g}); if given, a picture alone has a worker too",
    )
    add_engine(parser)
    parser.add_argument("--batch-size", type=positive, default=1, help="pictures per step of Keras (default: 1)")
    parser.add_argument("--labels", type=Path, help="label file of a labelled set")
    parser.add_argument("--images", dest="folder", type=Path, help="folder of the labelled set")
    return parser


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """The `RunOptions` that the arguments of `infer_parser` ask for."""
    return RunOptions(arguments.batch_size, arguments.workers, arguments.timeout, arguments.report, arguments.keep)


def infer_images(
    parser: Parser,
    arguments: argparse.Namespace,
    load: Callable[[], Scorer],
    read_labelled: Callable[[], Sequence[Labelled]],
    hint: str = "",
) -> int:
    """Do what the arguments of `infer_parser` ask for; returns the exit code.

    Args:
        parser, arguments: of `infer_parser`.
        load: function that loads the model.
        read_labelled: function that reads the labelled set, in the order of the labels, with the paths of the pictures
            that were found.
        hint: where to get missing weights.
    """
    _check(parser, arguments)
    check_targets(arguments)
    labelled = None
    if arguments.labels:
        labelled = read_labelled()
        if not any(image.path for image in labelled):
            parser.error(f"{arguments.folder} holds none of the {len(labelled)} images of {arguments.labels}")
    scorer = load_quietly(load, hint)
    check_targets(arguments, scorer)
    options = replace(run_options(arguments), engine=engine_of(arguments, scorer.recipe))
    if labelled is not None:
        missing = f"not in {arguments.folder}"
        return _report_outcome(arguments, score_labelled(scorer, labelled, missing, arguments.out, options))
    left_out = LeftOut()
    if not arguments.out:
        found = named_images(arguments.images, arguments.list, arguments.null, left_out)
        code = print_scores(scorer, found, options, arguments.json)
        _tell_left_out(left_out)
        return code
    outcome = score_to_file(
        scorer,
        lambda: named_entries(arguments.images, arguments.list, arguments.null, left_out, takes_urls(arguments)),
        arguments.out,
        options,
        again="-" not in arguments.list,  # stdin cannot be read twice
    )
    _tell_left_out(left_out)
    return _report_outcome(arguments, outcome)


def _tell_left_out(left_out: LeftOut) -> None:
    if left_out:
        print(in_words(left_out), file=sys.stderr)


def _check(parser: Parser, arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, and files that cannot be written, before anything is scored."""
    labelled = (arguments.labels, arguments.folder)
    if any(labelled) and (not all(labelled) or not arguments.out or arguments.images or arguments.list):
        parser.error("a labelled run takes --labels, --images and --out, and no other images")
    if arguments.null and not arguments.list:
        parser.error("-0 says how a list is separated, and there is no --list")
    if arguments.keep and not arguments.out:
        parser.error("--keep is for the journal of a run with --out")
    if arguments.timeout and not arguments.workers:
        parser.error("--timeout is for workers, and --workers is 0")
    if arguments.json and arguments.out:
        parser.error("--json prints rows and --out writes a file instead: choose one")
    check_engine(parser, arguments, resumable=bool(arguments.out))
    if arguments.out:
        check_output(arguments.out)
    if arguments.report:
        check_report(arguments.report)


def check_targets(arguments: argparse.Namespace, scorer: Scorer | None = None) -> None:
    """Refuse to write where nothing can be written, and over inputs and files of others; see `iqa.files.check_target`.

    Args:
        arguments: of `infer_parser`.
        scorer: whose older results may be replaced; None before it is loaded, when it is not yet asked whose they are.
    """
    inputs = [*arguments.images, *arguments.list, *filter(None, (arguments.labels, arguments.weights))]
    if arguments.out:

        def is_ours(path: Path) -> bool:
            return scorer is None or is_table_of(path, scorer.card, provenance(scorer))

        check_target(arguments.out, arguments.overwrite, is_ours, inputs)
    if arguments.report:
        check_target(arguments.report, arguments.overwrite, is_page, inputs)


def _report_outcome(arguments: argparse.Namespace, outcome: Outcome) -> int:
    """Say what was written; returns the exit code."""
    if not outcome.written:
        print(f"{printable(arguments.out)}: not written, nothing that was named exists", file=sys.stderr)
        return 2
    if arguments.report:
        print(f"{printable(arguments.report)}: open this page in a browser", file=sys.stderr)
    print(f"{printable(arguments.out)}: {outcome.scored} images scored, {outcome.skipped} skipped")
    return 1 if outcome.skipped else 0


def print_scores(scorer: Scorer, found: Iterable[FoundAnywhere], options: RunOptions, as_json: bool = False) -> int:
    """Score pictures and print a row for each, in their order, as soon as it is known; returns the exit code.

    Args:
        scorer: the model.
        found: (path, None), or (path, reason) for what holds no picture; see `named_images`.
        options: with the page to write, if any.
        as_json: print rows of JSON.
    """
    scored = failed = 0
    exists = False
    refused: list[Entry] = []
    entries: list[Entry] = []

    def readable() -> Iterator[Path]:
        for path, reason in found:
            if reason is None and isinstance(path, Path):
                yield path
            else:
                refused.append(Entry(str(path), path, prediction=Prediction(reason=reason)))

    for path, prediction in scorer.score_all(readable(), options.batch_size, options.workers, options.timeout):
        entry = Entry(str(path), path, prediction=prediction)
        if options.report:
            entries.append(entry)
        if prediction.reason:
            failed += 1
            exists = exists or os.path.exists(path)
            print_error(path, prediction.reason, as_json)
        else:
            scored += 1
            print(json_line(row_of(entry, scorer.card.scale)) if as_json else _row(scorer, entry), flush=True)
    for entry in refused:
        assert entry.path and entry.reason
        print_error(entry.path, entry.reason, as_json)
        exists = exists or os.path.exists(entry.path)
    if not scored and not failed and not refused:
        print("no image was named", file=sys.stderr)
    if not scored and not exists:
        return 2
    if options.report:
        origin, scale = provenance(scorer), scorer.card.scale
        write_report(options.report, lambda: [*entries, *refused], origin, scale, options.worker_count)
        print(f"{printable(options.report)}: open this page in a browser", file=sys.stderr)
    return 1 if failed or refused else 0


def _row(scorer: Scorer, entry: Entry) -> str:
    """A scored picture as a line for people: path, mean, and of a histogram the deviation and the percentile."""
    assert entry.prediction
    scale = scorer.card.scale
    values: dict[str, Any] = values_of(entry.prediction, scale)
    words = [f"{values[name]:.4f}" for name in ("mean", "std") if name in values]
    if "percentile" in values:
        words.append(f"{values['percentile']:.0f} % of {scale.population} score lower")
    if entry.prediction.warning:
        words.append(f"warning: {printable(entry.prediction.warning)}")
    return "\t".join([printable(entry.path or entry.key), *words])


def print_error(path: str | os.PathLike[str], reason: str, as_json: bool = False) -> None:
    """Name a picture that cannot be scored on stderr, and among the rows of JSON."""
    if as_json:
        print(json_line({"path": name_to_text(path), "error": reason}), flush=True)
    print(printable(f"{path}: {reason}"), file=sys.stderr)

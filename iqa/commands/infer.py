"""What the infer scripts do: score what was named with one model, and print a row for each picture or write a file."""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iqa.commands.scoring import Printer, add_scoring_options, check_scoring_options, score
from iqa.commands.terminal import Parser, parser_of, positive
from iqa.files import printable
from iqa.images.geometry import CROP, CROPS, POOLINGS
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.journal import Journal
from iqa.scoring.page import write_page
from iqa.scoring.ranking import RankedSet
from iqa.scoring.results import Result
from iqa.scoring.runs import complain
from iqa.scoring.scorer import Scorer
from iqa.scoring.tables import ALONE, Table, write_mat, write_table


def infer_parser(description: str | None, weights: str | os.PathLike[str], patches: bool = False) -> Parser:
    """The parser that all infer scripts share: the script's docstring, default weights, whether the model sees patches."""
    parser = parser_of(description)
    add = parser.add_argument
    add_scoring_options(parser, ".mat, .csv, .jsonl or .parquet")
    add("--weights", type=Path, default=Path(weights), help="score with this .weights.h5 (card beside it) or Keras 2 .hdf5")
    add("--batch-size", type=positive, default=1, help="images that Keras scores at a time (default: 1)")
    add("--labels", type=Path, help="score the images that this label file names, in its order")
    add("--images", dest="folder", type=Path, help="folder of the images that --labels names")
    if patches:
        add_patch_options(parser)
    return parser


#: The options of `add_patch_options`, as `load` takes them.
PATCH_OPTIONS = ("crop", "pooling", "longer_side")


def add_patch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `PATCH_OPTIONS`."""
    add = parser.add_argument
    add("--crop", choices=CROPS, help=f"how patches are placed (default: {CROP}; the original used one, centre)")
    add("--pooling", choices=POOLINGS, help="average patches alike (mean) or by detail (default: see the model card)")
    add("--longer-side", type=positive, metavar="PIXELS", help="downscale the longer side to PIXELS before scoring")


def infer_images(
    parser: Parser,
    arguments: argparse.Namespace,
    load: Callable[..., Scorer],
    read_labelled: Callable[[], Sequence[Any]],
    hint: str = "",
) -> int:
    """Do what the arguments of `infer_parser` ask for; returns the exit code.

    `read_labelled` returns the labelled set, in the order of the labels: `name`, `label`, and `path`, None if missing.
    """
    given = (arguments.labels, arguments.folder)
    if any(given) and (not all(given) or not arguments.out or arguments.images or arguments.list):
        parser.error("a labelled run takes --labels, --images and --out, and no other images")
    is_set = bool(arguments.out or arguments.report)
    check_scoring_options(parser, arguments, alone=True, is_set=is_set)
    labelled = read_labelled() if arguments.labels else None
    if labelled is not None and not any(image.path for image in labelled):
        parser.error(f"{arguments.folder} holds none of the {len(labelled)} images of {arguments.labels}")
    names = ("runtime", "six_crops", *PATCH_OPTIONS)
    options = {name: value for name in names if (value := getattr(arguments, name, None))}

    def write(journal: Journal, table: Table, thumbnails: Thumbnails | None) -> int:
        def pictures() -> Iterator[tuple[Result, Any]]:
            """(result, label) in the order of the labels; without labels None, in that of the run."""
            if labelled is None:
                yield from ((result, None) for result in journal.results())
            for image in labelled or ():
                if result := journal.find(image.path or arguments.folder / image.name):
                    yield result, np.atleast_1d(np.asarray(image.label, np.float64))

        (card,) = table.cards.values()
        if arguments.out and arguments.out.suffix.lower() == ".mat":
            write_mat(arguments.out, pictures(), card.bins, table.provenance)
        elif arguments.out:
            write_table(arguments.out, table, lambda: (table.row(result, label) for result, label in pictures()))
        if arguments.report:
            labels = np.stack([label for _, label in pictures()]) if labelled is not None else None
            if labels is not None and labels.shape[1] == 1:
                labels = labels[:, 0]
            ranked = RankedSet(lambda: (result for result, _ in pictures()), [ALONE], ALONE)
            scales, kept = {ALONE: card.scale}, {"thumbnails": thumbnails, "workers": arguments.workers}
            write_page(arguments.report, ranked, scales, dict(table.provenance), labels=labels, **kept)
            complain(f"{printable(arguments.report)}: open this page in a browser")
        if not arguments.out:
            printer = Printer(table, arguments.json)
            for result in journal.results():
                printer.show(result, tell=False)
        return 0

    return score(arguments, lambda: {ALONE: load(arguments.weights, **options)}, is_set, write, labelled, hint)

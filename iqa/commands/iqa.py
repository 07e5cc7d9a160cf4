"""Three scores for each picture: whether people would call it good, how beautiful it is, and how sound technically.

    iqa photo.jpg holiday/
    iqa holiday/ --out scores.csv --report page.html
    iqa holiday/ --top 20
    iqa holiday/ --sort-into sorted --xmp
    iqa learn holiday/ --out mine.npz && iqa holiday/ --model mine.npz --top 20
    iqa move pictures.txt aside/
    find / -name '*.jpg' -print0 | iqa -0 --list - --out scores.parquet

Quality, 1 (bad) to 5 (excellent), is what some thirty people would say of it on average; it serves galleries and upload
queues. Beauty, 1-10, is the mean of the votes that a photographic contest would give; it serves the choice of the finest.
Technical, 0-9, says how visible noise, blur, compression and other faults are, most of all where the picture has detail;
it serves cameras, scans and copies. Percentiles say how many photographs of BIQ2021 or AVA score lower.

To resume a run that was stopped, repeat the command; that needs --out, --report or --sort-into, beside which a journal
lies until all is done. --top, --sort-into and --xmp rank the pictures of this run among one another (--by). The highest
10 % are `best` and get five stars; the next 20 % are `good` and get four. The lowest 10 % are `worst` and get one star; the
next lowest 20 % get two, and the 40 % in the middle get three. `iqa learn --help` and `iqa move --help` say how to teach
`iqa` your own taste, and how to move the pictures of a list.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from iqa.commands.scoring import Printer, add_scoring_options, check_scoring_options, score, sum_up
from iqa.commands.terminal import Parser, parser_of, positive
from iqa.environment import versions
from iqa.files import printable
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.journal import Journal
from iqa.scoring.layer import load_layer, read_layer
from iqa.scoring.many import SHIPPED, load_shipped
from iqa.scoring.page import write_page
from iqa.scoring.ranking import OVERALL, Place, RankedSet, check_folder, sort_into
from iqa.scoring.runs import complain
from iqa.scoring.scorer import Scorer
from iqa.scoring.sidecars import NAMES, write_marks, write_stars
from iqa.scoring.tables import Table, write_table


def main() -> int:
    """The command; returns the exit code."""
    if sys.argv[1:2] in (["learn"], ["move"]) and not os.path.lexists(sys.argv[1]):
        command = importlib.import_module(f"iqa.commands.{sys.argv[1]}")
        return int(command.main(sys.argv[2:]))
    parser = _options()
    arguments = parser.parse_args()
    if arguments.xmp_from:
        if arguments.images or arguments.list:
            parser.error("--xmp-from takes the pictures from the file of marks: name no others")
        return _tell(write_marks(arguments.xmp_from, arguments.xmp_names)) and 1
    wanted = ("out", "report", "top", "sort_into", "xmp", "bursts")
    is_set = any(getattr(arguments, name) for name in wanted)
    if arguments.copy and not arguments.sort_into:
        parser.error("--copy says how --sort-into works: give both")
    if arguments.replace_stars and not arguments.xmp:
        parser.error("--replace-stars says how --xmp works: give both")
    own = _own_score(parser, arguments.model)
    arguments.by = arguments.by or own or OVERALL
    if arguments.by not in (OVERALL, *SHIPPED, own):
        parser.error(f"--by must be one of {', '.join(filter(None, (OVERALL, *SHIPPED, own)))}, got {arguments.by!r}")
    check_scoring_options(parser, arguments, alone=False, is_set=is_set)
    if arguments.sort_into:
        check_folder(arguments.sort_into, arguments.images)

    def load() -> dict[str, Scorer]:
        mine: dict[str, Scorer] = {own: load_layer(arguments.model, runtime=arguments.runtime)} if own else {}
        return mine | load_shipped(arguments.runtime)

    def write(journal: Journal, table: Table, thumbnails: Thumbnails | None) -> int:
        ranked = RankedSet(journal.results, list(table.cards), arguments.by, arguments.bursts)
        return _write_all(arguments, ranked, table, thumbnails)

    return score(arguments, load, is_set, write)


def _own_score(parser: Parser, model: Path | None) -> str | None:
    """The name of the score of --model, which is that of its file."""
    if model is None:
        return None
    if model.suffix != ".npz":
        parser.error(f"--model takes an .npz that `iqa learn` wrote, not {model}")
    card, _ = read_layer(model)
    if model.stem in (OVERALL, *Table(dict.fromkeys(SHIPPED, card), {}, bursts=True).columns()):
        parser.error(f"--model: {model.stem!r} is the name of another column: rename the file")
    return model.stem


def _options() -> Parser:
    parser = parser_of(__doc__)
    parser.prog = "iqa"
    add = parser.add_argument
    release = versions(["image-quality-assessment"]).get("image-quality-assessment", "of unknown version")
    add("--version", action="version", version=f"iqa {release}", help="print the version and stop")
    add_scoring_options(parser, ".csv, .jsonl or .parquet")
    add("--model", type=Path, metavar="FILE", help="score of your own, written by `iqa learn`: it leads, and ranks")
    add("--top", type=positive, metavar="N", help="print only the N best, the best first")
    mean = f"that of --model, else {OVERALL}, the mean of the places in quality and beauty"
    add("--by", metavar="SCORE", help=f"score to rank by: {', '.join((OVERALL, *SHIPPED))} (default: {mean})")
    add("--sort-into", type=Path, metavar="FOLDER", help="make FOLDER with links in best/ good/ rest/ worst/")
    add("--copy", action="store_true", help="with --sort-into: make copies instead of links")
    add("--xmp", action="store_true", help="write one to five stars to an XMP sidecar beside each picture")
    names = "name sidecars a.jpg.xmp as darktable and digiKam do, or a.xmp as Lightroom does (default: darktable)"
    add("--xmp-names", choices=NAMES, default="darktable", help=names)
    add("--replace-stars", action="store_true", help="with --xmp: also rate pictures that have stars or are rejected")
    marks = "write the stars and rejections that a page saved in marks.json to XMP sidecars; score nothing"
    add("--xmp-from", type=Path, metavar="FILE", help=marks)
    bursts = "find pictures taken within seconds that look alike, and copies; --top and best/ take one of each"
    add("--bursts", action="store_true", help=bursts)
    return parser


def _tell(done: tuple[int, list[str]]) -> int:
    """Show the lines of what was done, and return how much could not be."""
    for line in done[1]:
        complain(line)
    return done[0]


def _write_all(arguments: argparse.Namespace, ranked: RankedSet, table: Table, thumbnails: Thumbnails | None) -> int:
    """What comes after the last score: files first, then the terminal; returns how many pictures got no stars or place."""

    def burst_of(number: int, place: Place | None = None) -> dict[str, Any]:
        place = place or ranked.place_of(number)
        return {"burst": place.burst, "best_of_burst": place.best} if place and place.burst else {}

    if arguments.out:
        results = ranked.list_results
        write_table(arguments.out, table, lambda: (table.row(result, **burst_of(n)) for n, result in enumerate(results())))
    if arguments.report:
        scales = {name: card.scale for name, card in table.cards.items()}
        write_page(
            arguments.report, ranked, scales, dict(table.provenance), thumbnails=thumbnails, workers=arguments.workers
        )
        complain(f"{printable(arguments.report)}: open this page in a browser")
    failed = 0
    for wanted, make in (
        (arguments.xmp, lambda: write_stars(ranked.placed(), arguments.xmp_names, arguments.replace_stars)),
        (arguments.sort_into, lambda: sort_into(arguments.sort_into, ranked.placed(repeats=False), arguments.copy)),
    ):
        failed += _tell(make()) if wanted else 0
    printer = Printer(table, arguments.json)
    if arguments.top:
        for result, place in ranked.top(arguments.top):
            printer.show(result, tell=False, alike=place.of - 1 if place else 0, **burst_of(-1, place))
    elif not arguments.out:
        for number, result in enumerate(ranked.list_results()):
            printer.show(result, tell=False, **burst_of(number))
    if not arguments.json:
        for line in ranked.describe_bursts():
            print(line)
    sum_up(table, next(iter(ranked.scores.values())), ranked.faults)
    return failed

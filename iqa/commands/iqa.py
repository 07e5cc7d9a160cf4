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
10 % are `best` and get five stars, the next 20 % are `good` and get four, the lowest 10 % are `worst` and get one star;
between them, the lower 20 % get two stars and the others three.
"""

import argparse
from pathlib import Path
from typing import Any

from iqa.commands.scoring import Printer, add_scoring_options, check_scoring_options, score
from iqa.commands.terminal import parser_of, positive
from iqa.files import printable
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.journal import Journal
from iqa.scoring.many import SHIPPED, load_shipped
from iqa.scoring.page import write_page
from iqa.scoring.ranking import BOTH, Place, RankedSet, check_folder, sort_into
from iqa.scoring.runs import complain
from iqa.scoring.sidecars import NAMES, write_stars
from iqa.scoring.tables import Table, write_table


def main() -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.prog = "iqa"
    add = parser.add_argument
    add_scoring_options(parser, ".csv, .jsonl or .parquet")
    add("--top", type=positive, metavar="N", help="print only the N best, the best first")
    add("--by", choices=(BOTH, *SHIPPED), default=BOTH, help=f"score to rank by (default: {BOTH}, the mean of the places)")
    add("--sort-into", type=Path, metavar="FOLDER", help="make FOLDER with links in best/ good/ rest/ worst/")
    add("--copy", action="store_true", help="with --sort-into: make copies instead of links")
    add("--xmp", action="store_true", help="write one to five stars to an XMP sidecar beside each picture")
    names = "name sidecars a.jpg.xmp as darktable and digiKam do, or a.xmp as Lightroom does (default: darktable)"
    add("--xmp-names", choices=NAMES, default="darktable", help=names)
    add("--replace-stars", action="store_true", help="with --xmp: also rate pictures that have stars or are rejected")
    add("--bursts", action="store_true", help="find pictures that were taken within seconds and look alike")
    arguments = parser.parse_args()
    wanted = ("out", "report", "top", "sort_into", "xmp", "bursts")
    is_set = any(getattr(arguments, name) for name in wanted)
    if arguments.copy and not arguments.sort_into:
        parser.error("--copy says how --sort-into works: give both")
    if arguments.replace_stars and not arguments.xmp:
        parser.error("--replace-stars says how --xmp works: give both")
    check_scoring_options(parser, arguments, alone=False, is_set=is_set)
    if arguments.sort_into:
        check_folder(arguments.sort_into, arguments.images)

    def write(journal: Journal, table: Table, thumbnails: Thumbnails | None) -> int:
        ranked = RankedSet(journal.results, list(table.cards), arguments.by, arguments.bursts)
        return _write_all(arguments, ranked, table, thumbnails)

    return score(arguments, lambda: load_shipped(arguments.runtime), is_set, write)


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
        (arguments.sort_into, lambda: sort_into(arguments.sort_into, ranked.placed(), arguments.copy)),
    ):
        refused, lines = make() if wanted else (0, [])
        failed += refused
        for line in lines:
            complain(line)
    printer = Printer(table, arguments.json)
    if arguments.top:
        for result, place in ranked.top(arguments.top):
            printer.show(result, tell=False, **burst_of(-1, place))
    elif not arguments.out:
        for number, result in enumerate(ranked.list_results()):
            printer.show(result, tell=False, **burst_of(number))
    if not arguments.json:
        for line in ranked.describe_bursts():
            print(line)
    return failed

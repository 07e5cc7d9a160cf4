"""Write the tables of weights/NAME.md from the model cards, and find numbers on the pages that no card has.

    python docs/check_numbers.py

A figure is measured once and written on a card (NAME.json, or within NAME.npz). Run this after a card has changed: it
renews the tables, prints the numbers on the pages that are out of date, and then exits with code 1.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from iqa.commands.terminal import parser_of

ROOT = Path(__file__).resolve().parent.parent
CARDS = sorted([*ROOT.glob("weights/*.json"), *ROOT.glob("weights/*.npz")])
#: All numbers below 1 on these pages are figures of cards; on the others only those with an interval are.
FIGURES = ("README.md", "weights/*.md")
INTERVALS = ("docs/reading-the-numbers.md",)
_TABLE = re.compile(r"(?<=<!-- from the card -->\n).*?(?=<!-- end -->)", re.DOTALL)
_NUMBER = re.compile(r"0\.\d\d+")
_INTERVAL = re.compile(r"(0\.\d{3}) \((?:95 %: )?-?(0\.\d{3})-(0\.\d{3})\)")


def read(card: Path) -> dict[str, Any]:
    """The card in a file, as JSON."""
    content = np.load(card)["card"].tobytes() if card.suffix == ".npz" else card.read_bytes()
    found: dict[str, Any] = json.loads(content)
    return found


def write_table(card: dict[str, Any]) -> str:
    """What a card says of the network and of its figures, as Markdown."""
    scale = card["scale"]
    facts = {"score": f"{scale['lowest']}-{scale['highest']}: {scale['meaning']}"}
    if "stands_on" in card:
        facts["stands on"] = ", ".join(card["stands_on"])
    else:
        geometry = card["preprocessing"]
        sees = "the whole picture, resized" if geometry["kind"] == "resize" else "patches at their own size"
        facts["network"] = card["backbone"]["backbone"]
        facts["input"] = f"{sees}: {geometry['size']}x{geometry['size']} pixels, uint8 RGB"
        facts["SHA-256"] = f"`{card['sha256']}`"
    rows = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    rows += ["| measured on | images | figures, with 95 % intervals |", "|---|---|---|"]
    for of, figures in card["figures"].items():
        shown = []
        for name, value in figures.items():
            if name != "n" and not name.endswith("_95"):
                low, high = figures.get(f"{name}_95", (None, None))
                shown.append(f"{name} {value:.3f}" + ("" if low is None else f" ({low:.3f}-{high:.3f})"))
        rows.append(f"| {of} | {figures['n']:,.0f} | {'; '.join(shown)} |")
    return "\n".join(rows).replace("srcc", "SRCC").replace("lcc", "LCC").replace("rmse", "RMSE") + "\n"


def fill(card: Path) -> tuple[str, str]:
    """The text of a card's page as it is, and with the table that belongs there."""
    page = card.with_suffix(".md").read_text(encoding="utf-8")
    table = write_table(read(card))
    return page, _TABLE.sub(lambda _: table, page)


def numbers_in(value: Any) -> Iterator[float]:
    """All numbers in a value read from JSON."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(one)


def find_stale() -> list[str]:
    """Each number on the pages that no card has, rounded to as many places, as "PAGE: NUMBER"."""
    measured = [abs(number) for card in CARDS for number in numbers_in(read(card)["figures"])]
    known = {f"{number:.{places}f}" for number in measured for places in (2, 3)}
    pages = [(page, kind) for kind, globs in ((0, FIGURES), (1, INTERVALS)) for glob in globs for page in ROOT.glob(glob)]
    stale = []
    for page, only_intervals in sorted(pages):
        text = page.read_text(encoding="utf-8")
        found = [n for match in _INTERVAL.findall(text) for n in match] if only_intervals else _NUMBER.findall(text)
        stale += [f"{page.relative_to(ROOT)}: {number}" for number in found if number not in known]
    return stale


def main() -> int:
    parser_of(__doc__).parse_args()
    for card in CARDS:
        old, new = fill(card)
        if old != new:
            card.with_suffix(".md").write_text(new, encoding="utf-8")
            print(f"renewed {card.with_suffix('.md').relative_to(ROOT)}")
    stale = find_stale()
    print("\n".join(stale) or "every number on the pages is on a card")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

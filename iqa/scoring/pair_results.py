"""What is made of the scores of a whole set: a table, a page, the best, stars, shelves, bursts."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from iqa.cards import TID2013_SCALE, Scale
from iqa.errors import OutputError
from iqa.files import printable
from iqa.images.stored import local
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.bursts import SECONDS, find_bursts
from iqa.scoring.journal import Entry
from iqa.scoring.pair import Opinion
from iqa.scoring.pair_tables import (
    BOTH,
    BURST_COLUMNS,
    COLUMNS,
    FAULT_COLUMNS,
    Place,
    picture_of_pair,
    row_of_pair,
    write_table,
)
from iqa.scoring.ranking import best_first, best_of, rank_pairs, shelf_of, stars_of
from iqa.scoring.report import write_run
from iqa.scoring.shelves import sort_into
from iqa.scoring.sidecars import NAMES, rate


class Results:
    """The pictures of a run that is over, ranked among one another.

    Args:
        list_entries: function that lists what was scored and skipped, each time in the same order.
        scale: of beauty.
        provenance: {name: text} of the models.
        order: what pictures are ranked by, one of `iqa.scoring.ranking.ORDERS`.
        bursts: whether bursts are looked for.
        technical_scale: of technical quality.

    Attributes:
        scores: {"beauty": float64 (N,), "technical": float64 (N,)} of all entries; NaN where there is none.
        places: float64 (N,), 0-1, of all entries; NaN where there is no score.
        bursts: the numbers of the entries in each burst; see `find_bursts`.
    """

    def __init__(
        self,
        list_entries: Callable[[], Iterable[Entry]],
        scale: Scale,
        provenance: dict[str, str],
        order: str = "both",
        bursts: bool = False,
        technical_scale: Scale = TID2013_SCALE,
    ) -> None:
        self.list_entries, self.scale, self.provenance, self._looked_for_bursts = list_entries, scale, provenance, bursts
        self._technical_scale, self._order = technical_scale, order
        scores = array("d")
        times: list[float | None] = []
        features: list[Any] = []
        for entry in list_entries():
            said = Opinion.of(entry.prediction) if entry.prediction and entry.prediction.output is not None else None
            beauty = said.beauty.mean if said and said.beauty else np.nan
            scores.extend((beauty, said.technical if said and said.technical is not None else np.nan))
            if bursts:
                times.append(said.taken.replace(tzinfo=UTC).timestamp() if said and said.taken else None)
                features.append(said.features.astype(np.float16) if said and said.features is not None else None)
        beauties, technicals = np.array(scores).reshape(-1, 2).T
        self.scores = {"beauty": beauties, "technical": technicals}
        self.places = rank_pairs(beauties, technicals, order)
        self.bursts = find_bursts(times, features) if bursts else []
        self._place_of: dict[int, Place] = {}
        for number, burst in enumerate(self.bursts, start=1):
            best = best_of(burst, self.places)
            self._place_of |= {member: Place(number, member == best) for member in burst}

    def place_of(self, number: int) -> Place | None:
        """What bursts say of an entry; None if none were looked for."""
        return self._place_of.get(number, Place()) if self._looked_for_bursts else None

    def write_table(self, path: Path) -> None:
        """Write all pictures in their order; see `iqa.scoring.pair_tables.write_table`."""
        columns = COLUMNS | FAULT_COLUMNS | (BURST_COLUMNS if self._looked_for_bursts else {})
        write_table(path, columns, lambda: rows_of(self), self.provenance)

    def write_page(self, path: Path, workers: int = 0, thumbnails: Thumbnails | None = None) -> None:
        """Write the page with the thumbnails; see `write_run`."""
        both = rank_pairs(self.scores["beauty"], self.scores["technical"])
        scales = {"Beauty": self.scale, "Technical quality": self._technical_scale}
        lead = " ".join(f"{name}, {of.lowest:g}-{of.highest:g}: {of.meaning}." for name, of in scales.items())
        write_run(
            path,
            self.list_entries,
            lambda number, entry: picture_of_pair(entry, self.scale, both[number], self.place_of(number)),
            np.where(np.isnan(self.places) & ~np.isnan(both), -1.0, self.places),  # what lacks this score comes last
            self.scores,
            self.provenance,
            lead,
            workers,
            BOTH if self._order == "both" else self._order,
            thumbnails,
        )

    def top(self, count: int) -> list[dict[str, Any]]:
        """The rows of the best pictures, the best first."""
        wanted = best_first(self.places)[:count].tolist()
        rows = {number: row for number, row in enumerate(rows_of(self)) if number in set(wanted)}
        return [rows[number] for number in wanted]

    def write_stars(self, names: str, overwrite: bool) -> Iterator[str]:
        """Write a sidecar beside each picture that has a score, and say how many, and which kept what it had.

        Args:
            names: a key of `NAMES`.
            overwrite: see `rate`.
        """
        written, kept, seen = 0, 0, set()
        for entry, place in zip(self.list_entries(), self.places, strict=True):
            path = local(entry.path)
            if np.isnan(place) or path is None:
                continue
            sidecar, shown = NAMES[names](path), printable(path)
            if sidecar in seen:
                yield f"{shown}: no stars, since {printable(sidecar.name)} is that of another picture"
                continue
            seen.add(sidecar)
            try:
                why = rate(path, stars_of(place), names, overwrite)
            except OutputError as error:
                yield str(error)
                continue
            except OSError as error:
                yield f"{shown}: no stars, the sidecar cannot be written ({error.strerror or error})"
                continue
            written, kept = written + (why is None), kept + (why is not None)
        yield f"stars: {written} sidecars written" + (
            f", {kept} pictures keep the stars that they have (--replace-stars)" if kept else ""
        )

    def sort_into(self, folder: Path, copy: bool) -> Iterator[str]:
        """Sort the pictures into a folder, and say how many; see `iqa.scoring.shelves.sort_into`."""
        pairs = zip(self.list_entries(), self.places, strict=True)
        count, failed = sort_into(
            folder,
            ((path, shelf_of(place)) for entry, place in pairs if (path := local(entry.path)) and not np.isnan(place)),
            copy,
        )
        yield from failed
        yield f"{folder}: {count} pictures sorted"

    def describe_bursts(self) -> Iterator[str]:
        """A line for each burst: how many pictures, how long, and which is the best."""
        if not self._looked_for_bursts:
            return
        best: dict[int, str] = {}
        wanted = {number: place.burst for number, place in self._place_of.items() if place.best and place.burst}
        for number, entry in enumerate(self.list_entries()):
            if number in wanted:
                best[wanted[number]] = printable(entry.path or entry.key)
        for number, burst in enumerate(self.bursts, start=1):
            yield f"burst {number}: {len(burst)} pictures, the best is {best[number]}"
        if not self.bursts:
            yield f"no bursts: no two pictures were taken within {SECONDS:g} s of one another and look alike"


def rows_of(results: Results) -> Iterator[dict[str, Any]]:
    """All pictures in their order; see `row_of_pair`."""
    for number, entry in enumerate(results.list_entries()):
        yield row_of_pair(entry, results.scale, results.place_of(number))

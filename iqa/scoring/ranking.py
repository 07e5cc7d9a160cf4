"""Where each picture stands among those that were scored with it: its place, its stars, its burst, its folder.

A burst is pictures that were taken within seconds and look alike. Only what blur leaves of them is compared, so that the
shaken frame of a burst belongs to it.
"""

import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from iqa.errors import OutputError
from iqa.files import RAW_SUFFIXES, printable
from iqa.images.stored import local
from iqa.scoring.results import Result

#: The order that is the mean of the places by `MEAN_OF`: neither sees what the other does. Without them, by all scores.
OVERALL, MEAN_OF = "overall", ("quality", "beauty")
STRUCTURE = "structure"  # the name under which `Result.features` has `structure_of`
SHELVES, CUTS = ("worst", "rest", "good", "best"), (0.1, 0.7, 0.9)  # and the places between them
SECONDS = 3.0  # between one picture of a burst and the next, at most

#: Correlation of the structures of two pictures that look alike, at least. Of 400 photographs, 98 % reach it if they are
#: shifted by 5 % of their size, turned by 3 degrees, made brighter or blurred, and 0.14 % of the pairs of different ones.
ALIKE = 0.7
#: The same where the times say only the day or the minute: no pair of 400 different photographs reaches it.
ALIKE_WITHOUT_SECONDS = 0.9

#: The same of two copies of one picture, of which one at least has lost its time. No pair of 1,705 different photographs
#: reaches it, and nine of ten copies of half the size do.
ALIKE_WITHOUT_TIME = 0.96

_OPEN = 100  # bursts that may be interleaved
_CHUNK = 256  # pictures that are compared at once with all others


def rank(values: ArrayLike) -> NDArray[np.float64]:
    """The place of each value among all, 0-1, higher is better; equal values share a place, NaN has none.

    >>> rank([5.0, 7.0, float("nan"), 5.0]).round(3).tolist()
    [0.333, 0.833, nan, 0.333]
    """
    found = np.asarray(values, np.float64)
    known = np.sort(found[np.isfinite(found)])
    below, upto = np.searchsorted(known, found, "left"), np.searchsorted(known, found, "right")
    return np.where(np.isfinite(found), (below + upto) / 2 / max(1, len(known)), np.nan)


def rank_by(scores: dict[str, NDArray[np.float64]], order: str = OVERALL) -> NDArray[np.float64]:
    """The places, float64 (N,), of pictures with several scores (N,): by one of them, or `OVERALL`."""
    if order != OVERALL:
        return rank(scores[order])
    chosen = [scores[name] for name in MEAN_OF if name in scores] or list(scores.values())
    places = np.ma.masked_invalid([rank(values) for values in chosen])
    return rank(places.mean(axis=0).filled(np.nan))


def best_first(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """The numbers of the pictures that have a place, the best first."""
    return np.argsort(-places, kind="stable")[: int(np.isfinite(places).sum())]


def stars_of(place: float) -> int:
    """The stars for a place: the lowest 10 % get one, the next 20 % two, and so on; the highest 10 % get five.

    >>> [stars_of(place) for place in (0.05, 0.2, 0.5, 0.8, 0.95)]
    [1, 2, 3, 4, 5]
    """
    return 1 + int(np.searchsorted((0.1, 0.3, 0.7, 0.9), place, "right"))


def structure_of(image: Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
    """The coarse structure of an RGB picture, float32 (192,) of mean 0 and length 1; zeros if it is of one colour."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = np.asarray(picture.resize((8, 8), Image.Resampling.BOX, reducing_gap=2.0), np.float32)
    small = small - small.mean(axis=(0, 1))
    return (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()


def find_bursts(times: Sequence[datetime | None], structures: Sequence[NDArray[np.floating] | None]) -> list[list[int]]:
    """The numbers of the pictures in each burst, two or more, in the order in which they were taken.

    A picture belongs to a burst if it was taken at most `SECONDS` after its last picture and looks like its first. One
    that lacks its local time of capture or its `structure_of` is in no burst.
    """
    known = [
        (time.replace(tzinfo=UTC).timestamp(), number, structure)
        for number, (time, structure) in enumerate(zip(times, structures, strict=True))
        if time is not None and structure is not None
    ]
    has_no_seconds = sum(second % 60 == 0 for second, *_ in known) > len(known) / 2
    bursts: list[list[int]] = []
    waiting: list[tuple[float, NDArray[np.floating], list[int]]] = []  # the last time and the first structure of a burst
    for second, number, structure in sorted(known, key=lambda picture: picture[:2]):
        structure = structure.astype(np.float32)
        waiting = [burst for burst in waiting if second - burst[0] <= SECONDS][-_OPEN:]
        vague = second % 86_400 == 0 or (has_no_seconds and second % 60 == 0)
        needed = ALIKE_WITHOUT_SECONDS if vague else ALIKE
        place = next((n for n in reversed(range(len(waiting))) if np.dot(waiting[n][1], structure) >= needed), None)
        if place is None:
            bursts.append([])
        first, burst = (structure, bursts[-1]) if place is None else waiting.pop(place)[1:]
        burst.append(number)
        waiting.append((second, first, burst))
    return [burst for burst in bursts if len(burst) > 1]


def join_copies(
    bursts: Sequence[list[int]], times: Sequence[datetime | None], structures: Sequence[NDArray[np.floating] | None]
) -> list[list[int]]:
    """The bursts, and behind them the copies of pictures without a time; a copy of a picture of a burst joins the burst."""
    known = np.array([number for number, structure in enumerate(structures) if structure is not None], int)
    stacked = np.array([structures[number] for number in known], np.float32).reshape(-1, 192)
    without = np.array([row for row, number in enumerate(known) if times[number] is None], int)
    first = np.arange(len(structures))  # of the pictures that belong together with each
    for burst in bursts:
        first[burst] = burst[0]
    for rows in np.array_split(without, 1 + len(without) // _CHUNK):
        for row, other in np.argwhere(stacked[rows] @ stacked.T >= ALIKE_WITHOUT_TIME):
            one, two = sorted(first[known[[rows[row], other]]])
            if one != two:
                first[first == two] = one
    grouped: dict[int, list[int]] = {burst[0]: list(burst) for burst in bursts if first[burst[0]] == burst[0]}
    for number in np.flatnonzero(np.bincount(first)[first] > 1).tolist():
        members = grouped.setdefault(int(first[number]), [])
        members += [number] if number not in members else []
    return list(grouped.values())


@dataclass(frozen=True)
class Place:
    """The number of a picture's burst, from 1, None if it is in none; whether it is the best of it; how many are in it."""

    burst: int | None = None
    best: bool = False
    of: int = 1


class RankedSet:
    """The results of a run that is over, ranked among one another.

    A raw file and the JPEG of the same shot, which differ in their suffixes alone, count as one picture: both have the
    place of the JPEG.

    Args:
        list_results: function that lists the results, each time in the same order.
        names, order: of the models that rank, and one of these names or `OVERALL`.
        bursts: whether bursts and copies are looked for, by the feature `STRUCTURE`.

    Attributes:
        scores: {name: float64 (N,)}; NaN where there is none.
        overall, places: float64 (N,), `OVERALL` and by the order, 0-1; NaN where there is no score.
        twins: {number of a raw file: number of the other file of that shot}.
        bursts: see `find_bursts` and `join_copies`.
        faults: how many pictures have each kind of main fault.
    """

    def __init__(
        self, list_results: Callable[[], Iterable[Result]], names: Sequence[str], order: str = OVERALL, bursts: bool = False
    ) -> None:
        self.list_results, self.order, self._looked_for_bursts = list_results, order, bursts
        columns = {name: array("d") for name in names}
        times: list[datetime | None] = []
        structures: list[NDArray[np.float16] | None] = []
        raws: dict[Path, int] = {}
        self.faults: Counter[str] = Counter()
        for number, result in enumerate(list_results()):
            for name, column in columns.items():
                mean = result.mean(name)
                column.append(np.nan if mean is None else mean)
            if result.fault:
                self.faults[result.fault.kind] += 1
            if bursts:
                structure = result.features.get(STRUCTURE)
                times.append(result.taken)
                structures.append(None if structure is None else structure.astype(np.float16))
            if (path := local(result.path)) and path.suffix.lower() in RAW_SUFFIXES:
                raws[path.with_suffix("")] = number
        self.scores = {name: np.array(column) for name, column in columns.items()}
        self.twins: dict[int, int] = {}
        for number, result in enumerate(list_results() if raws else ()):
            path = local(result.path)
            if path and path.suffix.lower() not in RAW_SUFFIXES and result.scores and path.with_suffix("") in raws:
                self.twins.setdefault(raws[path.with_suffix("")], number)
        self.overall, self.places = (self._rank(wanted) for wanted in (OVERALL, order))
        for raw in self.twins if bursts else ():
            structures[raw] = None
        self.bursts = join_copies(find_bursts(times, structures), times, structures) if bursts else []
        self._place_of: dict[int, Place] = {}
        for count, burst in enumerate(self.bursts, start=1):
            best = max(burst, key=lambda number: np.nan_to_num(self.places[number], nan=-1.0))
            self._place_of |= {member: Place(count, member == best, len(burst)) for member in burst}

    def _rank(self, order: str) -> NDArray[np.float64]:
        is_raw = np.isin(np.arange(len(next(iter(self.scores.values())))), list(self.twins))
        places = rank_by({name: np.where(is_raw, np.nan, values) for name, values in self.scores.items()}, order)
        places[list(self.twins)] = places[list(self.twins.values())]
        return places

    def place_of(self, number: int) -> Place | None:
        """What bursts say of a result; None if they were not looked for."""
        number = self.twins.get(number, number)
        return self._place_of.get(number, Place()) if self._looked_for_bursts else None

    def top(self, count: int) -> list[tuple[Result, Place | None]]:
        """The `count` best pictures, the best first: one of each burst, without raw files that have a twin."""
        order = [number for number in best_first(self.places).tolist() if number not in self.twins]
        order = [number for number in order if not self._is_repeat(number)][:count]
        wanted = set(order)
        found = {number: result for number, result in enumerate(self.list_results()) if number in wanted}
        return [(found[number], self.place_of(number)) for number in order]

    def _is_repeat(self, number: int) -> bool:
        place = self.place_of(number)
        return bool(place and place.burst and not place.best)

    def placed(self, repeats: bool = True) -> Iterator[tuple[Path, float]]:
        """(path, place) of each picture on this machine that has a place; without `repeats` one of a burst is `best`."""
        for number, (result, place) in enumerate(zip(self.list_results(), self.places.tolist(), strict=True)):
            if (path := local(result.path)) and not np.isnan(place):
                yield path, place if repeats or not self._is_repeat(number) else min(place, np.nextafter(CUTS[2], 0))

    def describe_bursts(self) -> Iterator[str]:
        """A line for each burst, or set of copies: how many pictures, and which is the best."""
        if not self._looked_for_bursts:
            return
        best = {number: place.burst for number, place in self._place_of.items() if place.best}
        names = {best[n]: printable(result.path) for n, result in enumerate(self.list_results()) if n in best}
        for count, burst in enumerate(self.bursts, start=1):
            yield f"burst {count}: {len(burst)} pictures, the best is {names[count]}"
        if not self.bursts:
            yield f"no bursts: no two pictures were taken within {SECONDS:g} s of one another and look alike, or are copies"


def check_folder(folder: Path, named: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raise `OutputError` if a folder to sort into holds anything, or lies in a folder whose pictures were named."""
    place = folder.resolve()
    for name in named:
        if os.path.isdir(name) and place.is_relative_to(Path(name).resolve()):
            why = "where the next run would find each picture twice"
            raise OutputError(f"{folder}: it lies in {name}, {why}; name another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: pictures are sorted into a new or an empty folder; name another one")


def sort_into(folder: Path, pictures: Iterable[tuple[Path, float]], copy: bool = False) -> tuple[int, list[str]]:
    """Make the folder with its shelves; it is whole or not there.

    Args:
        pictures: (path, place 0-1): the lowest 10 % are worst, the highest 10 % best, the next 20 % good.
        copy: copy the files, with their times; otherwise make links, and copy only where links cannot be made.

    Returns:
        How many pictures could not be sorted, and lines that say which, and how many were.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place, count, failed = folder.with_name(f".{folder.name}.{os.getpid()}"), 0, []
    place.mkdir()
    try:
        for shelf in SHELVES:
            (place / shelf).mkdir()
        for path, position in pictures:
            try:
                _put(path, place / SHELVES[int(np.searchsorted(CUTS, position, "right"))], copy)
                count += 1
            except OSError as error:
                failed.append(f"{printable(path)}: not sorted ({error.strerror or error})")
        if folder.exists():
            folder.rmdir()
        place.rename(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return len(failed), [*failed, f"{printable(folder)}: {count} pictures sorted"]


def _put(path: Path, shelf: Path, copy: bool) -> None:
    target, number = shelf / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = shelf / f"{path.stem} ({number}){path.suffix}"
    if not copy:
        try:
            return os.symlink(os.path.abspath(path), target)
        except (OSError, NotImplementedError):  # a file system or a Windows without links
            pass
    shutil.copy2(path, target)

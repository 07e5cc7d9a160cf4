"""The page: one HTML file of pictures with their scores, to sort, look through and mark in a browser without a server.

It is made of the parts in `iqa/scoring/page/`. The template escapes file names, the script only compares them, and the
page's own policy lets no other script run. The browser saves marks as `marks.json`: `{"marks": {path: stars}}`, stars 1-5,
or -1 for a rejected picture; paths are absolute, as `iqa.files.name_to_text` writes them.
"""

import base64
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa.cards import Scale
from iqa.errors import ImageError, OutputError
from iqa.files import finite, name_to_text, printable, written_whole
from iqa.images.stored import StoredFile, local
from iqa.images.thumbnails import Thumbnails, thumbnail
from iqa.labels.histograms import Score, mean_scores
from iqa.scoring.ranking import OVERALL, Place, RankedSet, best_first, stars_of
from iqa.scoring.results import Result

MOST = 5000  # pictures in a file: with their thumbnails some 70 MB
PAGE = 60  # pictures laid out at first, and again whenever the reader comes near their end
SIDE = 320  # pixels of a thumbnail's longer side
_ALL = "overall place, 0-100"

_LEFT, _RIGHT, _TOP, _FLOOR = 40, 410, 24, 146  # of the axes of a distribution, in a box of 420x190

_Columns = dict[str, NDArray[np.float64]]


def check_page(path: str | os.PathLike[str]) -> None:
    """Raise `OutputError` if the suffix of a page to write is not .html."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: a page is written to a name like page.html")


def is_page(path: Path) -> bool:
    """Whether `write_page` wrote a file."""
    with open(path, "rb") as file:
        return b'<meta name="generator" content="image-quality-assessment">' in file.read(1000)


def write_page(
    path: str | os.PathLike[str],
    ranked: RankedSet,
    scales: dict[str, Scale],
    provenance: dict[str, str] | None = None,
    *,
    labels: ArrayLike | None = None,
    more: _Columns | None = None,
    thumbnails: Thumbnails | None = None,
    workers: int = 1,
    title: str | None = None,
    lead: str | None = None,
    tables: Sequence[dict[str, Any]] = (),
) -> None:
    """Write the page of a run, whole or not at all: at most `MOST` of its pictures, and what could not be scored.

    Args:
        scales, provenance: {name: scale} and {name: text} of the models; no scales if the scores are no model's.
        labels: what people said of each result: scores (N,), or histograms of votes (N, 10).
        more: {name: float64 (N,)}, further numbers to show and to sort by.
        thumbnails: those that were kept when the pictures were scored; the others are made now, by `workers` threads.
        title, lead: a heading, which by default says what was scored, and a line below it.
        tables: {title, head, rows} of texts, folded above the pictures.
    """
    facts, people = provenance or {}, None if labels is None else np.asarray(labels, np.float64)
    # What lacks the score to rank by comes last. A raw file is named on the card of the JPEG of the same shot.
    places = np.where(np.isnan(ranked.places) & ~np.isnan(ranked.overall), -1.0, ranked.places)
    places[list(ranked.twins)] = np.nan
    shown, left_out = _choose(best_first(places))
    results, skipped = _read(ranked, shown)
    pictures = [results[number] for number in shown]
    made = _thumbnails(pictures, thumbnails, workers)
    columns = _columns(ranked, scales, results, people) | (more or {})
    scores = {name: columns[name][np.isfinite(columns[name])] for name in list(columns)[: len(scales)]}
    common = None  # it is taken off the names, which it would hide on a narrow card
    with suppress(ValueError):  # no picture, or absolute paths beside relative ones
        common = os.path.commonpath([os.path.dirname(result.path) for result in results.values()])
    raws = {number: results[raw].path for raw, number in ranked.twins.items() if raw in results}
    named = {"score" if len(scales) == 1 else name: scale for name, scale in scales.items()}
    stars = [stars_of(place) if scales and np.isfinite(place) else 0 for place in ranked.places]
    content = {
        "title": title or _title(common, int(np.isfinite(places).sum())),
        "lead": lead,
        "meanings": [f"{name.capitalize()}, {of.lowest:g}-{of.highest:g}: {of.meaning}." for name, of in named.items()],
        "folder": printable(common or ""),
        "facts": {name: printable(fact) for name, fact in facts.items()},
        "tables": tables,
        "distributions": [draw_distribution(name, known) for name, known in scores.items() if len(known)],
        "left_out": left_out,
        "pictures": (
            {"image": image, "place": ranked.place_of(number) or Place(), "stars": stars[number]}
            | _describe_file(results[number], Path(path).parent, common or "", raws.get(number))
            | _describe_numbers(columns, number, len(ranked.scores))
            | _describe_result(results[number], scales, None if people is None else people[number])
            for number, image in zip(shown, made, strict=True)
        ),
        "skipped": skipped,
        "skipped_count": int(np.isnan(ranked.overall).sum()),
    }
    _render(path, content | _controls(ranked, columns, pictures))


def _controls(ranked: RankedSet, columns: _Columns, pictures: list[Result]) -> dict[str, Any]:
    """What pictures can be sorted and filtered by."""
    keys, ranked_by = [printable(name) for name in columns], _ALL if ranked.order == OVERALL else ranked.order
    return {
        "count": len(pictures),
        "page_size": PAGE,
        "keys": keys,
        "sorted_by": ranked_by if ranked_by in keys else keys[0],
        "has_times": any(result.taken for result in pictures),
        "bursts": [len(burst) for burst in ranked.bursts],
        "faults": sorted({result.fault.kind for result in pictures if result.fault}),
        "has_remarks": any(result.warning or result.error for result in pictures),
    }


def _choose(order: NDArray[np.intp]) -> tuple[list[int], str]:
    """Of the numbers of the pictures, best first: all, or the best, the worst and some between; what was left out."""
    if len(order) <= MOST:
        return order.tolist(), ""
    ends = MOST // 5
    between = np.linspace(ends, len(order) - ends - 1, MOST - 2 * ends).round().astype(int)
    parts = f"the {ends:,} best, the {ends:,} worst, and every so many between them."
    return order[np.r_[:ends, between, len(order) - ends : len(order)]].tolist(), f"{MOST:,} of {len(order):,}: {parts}"


def _read(ranked: RankedSet, shown: list[int]) -> tuple[dict[int, Result], list[tuple[str, str]]]:
    """The results of some numbers and of their raw files; (name, reason) of the first that have no score."""
    wanted, results, skipped = {*shown}, dict[int, Result](), list[tuple[str, str]]()
    wanted |= {raw for raw, number in ranked.twins.items() if number in wanted}
    for number, result in enumerate(ranked.list_results()):
        if number in wanted:
            results[number] = result
        elif np.isnan(ranked.overall[number]) and len(skipped) < 1000:
            skipped.append((printable(result.path), printable(result.error or "")))
    return results, skipped


def _columns(
    ranked: RankedSet, scales: dict[str, Scale], results: dict[int, Result], people: NDArray[np.float64] | None
) -> _Columns:
    """{name: float64 (N,)}, what pictures can be sorted by: the scores first."""
    columns = {"score" if len(scales) == 1 else name: values for name, values in ranked.scores.items()}
    score = next(iter(columns.values()))
    if len(columns) > 1:
        columns[_ALL] = 100 * ranked.overall
    deviations = np.full(len(score), np.nan)
    for number, result in results.items():
        votes = (said for name in scales if isinstance(said := result.scores.get(name), Score))
        deviations[number] = next((of.std for of in votes), np.nan)
    if np.isfinite(deviations).any():
        columns["spread of votes"] = deviations
    if people is not None:
        columns |= {"people": mean_scores(people), "difference from people": np.abs(score - mean_scores(people))}
    return columns


def _title(common: str | None, count: int) -> str:
    folder = "" if common is None else os.path.basename(os.path.abspath(common))
    return printable(f"{folder and f'{folder}: '}{count:,} picture{'s' * (count != 1)}")


def _thumbnails(
    results: Sequence[Result], kept: Thumbnails | None, workers: int
) -> Iterator[tuple[str | None, str | None]]:
    """(base64 text, None) or (None, reason) for each picture."""

    def make(result: Result) -> tuple[str | None, str | None]:
        path = local(result.path)
        if path is None:
            return None, "the file was not found"
        try:
            found = kept.find(path) if kept else None
            array = thumbnail(path, SIDE) if found is None else found
        except (ImageError, OSError, MemoryError) as error:
            return None, printable(str(error) or "it needs more memory than there is")
        return base64.b64encode(array.tobytes()).decode(), None

    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(make, results)


def _listed(path: Path | StoredFile) -> str:
    return printable(name_to_text(path if local(path) is None else os.path.abspath(path)))


def _describe_file(result: Result, folder: Path, common: str, raw: Path | StoredFile | None) -> dict[str, Any]:
    """Its name on the page, its name in a list, its address as seen from the page's folder, and its raw file."""
    inner, _, file = printable(str(result.path).removeprefix(common).lstrip(os.sep if common else "")).rpartition(os.sep)
    path, link = local(result.path), None
    if path and path.exists():
        with suppress(ValueError):  # on another drive of Windows
            link = os.fsencode(os.path.relpath(path, folder)).replace(os.sep.encode(), b"/")
    return {
        "inner": inner and inner + os.sep,
        "file": file,
        "listed": _listed(result.path),
        "raw": raw and (printable(raw.name), _listed(raw)),
        "link": link and quote_from_bytes(link),  # so that no name can be an address of another kind
    }


def _describe_numbers(columns: _Columns, number: int, score_count: int) -> dict[str, Any]:
    known = [(printable(name), finite(float(values[number]))) for name, values in columns.items()]
    return {
        "numbers": json.dumps([None if value is None else round(value, 6) for _, value in known], allow_nan=False),
        "scores": [(name, "none" if value is None else f"{value:.2f}") for name, value in known[:score_count]],
        "others": [(name, f"{value:.2f}") for name, value in known[score_count:] if value is not None],
    }


def _describe_result(result: Result, scales: dict[str, Scale], people: NDArray[np.float64] | None) -> dict[str, Any]:
    votes = {name: said for name, said in result.scores.items() if isinstance(said, Score)}
    ranks = ((min(found, 99), of.population) for of in votes.values() if (found := of.percentile) is not None)
    drawn: Any = {"predicted votes" if name in scales else printable(name): of.histogram for name, of in votes.items()}
    if people is not None and people.ndim:
        drawn["people's votes"] = people
    return {
        "notes": [f"better than {percent:.0f} % of {population}'s photographs" for percent, population in ranks],
        "fault": result.fault,
        "size": (result.width, result.height),
        "histograms": [draw_votes(name, of) for name, of in drawn.items()],
        "taken": result.taken and result.taken.isoformat(" ", "seconds"),
        "remark": printable(result.warning or result.error or ""),
    }


def _render(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    import jinja2

    folder = Path(__file__).with_name("page")
    for name in ("style", "script"):
        text = (folder / {"style": "page.css", "script": "page.js"}[name]).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        content |= {name: text, f"{name}_hash": f"sha256-{digest}"}
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    with written_whole(path, durable=True) as file:
        for part in environment.get_template("page.html").generate(content):
            file.write(part.encode())


def draw_votes(name: str, shares: ArrayLike) -> dict[str, str]:
    """A histogram of somebody's votes 1-10, shares (10,), as a path in a box of 100x30, and what a reader is told of it."""
    found = np.asarray(shares, np.float64)
    heights = 28 * found / max(found.max(), 1e-9)
    said = ", ".join(f"{share:.0%} vote {vote}" for vote, share in enumerate(found, start=1) if share >= 0.005)
    return {"name": name, "path": _bars(heights, 0, 100, 30), "label": f"{name}: {said}"}


def draw_distribution(name: str, scores: NDArray[np.float64]) -> dict[str, Any]:
    """The scores of a set, float64 (N,), at least one, as a histogram with axes, and a text that sums them up."""
    # Between two ticks: 1, 2, 5, 10, 20 ..., so that there are at most a dozen.
    steps = (factor * 10**power for power in range(7) for factor in (1, 2, 5))
    step = next(step for step in steps if np.ptp(scores) <= 10 * step)
    lowest = step * np.floor(scores.min() / step)
    highest = max(step * np.ceil(scores.max() / step), lowest + step)
    ticks = np.arange(lowest, highest + step / 2, step)
    places = np.linspace(_LEFT, _RIGHT, len(ticks)).round(1).tolist()
    bins = (len(ticks) - 1) * (10 if len(scores) >= 400 else 5 if len(scores) >= 60 else 2)
    counts, _ = np.histogram(scores, bins, (lowest, highest))
    most = int(counts.max())
    return {
        "name": name,
        "box": "0 0 420 190",
        "bars": _bars((_FLOOR - _TOP) * counts / most, _LEFT, _RIGHT, _FLOOR),
        "axes": f"M{_LEFT} {_TOP}V{_FLOOR}H{_RIGHT}",
        "across": [{"at": place, "text": f"{tick:g}"} for place, tick in zip(places, ticks, strict=True)],
        "up": [{"at": _FLOOR, "text": "0"}, {"at": _TOP, "text": f"{most:,}"}],
        "label": f"{len(scores):,} scores from {scores.min():.2f} to {scores.max():.2f}, mean {scores.mean():.2f}, "
        f"median {np.median(scores):.2f}, standard deviation {scores.std():.2f}.",
    }


def _bars(heights: NDArray[np.float64], left: float, right: float, floor: float) -> str:
    """Bars between two places, which stand on the floor and have a gap of a fifth of their width."""
    width = (right - left) / len(heights)
    return "".join(
        f"M{left + (place + 0.1) * width:.1f} {floor}v{-height:.1f}h{0.8 * width:.1f}v{height:.1f}z"
        for place, height in enumerate(heights)
        if height > 0.05
    )

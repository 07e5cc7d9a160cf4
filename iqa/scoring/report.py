"""Scores as a page: one HTML file, thumbnails included, that opens in a browser without a server.

The page is made of the parts in `iqa/scoring/page/`. Whatever a file is called, its name is shown and never run: the
template escapes it, the script only compares it, and the page's own policy lets no other script run.
"""

import base64
import hashlib
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa.cards import Scale
from iqa.errors import OutputError
from iqa.files import name_to_text, printable, written_whole
from iqa.images.stored import local
from iqa.images.thumbnails import Thumbnails, thumbnail
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import attempt
from iqa.scoring.drawings import draw_distribution, draw_votes
from iqa.scoring.journal import Entry
from iqa.scoring.pool import Workers
from iqa.scoring.writers import values_of

#: Pictures in a file, at most: with their thumbnails some 40 MB.
MOST = 5000

#: Pictures that are shown at a time: Chromium takes seconds to lay out 5,000 whenever one of them changes its size.
PAGE = 200

#: Pixels of a thumbnail's longer side.
SIDE = 200

_SKIPPED = 1000  # skipped files that are named


@dataclass
class Picture:
    """A picture of the page.

    Attributes:
        name: its path or its name; it is shown, and listed where the picture is selected.
        path: of the file, or None where it is not known.
        values: {name: number or None}, the same names for all pictures of a page; it can be sorted by each.
        lines: {name: text}, what else is said of it.
        histograms: {name: float (10,)}, shares of the votes 1-10; the second and every other is drawn as an outline.
        taken: when it was taken, if that is known.
        burst, best: the number of its burst, if it is in one, and whether it is the best of it.
        remark: a warning, or why a score is missing.
    """

    name: str
    path: Path | None
    values: dict[str, float | None]
    lines: dict[str, str] = field(default_factory=dict)
    histograms: dict[str, ArrayLike] = field(default_factory=dict)
    taken: datetime | None = None
    burst: int | None = None
    best: bool = False
    remark: str | None = None


def check_report(path: str | os.PathLike[str]) -> None:
    """Make sure that a page of this name can be written.

    Raises:
        OutputError: if the suffix is not .html, or Jinja2 is missing.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: a page is written to a name like page.html")
    if not importlib.util.find_spec("jinja2"):
        raise OutputError(f"{path}: a page needs Jinja2: pip install 'image-quality-assessment[report]'")


def is_page(path: Path) -> bool:
    """Whether `write_page` wrote a file."""
    with open(path, "rb") as file:
        return b'<meta name="generator" content="image-quality-assessment">' in file.read(1000)


def write_report(
    path: str | os.PathLike[str],
    list_entries: Callable[[], Iterable[Entry]],
    provenance: dict[str, str],
    scale: Scale,
    workers: int = 0,
) -> None:
    """Write the page of a run of one model.

    Args:
        path: of the page.
        list_entries: function that lists what was scored and skipped, each time in the same order.
        provenance: {name: text} of the model.
        scale: of the model.
        workers: how many processes make thumbnails; 0 for none.
    """
    scores = np.fromiter((_score_of(entry, scale) for entry in list_entries()), np.float64)
    lead = f"Scores from {scale.lowest:g} to {scale.highest:g}. {scale.meaning[:1].upper()}{scale.meaning[1:]}."
    write_run(
        path, list_entries, lambda _, entry: _picture(entry, scale), scores, {"score": scores}, provenance, lead, workers
    )


def write_run(
    path: str | os.PathLike[str],
    list_entries: Callable[[], Iterable[Entry]],
    show: Callable[[int, Entry], Picture],
    places: NDArray[np.float64],
    scores: dict[str, NDArray[np.float64]],
    provenance: dict[str, str],
    lead: str,
    workers: int = 0,
    sorted_by: str | None = None,
    thumbnails: Thumbnails | None = None,
) -> None:
    """Write the page of a run: at most `MOST` of its pictures, and what could not be scored.

    Args:
        path: of the page.
        list_entries: function that lists what was scored and skipped, each time in the same order.
        show: function of the number of an entry and the entry, which makes its `Picture`.
        places: float64 (N,) of the entries, higher is better and shown first; NaN for what could not be scored.
        scores: {name: float64 (N,), NaN where there is none}, the first of the `values` of each picture.
        provenance: {name: text} of the models.
        lead: what the scores mean.
        workers: how many processes make thumbnails; 0 for none.
        sorted_by: which of the `values` gave the places; the first if it is not given.
        thumbnails: those that were kept when the pictures were scored; the others are made now.
    """
    skipped: list[tuple[str, str]] = []
    skipped_count = 0
    shown = _choose(places)
    wanted = set(shown.tolist())
    pictures: dict[int, Picture] = {}
    for number, entry in enumerate(list_entries()):
        if number in wanted:
            pictures[number] = show(number, entry)
        elif np.isnan(places[number]):
            skipped_count += 1
            if len(skipped) < _SKIPPED:
                skipped.append((printable(entry.path or entry.key), printable(entry.reason or "")))
    count = int(np.isfinite(places).sum())
    left_out = ""
    if len(shown) < count:
        left_out = (
            f"{len(shown):,} of {count:,}: the {MOST // 5:,} best, the {MOST // 5:,} worst, and every so many between them."
        )
    write_page(
        path,
        [pictures[number] for number in shown],
        title=_title(pictures.values(), count, provenance["model"]),
        lead=lead,
        workers=workers,
        facts={name: printable(fact) for name, fact in provenance.items()},
        distributions=_draw(scores),
        left_out=left_out,
        score_count=len(scores),
        sorted_by=sorted_by,
        thumbnails=thumbnails,
        ends=True,
        skipped=skipped,
        skipped_count=skipped_count,
    )


def _draw(scores: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """The distribution of each of the scores that some pictures have."""
    return [draw_distribution(name, of[np.isfinite(of)]) for name, of in scores.items() if np.isfinite(of).any()]


def _title(pictures: Iterable[Picture], count: int, models: str) -> str:
    folder = _common_folder(pictures)
    whole = None if folder is None else Path(os.path.abspath(folder))
    place = f"{whole.name or whole}: " if whole else ""
    return printable(f"{place}{count:,} picture{'s' * (count != 1)} scored by {models.replace('; ', ' and ')}")


def _choose(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """The numbers of the pictures to show, best first: all, or the best, the worst and some between them."""
    order = np.argsort(-places, kind="stable")[: np.isfinite(places).sum()]
    if len(order) <= MOST:
        return order
    ends = MOST // 5
    between = np.linspace(ends, len(order) - ends - 1, MOST - 2 * ends).round().astype(int)
    return order[np.r_[:ends, between, len(order) - ends : len(order)]]


def _score_of(entry: Entry, scale: Scale) -> float:
    if entry.prediction is None or entry.prediction.output is None:
        return math.nan
    return float(values_of(entry.prediction, scale)["mean"])


def _picture(entry: Entry, scale: Scale) -> Picture:
    assert entry.prediction
    said = values_of(entry.prediction, scale)
    picture = Picture(
        str(entry.path or entry.key), local(entry.path), {"score": said["mean"]}, remark=entry.prediction.warning
    )
    if "histogram" in said:
        picture.values["standard deviation"] = said["std"]
        picture.histograms["predicted votes"] = said["histogram"]
    if "percentile" in said:
        picture.lines[f"above in {scale.population}"] = f"{said['percentile']:.0f} %"
    if entry.label is not None:
        picture.values |= {"people": entry.label_mean, "error": abs(said["mean"] - entry.label_mean)}
        if "histogram" in said:
            picture.histograms["people's votes"] = entry.label
    return picture


def write_page(
    path: str | os.PathLike[str],
    pictures: Sequence[Picture],
    title: str,
    lead: str,
    workers: int = 0,
    sorted_by: str | None = None,
    thumbnails: Thumbnails | None = None,
    **parts: Any,
) -> None:
    """Write a page; the file is whole or not there. The thumbnails are never in memory together.

    Args:
        path: of the page.
        pictures: list of `Picture`, in the order in which they are shown first.
        title, lead: a heading, and a line below it.
        workers: how many processes make thumbnails; 0 for none.
        sorted_by: which of the values the pictures are sorted by, highest first; by default the first.
        thumbnails: see `write_run`.
        parts: of `page.html`: facts {name: text}, tables, distributions, left_out, skipped, skipped_count; score_count,
            how many of the values are scores (1); ends, whether the 20 best and the 20 worst can be called up.
    """
    import jinja2

    folder = Path(__file__).with_name("page")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    common = _common_folder(pictures) or ""
    score_count = parts.setdefault("score_count", 1)
    keys = [printable(name) for name in pictures[0].values] if pictures else ["score"]
    content = {
        "title": title,
        "folder": printable(common),
        "lead": lead,
        "count": len(pictures),
        "page_size": PAGE,
        "keys": keys,
        "sorted_by": sorted_by or keys[0],
        "has_times": any(picture.taken for picture in pictures),
        "has_bursts": any(picture.burst for picture in pictures),
        "has_remarks": any(picture.remark for picture in pictures),
        "pictures": (
            _card(number, picture, *thumb, Path(path).parent, common, score_count)
            for number, (picture, thumb) in enumerate(
                zip(pictures, _thumbnails(pictures, workers, thumbnails), strict=True)
            )
        ),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("page.html")
    with written_whole(path, durable=True) as file:
        for part in template.generate(content | parts):
            file.write(part.encode())


def _common_folder(pictures: Iterable[Picture]) -> str | None:
    """The folder that all pictures lie below, if there is one: "" for the one in which this process runs.

    It is taken off their names, which it would hide on a narrow card.
    """
    try:
        return os.path.commonpath([os.path.dirname(picture.name) for picture in pictures])
    except ValueError:  # no picture, or absolute paths beside relative ones
        return None


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _thumbnails(
    pictures: Sequence[Picture], workers: int, kept: Thumbnails | None
) -> Iterator[tuple[str | None, str | None]]:
    """(base64 text, None) or (None, reason) for each picture: no picture takes the page down, see `iqa.scoring.pool`."""
    there = [bool(picture.path and kept and kept.has(picture.path)) for picture in pictures]
    paths = [picture.path for picture, is_kept in zip(pictures, there, strict=True) if picture.path and not is_kept]
    with ExitStack() as stack:
        made: Iterator[tuple[NDArray[Any] | None, str | None]] = map(_make_thumbnail, paths)
        if workers and paths:
            pool = stack.enter_context(Workers({"thumbnail": SIDE}, workers))
            made = ((answer.array, answer.reason) for _, answer in pool.map(paths))
        for picture, is_kept in zip(pictures, there, strict=True):
            array: NDArray[Any] | None
            reason: str | None
            if not picture.path:
                array, reason = None, "the file was not found"
            elif kept and is_kept:
                array, reason = kept.find(picture.path), "its thumbnail cannot be read"
            else:
                array, reason = next(made)
            yield (None, reason) if array is None else (base64.b64encode(array.tobytes()).decode(), None)


def _make_thumbnail(path: Path) -> tuple[NDArray[np.uint8] | None, str | None]:
    view = attempt(lambda image: thumbnail(image, SIDE), path)
    return (None, view.reason) if isinstance(view, Prediction) else (view, None)


def _card(
    number: int, picture: Picture, thumb: str | None, missing: str | None, folder: Path, common: str, score_count: int
) -> dict[str, Any]:
    """What `page.html` shows of a picture."""
    known = {
        printable(name): None if value is None or not math.isfinite(value) else float(value)
        for name, value in picture.values.items()
    }
    scores = dict(islice(known.items(), score_count))
    others = {
        name: f"{value:#.3g}".rstrip(".") for name, value in known.items() if name not in scores and value is not None
    }
    name = printable(picture.name.removeprefix(common).lstrip(os.sep) if common else picture.name)
    inner, _, file = name.rpartition(os.sep)
    return {
        "number": number,
        "inner": inner and inner + os.sep,
        "file": file,
        "listed": printable(name_to_text(picture.path or picture.name)),
        "link": _link(picture.path, folder) if picture.path else None,
        "thumbnail": thumb,
        "missing": missing and printable(missing),
        "numbers": json.dumps([None if value is None else round(value, 6) for value in known.values()], allow_nan=False),
        "scores": [(name, "none" if value is None else f"{value:.2f}") for name, value in scores.items()],
        "lines": [(name, printable(line)) for name, line in (others | picture.lines).items()],
        "histograms": [draw_votes(printable(name), shares) for name, shares in picture.histograms.items()],
        "taken": picture.taken and picture.taken.isoformat(" ", "seconds"),
        "burst": picture.burst,
        "best": picture.best,
        "remark": picture.remark and printable(picture.remark),
    }


def _link(path: str | os.PathLike[str], folder: Path) -> str:
    """The picture's address as seen from the page; quoted, so that no name can be an address of another kind."""
    try:
        path = os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        path = os.path.abspath(path)
    return quote_from_bytes(os.fsencode(path).replace(os.sep.encode(), b"/"))

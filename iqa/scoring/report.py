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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqa.cards import Scale
from iqa.errors import OutputError
from iqa.files import printable, written_whole
from iqa.images.reading import thumbnail
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import attempt
from iqa.scoring.journal import Entry
from iqa.scoring.pool import Workers
from iqa.scoring.writers import values_of

#: Pictures on a page, at most: with their thumbnails some 30 MB, which browsers still sort at once.
MOST = 5000

#: Pixels of a thumbnail's longer side.
SIDE = 200

_STRIP = 6  # pictures shown as the best and as the worst
_SKIPPED = 1000  # skipped files that are named


@dataclass
class Picture:
    """A picture of the page.

    Attributes:
        name: as shown.
        path: of the file, or None where it is not known.
        values: {name: number or None}, the same names for all pictures of a page; the first is the score.
        lines: {name: text}, what else is said of it.
        histograms: {name: float (10,)}, shares of the votes 1-10; the second and every other is drawn as an outline.
    """

    name: str
    path: Path | None
    values: dict[str, float | None]
    lines: dict[str, str] = field(default_factory=dict)
    histograms: dict[str, ArrayLike] = field(default_factory=dict)


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
    show: Callable[[Entry], Picture] | None = None,
) -> None:
    """Write the page of a run.

    Args:
        path: of the page.
        list_entries: function that lists what was scored and skipped, each time in the same order.
        provenance: {name: text} of the model.
        scale: of the model.
        workers: how many processes make thumbnails; 0 for none.
        show: function that makes a `Picture` of a scored entry; by default one with the score of a single model.
    """
    show = show or (lambda entry: _picture(entry, scale))
    found: list[float] = []
    skipped: list[tuple[str, str | None]] = []
    skipped_more = 0
    for entry in list_entries():
        scored = entry.prediction is not None and entry.prediction.output is not None
        score = next(iter(show(entry).values.values())) if scored else None
        found.append(np.nan if score is None else score)
        if not scored and len(skipped) < _SKIPPED:
            skipped.append((printable(entry.path or entry.key), printable(entry.reason or "")))
        elif not scored:
            skipped_more += 1
    scores = np.array(found, np.float64)
    shown = _choose(scores)
    places = set(shown.tolist())
    pictures = {place: show(entry) for place, entry in enumerate(list_entries()) if place in places}
    count = int(np.isfinite(scores).sum())
    folder = _take_off_common_folder(list(pictures.values()))
    left_out = ""
    if len(shown) < count:
        left_out = f"{len(shown)} of {count}: the {MOST // 5} best, the {MOST // 5} worst, and every so many between them."
    write_page(
        path,
        [pictures[place] for place in shown],
        title=f"{provenance['model']}: {count} pictures",
        lead=f"Scores from {scale.lowest:g} to {scale.highest:g}. {scale.meaning[:1].upper()}{scale.meaning[1:]}."
        + (f" {len(skipped) + skipped_more} files could not be scored." if skipped else "")
        + (f" Folder: {printable(folder)}" if folder else ""),
        facts={name: printable(fact) for name, fact in provenance.items()},
        distribution=_distribution(scores[np.isfinite(scores)]),
        left_out=left_out,
        strips=True,
        skipped=skipped,
        skipped_more=skipped_more,
        workers=workers,
    )


def _choose(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """The places of the pictures to show, best first: all, or the best, the worst and some between them."""
    order = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]
    if len(order) <= MOST:
        return order
    ends = MOST // 5
    between = np.linspace(ends, len(order) - ends - 1, MOST - 2 * ends).round().astype(int)
    return order[np.r_[:ends, between, len(order) - ends : len(order)]]


def _take_off_common_folder(pictures: list[Picture]) -> str:
    """The folder that all pictures lie below. It is taken off their names, which it would hide on a narrow card."""
    try:
        folder = os.path.commonpath([os.path.dirname(picture.name) for picture in pictures])
    except ValueError:  # no picture, or absolute paths beside relative ones
        return ""
    for picture in pictures:
        picture.name = picture.name.removeprefix(folder).lstrip(os.sep)
    return folder


def _picture(entry: Entry, scale: Scale) -> Picture:
    assert entry.prediction
    said = values_of(entry.prediction, scale)
    picture = Picture(printable(entry.path or entry.key), entry.path, {"score": said["mean"]})
    if "histogram" in said:
        picture.values["standard deviation"] = said["std"]
        picture.histograms["model"] = said["histogram"]
    if "percentile" in said:
        picture.lines[f"of {scale.population} score lower"] = f"{said['percentile']:.0f} %"
    if entry.prediction.warning:
        picture.lines["warning"] = entry.prediction.warning
    if entry.label is not None:
        picture.values |= {"people": entry.label_mean, "error": abs(said["mean"] - entry.label_mean)}
        if "histogram" in said:
            picture.histograms["people"] = entry.label
    return picture


def write_page(
    path: str | os.PathLike[str],
    pictures: Sequence[Picture],
    title: str,
    lead: str,
    workers: int = 0,
    strips: bool = False,
    **parts: Any,
) -> None:
    """Write a page; the file is whole or not there.

    Args:
        path: of the page.
        pictures: list of `Picture`, in the order in which they are shown first.
        title, lead: a heading, and a line below it.
        workers: how many processes make thumbnails; 0 for none.
        strips: show the first and the last pictures as the best and the worst.
        parts: of `page.html`: facts {name: text}, tables, distribution, left_out, skipped, skipped_more.
    """
    import jinja2

    folder = Path(__file__).with_name("page")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    shown = [
        _card(number, picture, *thumb, Path(path).parent)
        for number, (picture, thumb) in enumerate(zip(pictures, _thumbnails(pictures, workers), strict=True))
    ]
    ends: list[dict[str, Any]] = []
    if strips and len(shown) >= 2 * _STRIP:
        ends = [{"title": "Best", "pictures": shown[:_STRIP]}, {"title": "Worst", "pictures": shown[: -_STRIP - 1 : -1]}]
    loader = jinja2.FileSystemLoader(folder)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("page.html")
    content = {
        "title": title,
        "lead": lead,
        "pictures": shown,
        "keys": list(pictures[0].values) if pictures else ["score"],
        "strips": ends,
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }
    with written_whole(path, durable=True) as file:
        for part in template.generate(content | parts):
            file.write(part.encode())


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _thumbnails(pictures: Sequence[Picture], workers: int) -> Iterator[tuple[str | None, str | None]]:
    """(base64 text, None) or (None, reason) for each picture: no picture takes the page down, see `iqa.scoring.pool`."""
    paths = [picture.path for picture in pictures if picture.path]
    if workers and paths:
        with Workers({"thumbnail": SIDE}, workers) as pool:
            made = [(answer.array, answer.reason) for _, answer in pool.map(paths)]
    else:
        made = [_make_thumbnail(path) for path in paths]
    remaining = iter(made)
    for picture in pictures:
        array, reason = next(remaining) if picture.path else (None, "the file was not found")
        yield (None, reason) if array is None else (base64.b64encode(array.tobytes()).decode(), None)


def _make_thumbnail(path: Path) -> tuple[NDArray[np.uint8] | None, str | None]:
    view = attempt(lambda image: thumbnail(image, SIDE), path)
    return (None, view.reason) if isinstance(view, Prediction) else (view, None)


def _card(number: int, picture: Picture, thumb: str | None, missing: str | None, folder: Path) -> dict[str, Any]:
    """What `page.html` shows of a picture."""
    known = [None if value is None or not math.isfinite(value) else float(value) for value in picture.values.values()]
    shown = {name: f"{value:.3f}" for name, value in zip(picture.values, known, strict=True) if value is not None}
    return {
        "number": number,
        "name": printable(picture.name),
        "shown": next(iter(shown.values()), ""),
        "link": _link(picture.path, folder) if picture.path else None,
        "thumbnail": thumb,
        "missing": missing and printable(missing),
        "numbers": json.dumps([None if value is None else round(value, 6) for value in known], allow_nan=False),
        "lines": [(name, printable(line)) for name, line in (shown | picture.lines).items()],
        "histograms": [_bars(name, shares) for name, shares in picture.histograms.items()],
    }


def _link(path: str | os.PathLike[str], folder: Path) -> str:
    """The picture's address as seen from the page; quoted, so that no name can be an address of another kind."""
    try:
        path = os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        path = os.path.abspath(path)
    return quote_from_bytes(os.fsencode(path).replace(os.sep.encode(), b"/"))


def _bars(name: str, shares: ArrayLike) -> dict[str, str]:
    """A histogram of votes as a path in a box of 100x30, the highest bar full height, and as a text."""
    found = np.asarray(shares, np.float64)
    width, heights = 100 / len(found), 28 * found / max(found.max(), 1e-9)
    return {"path": _path(heights, width, 30), "label": f"{name}: " + _votes(found)}


def _votes(shares: NDArray[np.float64]) -> str:
    return ", ".join(f"{share:.0%} vote {vote}" for vote, share in enumerate(shares, start=1) if share >= 0.005)


def _path(heights: NDArray[np.float64], width: float, floor: float) -> str:
    bars = (
        f"M{place * width + 0.1 * width:.1f} {floor}v{-height:.1f}h{0.8 * width:.1f}v{height:.1f}z"
        for place, height in enumerate(heights)
        if height > 0.05
    )
    return "".join(bars)


def _distribution(scores: NDArray[np.float64]) -> dict[str, Any] | None:
    """The scores of a set as a histogram in a box of 600x150, 10 bars for a whole score."""
    if not len(scores):
        return None
    lowest = int(np.floor(scores.min()))
    highest = max(int(np.ceil(scores.max())), lowest + 1)
    counts, _ = np.histogram(scores, 10 * (highest - lowest), (lowest, highest))
    width = 600 / len(counts)
    return {
        "path": _path(120 * counts / counts.max(), width, 126),
        "ticks": [
            {"x": np.clip(10 * (tick - lowest) * width, 8, 592), "text": tick} for tick in range(lowest, highest + 1)
        ],
        "label": f"{len(scores)} scores from {scores.min():.2f} to {scores.max():.2f}, mean {scores.mean():.2f}, "
        f"median {np.median(scores):.2f}, standard deviation {scores.std():.2f}.",
    }

"""Scores as a page to look at: one HTML file that holds thumbnails and all, and opens in a browser without a server.

The page is made of the parts in `iqa/scoring/page/`. Whatever a file is called, its name is shown and never run: the template
escapes it, the script only compares it, and the page's own policy lets no other script run.
"""

import base64
import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np

from iqa.errors import ImageError, OutputError
from iqa.files import printable, written_whole
from iqa.images.reading import thumbnail
from iqa.labels.opinions import Prediction
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
    values: dict
    lines: dict = field(default_factory=dict)
    histograms: dict = field(default_factory=dict)


def check_report(path):
    """Make sure that a page of this name can be written.

    Raises:
        OutputError: if the suffix is not .html, or Jinja2 is missing.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: a page is written to a name like page.html")
    if not importlib.util.find_spec("jinja2"):
        raise OutputError(f"{path}: a page needs Jinja2: pip install 'image-quality-assessment[report]'")


def write_report(path, images, provenance, scale, workers=0):
    """Write the page of a run.

    Args:
        path: of the page.
        images: function without arguments that returns an iterable of `iqa.scoring.journal.Image`, each time in the same order.
        provenance: {name: text} of the model.
        scale: (lowest, highest) score.
        workers: processes that make thumbnails; 0 for none.
    """
    scores, skipped, skipped_more = [], [], 0
    for image in images():
        scores.append(np.nan if image.output is None else Prediction(image.output).score)
        if image.output is None and len(skipped) < _SKIPPED:
            skipped.append((printable(image.path or image.key), image.reason))
        elif image.output is None:
            skipped_more += 1
    scores = np.array(scores)
    shown = _chosen(scores)
    places, pictures = set(shown.tolist()), {}
    for place, image in enumerate(images()):
        if place in places:
            pictures[place] = _picture(image)
    count = int(np.isfinite(scores).sum())
    folder = _common_folder(list(pictures.values()))
    left_out = ""
    if len(shown) < count:
        left_out = f"{len(shown)} of {count}: the {MOST // 5} best, the {MOST // 5} worst, and every so many between them."
    write_page(
        path,
        [pictures[place] for place in shown],
        title=f"{provenance['model']}: {count} pictures",
        lead=f"Scores from {scale[0]} to {scale[1]}, higher is better."
        + (f" {len(skipped) + skipped_more} files could not be scored." if skipped else "")
        + (f" Folder: {folder}" if folder else ""),
        facts=provenance,
        distribution=_distribution(scores[np.isfinite(scores)]),
        left_out=left_out,
        strips=True,
        skipped=skipped,
        skipped_more=skipped_more,
        workers=workers,
    )


def _chosen(scores):
    """The places of the pictures to show, best first: all, or the best, the worst and some between them."""
    order = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]
    if len(order) <= MOST:
        return order
    ends = MOST // 5
    between = np.linspace(ends, len(order) - ends - 1, MOST - 2 * ends).round().astype(int)
    return order[np.r_[:ends, between, len(order) - ends : len(order)]]


def _common_folder(pictures):
    """The folder that all pictures lie below, as a text; taken off their names, which it would hide on a narrow card."""
    try:
        folder = os.path.commonpath([os.path.dirname(picture.name) for picture in pictures])
    except ValueError:  # no picture, or absolute paths beside relative ones
        return ""
    for picture in pictures:
        picture.name = picture.name.removeprefix(folder).lstrip(os.sep)
    return folder


def _picture(image):
    said = values_of(image.output)
    picture = Picture(printable(image.path or image.key), image.path, {"score": said["mean"]})
    if "histogram" in said:
        picture.values["standard deviation"] = said["std"]
        picture.lines["of AVA score lower"] = f"{said['percentile']:.0f} %"
        picture.histograms["model"] = said["histogram"]
    if image.label is not None:
        people = values_of(np.asarray(image.label, np.float64))
        picture.values |= {"people": people["mean"], "error": abs(said["mean"] - people["mean"])}
        if "histogram" in people:
            picture.histograms["people"] = people["histogram"]
    return picture


def write_page(path, pictures, title, lead, workers=0, strips=False, **parts):
    """Write a page; the file is whole or not there.

    Args:
        path: of the page.
        pictures: list of `Picture`, in the order in which they are shown first.
        title, lead: a heading, and a line below it.
        workers: processes that make thumbnails; 0 for none.
        strips: show the first and the last pictures as the best and the worst.
        parts: of `page.html`: facts {name: text}, tables, distribution, left_out, skipped, skipped_more.
    """
    import jinja2

    folder = Path(__file__).with_name("page")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    shown = [
        _card(number, picture, *thumb, Path(path).parent)
        for number, (picture, thumb) in enumerate(zip(pictures, _thumbnails(pictures, workers)))
    ]
    ends = []
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
    with written_whole(path) as file:
        for part in template.generate(content | parts):
            file.write(part.encode("utf-8", "backslashreplace"))


def _hash(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _thumbnails(pictures, workers):
    """(base64 text, None) or (None, reason) for each picture: no picture takes the page down, see `iqa.scoring.pool`."""
    paths = [picture.path for picture in pictures if picture.path]
    if workers and len(paths) > 1:
        from iqa.scoring.pool import Workers

        with Workers({"thumbnail": SIDE}, workers) as pool:
            made = [(array, error) for _, array, error in pool.map(paths)]
    else:
        made = [_made(path) for path in paths]
    made = iter(made)
    for picture in pictures:
        array, error = next(made) if picture.path else (None, "the file was not found")
        yield (None, error) if array is None else (base64.b64encode(array.tobytes()).decode(), None)


def _made(path):
    try:
        return thumbnail(path, SIDE), None
    except ImageError as error:
        return None, str(error)


def _card(number, picture, thumb, missing, folder):
    """What `page.html` shows of a picture."""
    values = {name: f"{value:.3f}" for name, value in picture.values.items() if value is not None}
    return {
        "number": number,
        "name": picture.name,
        "shown": next(iter(values.values())),
        "link": _link(picture.path, folder) if picture.path else None,
        "thumbnail": thumb,
        "missing": missing,
        "numbers": json.dumps([None if v is None else round(float(v), 6) for v in picture.values.values()]),
        "lines": list((values | picture.lines).items()),
        "histograms": [_bars(name, shares) for name, shares in picture.histograms.items()],
    }


def _link(path, folder):
    """The picture's address as seen from the page; quoted, so that no name can be an address of another kind."""
    try:
        path = os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        path = os.path.abspath(path)
    return quote_from_bytes(os.fsencode(path).replace(os.sep.encode(), b"/"))


def _bars(name, shares):
    """A histogram of votes as a path in a box of 100x30, the highest bar full height, and as a text."""
    shares = np.asarray(shares, float)
    width, heights = 100 / len(shares), 28 * shares / max(shares.max(), 1e-9)
    return {"path": _path(heights, width, 30), "label": f"{name}: " + _votes(shares)}


def _votes(shares):
    return ", ".join(f"{share:.0%} vote {vote}" for vote, share in enumerate(shares, start=1) if share >= 0.005)


def _path(heights, width, floor):
    bars = (
        f"M{place * width + 0.1 * width:.1f} {floor}v{-height:.1f}h{0.8 * width:.1f}v{height:.1f}z"
        for place, height in enumerate(heights)
        if height > 0.05
    )
    return "".join(bars)


def _distribution(scores):
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

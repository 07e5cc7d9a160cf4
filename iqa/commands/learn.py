"""Learn a score of your own from pictures that you have rated: stars in a folder, or a table.

    iqa learn holiday/                            # stars in XMP sidecars, or in the pictures themselves
    iqa learn ratings.csv --images holiday/       # columns such as path and score, or votes
    iqa holiday/ --model mine.npz --top 20

The pictures are scored once, then a fit takes seconds. What is printed as gain is measured on pictures that the fit did not
see. It takes 30 ratings at least, and a hundred or more to gain much; rate bad pictures too. Rejected pictures count as
0 stars, and stars that `iqa --xmp` gave do not count.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iqa.cards import Scale
from iqa.commands.terminal import add_overwrite, load_quietly, natural, parser_of
from iqa.environment import now, processors
from iqa.errors import LabelError, OutputError
from iqa.files import RAW_SUFFIXES, check_target, printable
from iqa.images.finding import images_below
from iqa.labels.rating_files import GROUP_COLUMN, read_entries
from iqa.labels.ratings import RatedImage, locate_ratings
from iqa.labels.scores import read_scores
from iqa.scoring.journal import Journal
from iqa.scoring.layer import Layer, LayerCard, read_layer, write_layer
from iqa.scoring.learning import FEWEST, Learned, learn, prepare
from iqa.scoring.many import SHIPPED, load_shipped
from iqa.scoring.results import Result
from iqa.scoring.runs import RunOptions, complain, score_collection
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.sidecars import read_stars

_WIDE = 1e4  # scores that are read without --scale lie between this and its negative


def main(words: Sequence[str]) -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.prog = "iqa learn"
    add = parser.add_argument
    add("ratings", type=Path, metavar="FOLDER_OR_CSV", help="folder of pictures with stars, or a table of ratings")
    add("--images", type=Path, metavar="FOLDER", help="folder of the pictures in the table (default: the table's)")
    scale = "lowest and highest rating that the table could hold (default: those that it holds)"
    add("--scale", type=float, nargs=2, metavar=("LOWEST", "HIGHEST"), help=scale)
    add("--group", default=GROUP_COLUMN, metavar="COLUMN", help="column that says which pictures show the same subject")
    out = "file to write; its name is that of the score (default: mine.npz)"
    add("--out", type=Path, default=Path("mine.npz"), metavar="FILE", help=out)
    add_overwrite(parser)
    add("--runtime", choices=RUNTIMES, default="auto", help="inference backend (default: the fastest one installed)")
    add("--workers", type=natural, default=processors(), help="number of worker processes (default: one per processor)")
    arguments = parser.parse_args(words)
    if arguments.out.suffix != ".npz":
        parser.error(f"--out takes a name like mine.npz, not {arguments.out}")
    check_target(arguments.out, arguments.overwrite, lambda file: bool(read_layer(file)), [arguments.ratings])
    if arguments.ratings.is_dir():
        (rated, scale_of_them), failed = _read_folder(arguments.ratings)
    else:
        images = arguments.images or arguments.ratings.parent
        rated, scale_of_them, failed = _read_table(arguments.ratings, images, arguments.scale, arguments.group)
    return _learn(rated, scale_of_them, arguments) or int(failed)


def _read_folder(folder: Path) -> tuple[tuple[list[RatedImage], tuple[float, float]], bool]:
    """The pictures that have stars, the range of these, and whether some could not be read."""
    rated, failed, without = [], False, 0
    for path, reason in images_below(folder):
        try:
            stars = 0 if reason else read_stars(path)
        except OutputError as error:
            reason = str(error)
        if reason:
            complain(f"{path}: {reason}" if str(path) not in reason else reason)
            failed = True
        elif stars:
            rated.append(RatedImage(str(path), float(max(0, stars)), path))
        else:
            without += 1
    others = {image.path.with_suffix("") for image in rated if image.path and image.path.suffix.lower() not in RAW_SUFFIXES}
    shots = [
        image
        for image in rated
        if image.path and (image.path.suffix.lower() not in RAW_SUFFIXES or image.path.with_suffix("") not in others)
    ]
    print(f"{printable(folder)}: {len(shots)} pictures with stars, {without} without")
    return (shots, (min([1.0, *(image.label for image in shots)]), 5.0)), failed


def _read_table(
    file: Path, folder: Path, scale: Sequence[float] | None, group: str
) -> tuple[list[RatedImage], tuple[float, float], bool]:
    """The rated pictures of a table that are there, the range of the ratings, and whether some are missing."""
    span = (scale[0], scale[1]) if scale else _find_scale(file, group)
    images = locate_ratings(read_scores(file, span, group, onto=span), folder)
    found = [image for image in images if image.path]
    if missing := [image.name for image in images if not image.path]:
        complain(f"{folder} lacks {len(missing)} of {len(images)} rated pictures, such as {missing[0]}")
    return found, span, bool(missing)


def _find_scale(file: Path, group: str) -> tuple[float, float]:
    """The lowest and the highest of the scores in a table, or of the votes that its heading names."""
    try:
        scores = [entry.score for entry in read_entries(file, (-_WIDE, _WIDE), group, scores_first=True)]
        return min(scores), max(scores)
    except LabelError:
        with open(file, encoding="utf-8-sig") as text:
            votes = [int(vote) for vote in re.findall(r"(?<![\w.-])c?(-?\d{1,3})(?![\w.])", text.readline())]
        if len(votes) < 2:
            raise
        return min(votes), max(votes)


def _learn(rated: Sequence[RatedImage], span: tuple[float, float], arguments: argparse.Namespace) -> int:
    """Score the pictures, fit, say what it is worth, and write it; returns the exit code."""
    if len(rated) < FEWEST or len({image.label for image in rated}) < 2:
        few = f"{len(rated)} ratings, of which {len({image.label for image in rated})} differ"
        raise LabelError(f"{arguments.ratings}: {few}: {FEWEST} are needed to learn anything, and 100 are better")
    models = load_quietly(lambda: load_shipped(arguments.runtime))
    quality, results = models["quality"], dict[Path, Result]()
    assert isinstance(quality, Layer)

    def collect(journal: Journal) -> None:
        results.update({Path(result.path): result for result in journal.results() if len(result.scores) == len(SHIPPED)})

    options = RunOptions(arguments.workers, features="quality", keep=True, again=False)
    place = arguments.out.with_name(f"{arguments.out.name}.journal")
    score_collection(models, lambda: (Result(image.path) for image in rated if image.path), place, collect, options)
    usable = [image for image in rated if image.path in results]
    if len(usable) < FEWEST:
        raise LabelError(f"{arguments.ratings}: only {len(usable)} rated pictures can be scored, {FEWEST} are needed")
    pictures = [results[image.path] for image in usable if image.path]
    labels, groups = [image.label for image in usable], [image.group for image in usable]
    learned = learn(prepare(pictures, labels, groups, quality.layer, list(SHIPPED)))
    name = arguments.out.stem
    for line in describe(learned, name):
        print(printable(line))
    if learned.after <= learned.before:
        complain(f"nothing was written: {learned.best} ranks your pictures as well without having learned from you")
        return 1
    scale = Scale(*span, f"your ratings, as {arguments.ratings.name} has them, higher is better")
    facts = {"ratings": len(usable), "from": arguments.ratings.name, "utc": now(), "penalty": learned.penalty}
    known = replace(learned, weights=None).__dict__  # type: ignore[arg-type]
    figures = {name: value for name, value in known.items() if name not in ("weights", "penalty", "curve")}
    figures["curve"] = {str(number): srcc for number, srcc in learned.curve.items()}
    write_layer(arguments.out, LayerCard(scale, {quality.name: quality.sha256}, facts, figures), learned.weights)
    shown = printable(arguments.out)
    print(f"{shown} is written: iqa FOLDER --model {shown}. {printable(place)} makes the next fit take seconds.")
    return int(len(usable) < len(rated))


def describe(learned: Learned, name: str) -> list[str]:
    """What a score of this name is worth, in lines."""
    rows = (
        (f"{learned.best}, the best that ships", f"{learned.before:.2f}", "%.2f to %.2f" % learned.before_95),
        (name, f"{learned.after:.2f}", "%.2f to %.2f" % learned.after_95),
        ("gain", f"{learned.after - learned.before:+.2f}", "%+.2f to %+.2f" % learned.gain_95),
    )
    lines = [f"Rank correlation (SRCC) with your ratings and its 95 % interval, resampling {learned.drawn}:"]
    lines += [f"  {what:32}{figure:>6}  {interval}" for what, figure, interval in rows]
    curve = ", ".join(f"{srcc:.2f} with {number}" for number, srcc in learned.curve.items())
    more = learned.next_gain
    lines.append(f"{name} by the ratings to learn from: {curve}. ")
    lines[-1] += f"As many again may add some {more:.2f}." if more >= 0.01 else "More would add little."
    if learned.gain_95[0] <= 0:
        lines.append(f"These ratings do not show that {name} ranks better than {learned.best}: rate more pictures.")
    return lines

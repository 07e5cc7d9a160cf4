"""Learn a score of your own from pictures that you have rated: stars in a folder, or a table.

    iqa learn holiday/                            # stars in XMP sidecars, or in the pictures themselves
    iqa learn ratings.csv --images holiday/       # columns such as path and score, or votes
    iqa holiday/ --model mine.npz --top 20

The pictures are scored once; then a fit takes seconds. The gain that is printed is measured on pictures that the fit did
not see. At least 30 ratings are needed, and a hundred or more to gain much; rate bad pictures too. Rejected pictures count
as 0 stars, and stars that `iqa --xmp` gave do not count.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iqa.cards import Scale
from iqa.commands.terminal import add_overwrite, load_quietly, natural, parser_of
from iqa.environment import now, processors
from iqa.errors import LabelError, OutputError
from iqa.files import RAW_SUFFIXES, check_target, printable
from iqa.images.finding import images_below
from iqa.labels.rating_files import GROUP_COLUMN, read_entries
from iqa.labels.ratings import RatedImage, locate_ratings, read_scores
from iqa.scoring.journal import Journal
from iqa.scoring.layer import Layer, LayerCard, read_layer, write_layer
from iqa.scoring.learning import FEWEST, learn
from iqa.scoring.many import SHIPPED, load_shipped
from iqa.scoring.results import Result
from iqa.scoring.runs import RunOptions, complain, score_collection
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.sidecars import read_stars

_WIDE = 1e4  # scores that are read without --scale lie between this and its negative

#: The rated pictures that are there, the range of the ratings, and how many pictures could not be read or found.
_Ratings = tuple[list[RatedImage], tuple[float, float], int]


def main(words: Sequence[str]) -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.prog = "iqa learn"
    add = parser.add_argument
    add("ratings", type=Path, metavar="FOLDER_OR_CSV", help="folder of pictures with stars, or a table of ratings")
    add("--images", type=Path, metavar="FOLDER", help="folder of the pictures in the table (default: the table's)")
    scale = "lowest and highest rating that the table could hold (default: those that it holds)"
    add("--scale", type=float, nargs=2, metavar=("LOWEST", "HIGHEST"), help=scale)
    add("--group-by", default=GROUP_COLUMN, metavar="COLUMN", help="column that says which pictures show the same subject")
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
        rated, span, failed = _read_folder(arguments.ratings)
    else:
        images = arguments.images or arguments.ratings.parent
        rated, span, failed = _read_table(arguments.ratings, images, arguments.scale, arguments.group_by)
    return _learn(rated, span, arguments) or int(failed > 0)


def _read_folder(folder: Path) -> _Ratings:
    rated, failed, without = dict[Path, RatedImage](), 0, 0
    for path, reason in images_below(folder):
        try:
            stars = 0 if reason else read_stars(path)
        except OutputError as error:
            reason = str(error)
        if reason:
            complain(reason if str(folder) in reason else f"{path}: {reason}")
            failed += 1
        elif not stars:
            without += 1
        else:
            rated[path] = RatedImage(str(path), float(max(0, stars)), path)
    raws = {path for path in rated if path.suffix.lower() in RAW_SUFFIXES}
    shots = {path.with_suffix("") for path in rated.keys() - raws}
    kept = [image for path, image in rated.items() if path not in raws or path.with_suffix("") not in shots]
    print(f"{printable(folder)}: {len(kept)} pictures with stars, {without} without")
    return kept, (min([1.0, *(image.label for image in kept)]), 5.0), failed


def _read_table(file: Path, folder: Path, scale: Sequence[float] | None, group: str) -> _Ratings:
    span = (scale[0], scale[1]) if scale else _find_scale(file, group)
    images = locate_ratings(read_scores(file, span, group, onto=span), folder)
    if missing := [image.name for image in images if not image.path]:
        complain(f"{folder} lacks {len(missing)} of {len(images)} rated pictures, such as {missing[0]}")
    return [image for image in images if image.path], span, len(missing)


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
    kinds = len({image.label for image in rated})
    if len(rated) < FEWEST or kinds < 2:
        few = f"{len(rated)} rated pictures, {kinds} different ratings"
        raise LabelError(f"{arguments.ratings}: {few}: {FEWEST} pictures are needed, good and bad ones; 100 are better")
    models = load_quietly(lambda: load_shipped(arguments.runtime))
    quality, results = models["quality"], dict[Any, Result]()
    assert isinstance(quality, Layer)

    def collect(journal: Journal) -> None:
        results.update({result.path: result for result in journal.results() if len(result.scores) == len(SHIPPED)})

    options = RunOptions(arguments.workers, features="quality", keep=True, again=False)
    place = arguments.out.with_name(f"{arguments.out.name}.journal")
    score_collection(models, lambda: (Result(image.path) for image in rated if image.path), place, collect, options)
    usable = [image for image in rated if image.path in results]
    if len(usable) < FEWEST:
        raise LabelError(f"{arguments.ratings}: {len(usable)} of the rated pictures can be scored, {FEWEST} are needed")
    labels, groups = [image.label for image in usable], [image.group for image in usable]
    weights, figures = learn([results[image.path] for image in usable], labels, groups, quality.layer, list(SHIPPED))
    for line in describe(figures, arguments.out.stem):
        print(printable(line))
    if figures["gain"] <= 0:
        complain(f"nothing is written: without your ratings {figures['best']} ranks these pictures as well")
        return 1
    scale = Scale(*span, f"your ratings, as in {arguments.ratings.name}, higher is better")
    facts = {"ratings": arguments.ratings.name, "utc": now()}
    write_layer(arguments.out, LayerCard(scale, {quality.name: quality.sha256}, facts, figures), weights)
    print(f"{printable(arguments.out)}: written. With {printable(place)} the next fit takes seconds.")
    return int(len(usable) < len(rated))


def describe(figures: dict[str, Any], name: str) -> list[str]:
    """What a score of this name is worth, in lines, by the figures of `learn`."""
    best, more = figures["best"], [f"{srcc:.2f} with {number}" for number, srcc in figures["curve"].items()]
    lines = [f"Rank correlation (SRCC) with {figures['n']} ratings, 95 % intervals from resampling {figures['drawn']}:"]
    for what, said, sign in (("before", f"{best}, the best that ships", ""), ("after", name, ""), ("gain", "gain", "+")):
        low, high = (f"{value:{sign}.2f}" for value in figures[f"{what}_95"])
        lines.append(f"  {said:30}{figures[what]:{sign}6.2f}  [{low}, {high}]")
    first, second, third = figures["curve"].values()
    # Each doubling adds less than the one before.
    rest = (third - second) * min(0.7, max(0.25, (third - second) / max(second - first, 1e-9)))
    hope = f"as many again may add some {rest:.2f}" if rest >= 0.01 else "more would add little"
    lines.append(f"By the number of ratings to learn from: {', '.join(more)}; {hope}.")
    if figures["gain_95"][0] <= 0:
        lines.append(f"These ratings do not show that {name} ranks better than {best}.")
    return lines

"""What the infer scripts do: score what was named, to rows on the terminal or to a file that a killed run goes on with.

Exit codes: 0 all scored; 1 some images could not be scored, the rest were; 2 wrong usage, or nothing that was named
exists. Results go to stdout, progress and complaints to stderr.
"""

import hashlib
import json
import os
import sys
from collections import deque
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from iqa.commands.terminal import load_quietly, natural, parser_of, positive, processors
from iqa.errors import ImageError
from iqa.files import printable, remove_leftovers, written_whole
from iqa.images.finding import images_below, named_images
from iqa.scoring.journal import Image, Journal
from iqa.scoring.report import check_report, write_report
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.writers import check_output, values_of, write_scores
from iqa.training.run_folder import now


def infer_parser(description, weights, crops=()):
    """The parser that all infer scripts share.

    Args:
        description: the script's docstring.
        weights: the default of --weights.
        crops: choices of --crop; none for a model of whole images.
    """
    parser = parser_of(description)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE_OR_FOLDER", help="or a pattern; default: matplotlib's sample photograph"
    )
    parser.add_argument("--list", action="append", default=[], help="file of paths, one a line; - for stdin")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: path, mean ..., or error")
    parser.add_argument("--out", type=Path, help="write to this file instead: .mat, .csv, .jsonl or .parquet")
    parser.add_argument("--report", type=Path, help="write a page to look at as well: .html")
    parser.add_argument(
        "--weights", type=Path, default=Path(weights), help="a .weights.h5 with its card, or an .hdf5 of Keras 2"
    )
    if crops:
        parser.add_argument("--crop", choices=crops, default="centre", help="which patches are seen (default: centre)")
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto", help="what computes (default: the fastest there is)")
    parser.add_argument("--workers", type=natural, default=processors(), help="processes (default: one a processor)")
    parser.add_argument("--batch-size", type=positive, default=1, help="images a step of Keras (default: 1)")
    parser.add_argument("--labels", type=Path, help="labels of a labelled set")
    parser.add_argument("--images", dest="folder", type=Path, help="folder of the labelled set")
    return parser


def infer_images(parser, arguments, load, read_labelled, hint=""):
    """Do what the arguments of `infer_parser` ask for; returns the exit code.

    Args:
        parser, arguments: of `infer_parser`.
        load: function that loads the `Scorer`.
        read_labelled: function that reads the labelled set: a list of images in the order of the labels, with the paths of
            those that were found.
        hint: where missing weights are to be had.
    """
    named = arguments.images or arguments.list
    labelled = (arguments.labels, arguments.folder)
    if any(labelled) and (not all(labelled) or not arguments.out or named):
        parser.error("a labelled run takes --labels, --images and --out, and no other images")
    if arguments.out:
        check_output(arguments.out)
    if arguments.report:
        check_report(arguments.report)
    images = None
    if arguments.labels:
        images = read_labelled()
        if not any(image.path for image in images):
            parser.error(f"{arguments.folder} holds none of the {len(images)} images of {arguments.labels}")
    scorer = load_quietly(load, hint)
    if images is not None:
        return score_labelled(scorer, images, f"not in {arguments.folder}", arguments.out, arguments)
    if not arguments.out:
        return print_scores(scorer, named_images(arguments.images, arguments.list), arguments)
    head = {"named": [printable(name) for name in (*arguments.images, *arguments.list)], "in": printable(os.getcwd())}

    def listed():
        for path, reason in named_images(arguments.images, arguments.list):
            yield Image(str(path), path, reason=reason)

    again = "-" not in arguments.list  # stdin cannot be read twice
    return score_to_file(scorer, listed, head, arguments.out, arguments, again)


def print_scores(scorer, found, options):
    """Score images and print a row each, in their order, as soon as it is known; returns the exit code.

    Args:
        scorer: `iqa.scoring.scorer.Scorer`.
        found: (path, None) or (path, reason), of `named_images`.
        options: with `json`, `batch_size`, `workers` and `report`.
    """
    scored = failed = 0
    exists = False
    refused, images = [], []

    def readable():
        for path, reason in found:
            if reason is None:
                yield path
            else:
                refused.append((path, reason))

    for path, result in scorer.score_all(readable(), options.batch_size, options.workers):
        if options.report:
            images.append(Image(str(path), path, output=result.output, reason=result.reason))
        if result.reason:
            failed += 1
            exists = exists or os.path.exists(path)
            print_error(path, result.reason, options.json)
            continue
        scored += 1
        values = values_of(result.output)
        if options.json:
            print(json.dumps({"path": printable(path), **values}), flush=True)
        else:
            words = [f"{value:.4f}" for name, value in values.items() if name in ("mean", "std")]
            words += [f"{values['percentile']:.0f} % of AVA score lower"] if "percentile" in values else []
            print(printable(path), *words, sep="\t", flush=True)
    for path, reason in refused:
        print_error(path, reason, options.json)
        exists = exists or os.path.exists(path)
    if not scored and not failed and not refused:
        print("no image was named", file=sys.stderr)
    if not scored and not exists:
        return 2
    if options.report:
        images += [Image(str(path), path, reason=reason) for path, reason in refused]
        _report(scorer, lambda: images, provenance(scorer), options)
    return 1 if failed or refused else 0


def print_error(path, reason, as_json=False):
    """Name an image that cannot be scored on stderr, and among the rows of JSON."""
    if as_json:
        print(json.dumps({"path": printable(path), "error": reason}), flush=True)
    print(f"{printable(path)}: {reason}", file=sys.stderr)


def score_labelled(scorer, images, missing, out, options):
    """Score a labelled set in the order of its labels; see `score_to_file`.

    Args:
        images: `LabelledImage` or `RatedImage`, with and without paths, in the order of the label file.
        missing: reason to give for those without.
    """
    labels = hashlib.sha256()
    for image in images:
        labels.update(json.dumps([image.name, image.label]).encode())

    def listed():
        for image in images:
            yield Image(image.name, image.path, np.atleast_1d(image.label), reason=None if image.path else missing)

    return score_to_file(scorer, listed, {"labels": labels.hexdigest()}, out, options)


def score_to_file(scorer, listed, head, out, options, again=True):
    """Score images and write them to a file in their order; a killed run goes on where it stopped.

    Args:
        scorer: `iqa.scoring.scorer.Scorer`.
        listed: function that returns an iterable of `iqa.scoring.journal.Image`.
        head: what the images are, as JSON can hold it: a run of others is another run.
        out: file to write.
        options: with `batch_size`, `workers` and `report`.
        again: ask `listed` again when all are scored, for those that have come or changed meanwhile.

    Returns:
        The exit code: 1 if an image was skipped; 2 if nothing that was named exists, and then nothing is written.

    Raises:
        JournalError: if the journal beside the file cannot be written.
    """
    where_from = provenance(scorer)
    head |= {"weights": scorer.sha256, "geometry": str(scorer.geometry), "runtime": scorer.network.description}
    with Journal(out.with_name(f"{out.name}.journal"), head) as journal:
        if journal.replaced:
            print(f"{journal.path} is of another run: begun anew", file=sys.stderr)
        for _ in range(2 if again else 1):
            for key, what in journal.list(listed()):
                print(f"{printable(key)}: {what}", file=sys.stderr)
            _score_waiting(scorer, journal, options)
        total, skipped, exists = journal.count()[0], 0, False
        for image in journal.images(scored=False):
            skipped += 1
            exists = exists or bool(image.path and os.path.exists(image.path))
            print_error(image.path or image.key, image.reason)
        nothing = total == skipped and not exists
        if not nothing:
            remove_leftovers(out.parent, out.name)
            write_scores(out, journal, scorer.bins, where_from)
            if options.report:
                _report(scorer, journal.images, where_from, options)
        journal.finish()
    if nothing:
        print(f"{out}: not written, nothing that was named exists", file=sys.stderr)
        return 2
    print(f"{out}: {total - skipped} images scored, {skipped} skipped")
    return 1 if skipped else 0


def _report(scorer, images, where_from, options):
    scale = (1, 10) if scorer.bins == 10 else (0, 9)
    write_report(options.report, images, where_from, scale, options.workers)
    print(f"{options.report}: a page to look at", file=sys.stderr)


def _score_waiting(scorer, journal, options):
    """Score what the journal says is waiting, with a bar of progress."""
    from tqdm import tqdm

    total, done = journal.count()
    if total == done:
        return
    positions = deque()

    def waiting():
        for position, path in journal.waiting():
            positions.append(position)
            yield path

    with (
        tqdm(total=total, initial=done, unit="image", file=sys.stderr, smoothing=0.05) as bar,
        closing(scorer.score_all(waiting(), options.batch_size, options.workers)) as results,
    ):
        for _, result in results:
            journal.record(positions.popleft(), result.output, result.reason)
            bar.update()


def write_labels(scorer, folder, out, options):
    """Write a model's histograms of the images below `folder` as labels in AVA's form; returns the exit code.

    The `image_id` is the path below the folder, so that `read_ratings` and `locate_ratings` find the files again.
    """
    images, rows, refused = [], [], 0
    for path, reason in images_below(folder):
        if reason is None:
            images.append(path)
        else:
            refused += 1
            print_error(path, reason)
    if not images:
        raise ImageError(f"{folder}: a folder without images")
    for path, result in scorer.score_all(images, options.batch_size, options.workers):
        if result.reason:
            refused += 1
            print_error(path, result.reason)
        else:
            rows.append({"image_id": printable(path.relative_to(folder).as_posix()), "label": result.output.tolist()})
    with written_whole(out) as file:
        file.write(json.dumps(rows).encode())
    print(f"{out}: {len(rows)} images labelled, {refused} could not be")
    return 1 if refused else 0


def provenance(scorer):
    """Where predictions come from, a dict of text: model, weights, geometry, runtime, versions, time."""

    def version_of(package):
        try:
            return version(package)
        except PackageNotFoundError:  # installed under another name, such as onnxruntime-gpu
            return "of unknown version"

    packages = (*scorer.network.packages, "numpy", "pillow")
    return {
        "model": scorer.weights.name.removesuffix(".h5").removesuffix(".weights"),
        "weights_sha256": scorer.sha256,
        "geometry": str(scorer.geometry),
        "runtime": scorer.network.description,
        "versions": ", ".join(f"{name} {version_of(name)}" for name in packages),
        "utc": now(),
    }

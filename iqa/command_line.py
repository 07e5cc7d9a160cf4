"""What the scripts share at the terminal: which images were meant, rows of results, labelled runs, exit codes.

Exit codes: 0 all scored; 1 some images could not be scored, the rest were; 2 wrong usage, or nothing that was named
exists. Results go to stdout, progress and complaints to stderr.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from iqa.distortions import everyday_ladders
from iqa.files import written_whole
from iqa.images import ImageError, list_images, read_image, sample_photograph
from iqa.percentiles import percentile
from iqa.predictions import Journal, Predictions, printable, write_predictions
from iqa.run_folder import now
from iqa.scoring import CardError


class Parser(argparse.ArgumentParser):
    """Shows the script's docstring as it was written, and an error as one line without the usage above it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def parser_of(description):
    """The argument parser of a script; `description` is its docstring."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main):
    """Call `main` and leave with the exit code that it returns; what it returns otherwise is given back.

    What the file system or a file's content refuses ends in one line and exit code 2. `python3 -i` turns every `sys.exit`
    into a traceback and a prompt: whoever mistyped an option wants neither, so the process ends; after a success the
    prompt comes as asked for.
    """
    try:
        result = main()
        if not isinstance(result, int):
            return result
        code = result
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of our rows, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (OSError, ValueError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    if not sys.flags.interactive:
        sys.exit(code)
    if code:
        os._exit(code if isinstance(code, int) else 1)
    return None


@contextmanager
def quiet_start():
    """Keep TensorFlow's greetings off stderr, where our own complaints go.

    TF_CPP_MIN_LOG_LEVEL no longer silences them (tensorflow/tensorflow#100442). If the block fails in a way that is not
    ours to explain, they are shown after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as greetings:
        os.dup2(greetings.fileno(), 2)
        try:
            yield
        except (OSError, ValueError):
            raise
        except BaseException:
            greetings.seek(0)
            os.write(kept, greetings.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def expand(named):
    """The images behind the paths named on a command line: files as they are, folders by what is in them.

    Args:
        named: paths; none means the sample photograph, which is then announced on stderr.

    Returns:
        (images, errors): a list of paths, and a list of (path, reason) for what holds no image.
    """
    if not named:
        sample = sample_photograph()
        print(f"no image named: taking {sample.name}, the photograph that matplotlib ships", file=sys.stderr)
        return [sample], []
    images, errors = [], []
    for path in map(Path, named):
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            errors.append((path, "a folder without images"))
        images += found
    return images, errors


def train_parser(description, run, batch_size):
    """The parser with the options that all train scripts share; `run` and `batch_size` are their defaults."""
    parser = parser_of(description)
    parser.add_argument("--images", required=True, type=Path, help="folder of the images")
    parser.add_argument("--backbone", default="imagenet", help="imagenet, none, or torchvision's mobilenet_v2 .pth")
    parser.add_argument("--weights", type=Path, help="weights of this model to start from")
    parser.add_argument("--batch-size", type=positive, default=batch_size, help=f"images a step (default: {batch_size})")
    parser.add_argument("--run", type=Path, default=Path(run), help="folder of the log and the checkpoints")
    parser.add_argument(
        "--schedule",
        help='phases, such as "1@1e-3:frozen,4@1e-4,until-plateau@1e-5", or "original"; without it a session is opened',
    )
    parser.add_argument("--keep-epochs", action="store_true", help="keep every epoch's checkpoint, to average them")
    parser.add_argument("--mixed-precision", action="store_true", help="compute in 16 bits: float16 on GPUs, else bfloat16")
    parser.add_argument("--strategy", choices=["mirrored"], help="mirrored: on all GPUs of the machine")
    parser.add_argument("--resume", action="store_true", help="go on from the last epoch in --run")
    parser.add_argument("--seed", type=natural, default=0)
    return parser


def natural(text):
    """An integer of 0 or more, for `argparse`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def positive(text):
    """An integer of 1 or more, for `argparse`."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def scene_parser(description, weights, crops=()):
    """The parser of the experiments that degrade a picture step by step; see `infer_parser` for the arguments."""
    parser = parser_of(description)
    parser.add_argument("scene", nargs="?", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--weights", type=Path, default=Path(weights), help="default: those of the infer script")
    if crops:
        parser.add_argument("--crop", choices=crops, default="centre", help="which patches are seen (default: centre)")
    parser.add_argument("--figure", type=Path, help="write the curves here")
    return parser


def infer_parser(description, weights, crops=(), batch_size=1):
    """The parser that all infer scripts share.

    Args:
        description: the script's docstring.
        weights: the default of --weights.
        crops: choices of --crop; none for a model of whole images.
        batch_size: the default of --batch-size.
    """
    parser = parser_of(description)
    parser.add_argument("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: path, mean ..., or error")
    parser.add_argument(
        "--weights", type=Path, default=Path(weights), help="a .weights.h5 with its card, or an .hdf5 of Keras 2"
    )
    if crops:
        parser.add_argument("--crop", choices=crops, default="centre", help="which patches are seen (default: centre)")
    parser.add_argument("--batch-size", type=positive, default=batch_size, help=f"images a step (default: {batch_size})")
    parser.add_argument("--labels", type=Path, help="labels of a labelled set")
    parser.add_argument("--images", dest="folder", type=Path, help="folder of the labelled set")
    parser.add_argument("--out", type=Path, help=".mat to write the predictions of the labelled set to")
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
    labelled = (arguments.labels, arguments.folder, arguments.out)
    if any(labelled) and (not all(labelled) or arguments.images):
        parser.error("a labelled run takes --labels, --images and --out, and no other images")
    images = read_labelled() if arguments.labels else None
    if images is not None and not any(image.path for image in images):
        parser.error(f"{arguments.folder} holds none of the {len(images)} images of {arguments.labels}")
    scorer = load_quietly(load, hint)
    if images is None:
        return print_scores(scorer, arguments.images, arguments.json, arguments.batch_size)
    return score_labelled(scorer, images, f"not in {arguments.folder}", arguments.out, arguments.batch_size)


def load_quietly(load, hint=""):
    """Call `load` without TensorFlow's greetings; `hint` tells where weights that are missing are to be had.

    Raises:
        CardError: as `load`.
    """
    try:
        with quiet_start():
            return load()
    except CardError as error:
        raise CardError(f"{error}; {hint}" if hint and "no such file" in str(error) else str(error)) from None


def print_scores(scorer, named, as_json, batch_size):
    """Score the images named and print a row each; returns the exit code."""
    images, errors = expand(named)
    for path, reason in errors:
        _print_error(path, reason, as_json)
    scored = 0
    for path, result in scorer.score_all(images, batch_size):
        if result.error:
            errors.append((path, result.error))
            _print_error(path, result.error, as_json)
            continue
        scored += 1
        values = {"mean": result.score}
        if len(result.output) > 1:
            histogram = result.output.tolist()
            values |= {"std": result.distribution.std, "percentile": percentile(result.score), "histogram": histogram}
        if as_json:
            print(json.dumps({"path": printable(path), **values}), flush=True)
        else:
            words = [f"{value:.4f}" for name, value in values.items() if name in ("mean", "std")]
            words += [f"{values['percentile']:.0f} % of AVA score lower"] if "percentile" in values else []
            print(printable(path), *words, sep="\t", flush=True)
    if errors and not scored and not any(Path(path).exists() for path in named):
        return 2
    return 1 if errors else 0


def _print_error(path, reason, as_json):
    if as_json:
        print(json.dumps({"path": printable(path), "error": reason}), flush=True)
    print(f"{printable(path)}: {reason}", file=sys.stderr)


def score_labelled(scorer, images, missing, out, batch_size):
    """Score a labelled set in the order of its labels and write the `.mat`; a killed run goes on where it stopped.

    Args:
        scorer: `iqa.scoring.Scorer`.
        images: `LabelledImage` or `RatedImage`, with and without paths, in the order of the label file.
        missing: reason to give for those without.
        out: the `.mat` to write.

    Returns:
        The exit code: 1 if an image was skipped.
    """
    from tqdm import tqdm

    # Of the files themselves too: TID2013 and its re-made images have the same names.
    head = {
        "weights": scorer.sha256,
        "geometry": scorer.geometry,
        "images": [[image.name, *_stamp(image.path)] for image in images],
    }
    journal = Journal(Path(out).with_name(Path(out).name + ".journal"), head)
    try:
        entries = {image.name: {"reason": missing} for image in images if image.path is None} | journal.done
        waiting = [image for image in images if image.name not in entries]
        with tqdm(total=len(images), initial=len(images) - len(waiting), unit="image", file=sys.stderr) as bar:
            results = scorer.score_all([image.path for image in waiting], batch_size)
            for image, (_, result) in zip(waiting, results):
                entry = {"reason": result.error} if result.error else {"output": result.output.tolist()}
                entries[image.name] = entry
                journal.add(image.name, **entry)
                bar.update()
        scored = [(image, entries[image.name]["output"]) for image in images if "output" in entries[image.name]]
        skipped = [
            (image.path.name if image.path else image.name, entries[image.name]["reason"])
            for image in images
            if "reason" in entries[image.name]
        ]
        shape = (len(scored), *np.shape(images[0].label))
        predictions = Predictions(
            # In the shape of the labels, (N,) or (N, 10), even if nothing could be scored.
            np.array([image.label for image, _ in scored]).reshape(shape),
            np.array([output for _, output in scored], np.float32).reshape(shape),
            [image.path.name for image, _ in scored],
            skipped,
            provenance(scorer),
        )
        write_predictions(out, predictions)
    except BaseException:
        journal.close(finished=False)
        raise
    journal.close(finished=True)
    for name, reason in skipped:
        print(f"{printable(name)}: {reason}", file=sys.stderr)
    print(f"{out}: {len(scored)} images scored, {len(skipped)} skipped")
    return 1 if skipped else 0


def _stamp(path):
    """What tells one file from another of its name: where it is, its size and time of change; nothing for no file."""
    if path is None or not path.exists():
        return [printable(path)]
    return [printable(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]


def write_labels(scorer, folder, out, batch_size):
    """Write a model's histograms of the images below `folder` as labels in AVA's form; returns the exit code.

    The `image_id` is the path below the folder, so that `read_ratings` and `locate_ratings` find the files again.
    """
    images = list_images(folder)
    if not images:
        raise ImageError(f"{folder}: a folder without images")
    rows, refused = [], 0
    for path, result in scorer.score_all(images, batch_size):
        if result.error:
            refused += 1
            _print_error(path, result.error, as_json=False)
        else:
            rows.append({"image_id": printable(path.relative_to(folder).as_posix()), "label": result.output.tolist()})
    with written_whole(out) as file:
        file.write(json.dumps(rows).encode())
    print(f"{out}: {len(rows)} images labelled, {refused} could not be")
    return 1 if refused else 0


def provenance(scorer):
    """Where predictions come from, a dict of text: model, weights, geometry, runtime, versions, time."""
    import keras

    packages = ("keras", "numpy", "pillow", keras.backend.backend())
    return {
        "model": scorer.weights.name.removesuffix(".h5").removesuffix(".weights"),
        "weights_sha256": scorer.sha256,
        "geometry": scorer.geometry,
        "runtime": f"keras on {keras.backend.backend()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "utc": now(),
    }


def scene_series(named):
    """The pictures of one scene that an experiment on distortions compares.

    Args:
        named: a folder of files of one scene, of which the one with the shortest name is the undistorted one; or an
            image, which is degraded by `everyday_ladders`; or None, which takes the sample photograph.

    Returns:
        {title: [(label, path or uint8 array)]}, each series beginning with the undistorted picture.

    Raises:
        ImageError: if an image cannot be read, or the folder holds none; the message names it.
    """
    path = Path(named) if named else expand([])[0][0]
    if path.is_dir():
        files = sorted(list_images(path), key=lambda file: (len(file.stem), file.name))
        if not files:
            raise ImageError(f"{path}: a folder without images")
        return {path.name: [(file.name, file) for file in files]}
    try:
        return everyday_ladders(read_image(path))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def print_curves(series, scorer, figure, scale):
    """Print the score of every picture of `scene_series`, a row each, and draw them if a figure is wanted.

    Returns the exit code: 1 if a picture could not be scored.

    Args:
        series: see `scene_series`.
        scorer: `iqa.scoring.Scorer`.
        figure: file to write, or None.
        scale: name of the figure's vertical axis.
    """
    curves, refused = {}, 0
    for title, steps in series.items():
        print(f"{title}:")
        scored, bad = score_steps(scorer, steps)
        refused += bad
        for label, result in scored:
            print(f"file:{label}, score:{result.score:.6f}")
        curves[title] = ([label for label, _ in scored], [result.score for _, result in scored])
    if figure:
        from iqa.plots import distortion_curves

        distortion_curves(curves, figure, scale)
    return 1 if refused else 0


def score_steps(scorer, steps):
    """Score the pictures of a series; one that cannot be scored is named on stderr and left out.

    Returns:
        (scored, refused): a list of (printable label, `Scored`), and how many were left out.
    """
    scored, refused = [], 0
    for (label, _), (_, result) in zip(steps, scorer.score_all([image for _, image in steps])):
        if result.error:
            refused += 1
            _print_error(label, result.error, as_json=False)
        else:
            scored.append((printable(label), result))
    return scored, refused

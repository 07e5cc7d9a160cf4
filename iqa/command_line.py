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
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from iqa.distortions import everyday_ladders
from iqa.images import ImageError, list_images, read_image, sample_photograph
from iqa.predictions import Journal, Predictions, printable, write_regression


def parser_of(description):
    """An argument parser that shows the script's docstring as it was written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main):
    """Call `main` and leave with the exit code that it returns; what it returns otherwise is given back.

    `python3 -i` turns every `sys.exit` into a traceback and a prompt; whoever mistyped an option wants neither.
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
    sys.stdout.flush()
    sys.stderr.flush()
    if sys.flags.interactive:
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


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
        if as_json:
            print(json.dumps({"path": printable(path), "mean": result.score}), flush=True)
        else:
            print(f"{printable(path)}\t{result.score:.4f}", flush=True)
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
        images: `LabelledImage` with and without paths, in the order of the label file.
        missing: reason to give for those without.
        out: the `.mat` to write.

    Returns:
        The exit code: 1 if an image was skipped.
    """
    from tqdm import tqdm

    head = {"weights": scorer.sha256, "crop": scorer.crop, "images": [image.name for image in images]}
    journal = Journal(Path(out).with_name(Path(out).name + ".journal"), head)
    try:
        for image in images:
            if image.path is None:
                journal.done[image.name] = {"reason": missing}
        waiting = {image.path: image.name for image in images if image.name not in journal.done}
        bar = tqdm(total=len(images), initial=len(images) - len(waiting), unit="image", file=sys.stderr)
        for path, result in scorer.score_all(waiting, batch_size):
            journal.add(waiting[path], **({"reason": result.error} if result.error else {"score": result.score}))
            bar.update()
        bar.close()
        results = [(image, journal.done[image.name]) for image in images]
        scored = [(image, entry["score"]) for image, entry in results if "score" in entry]
        skipped = [
            (image.path.name if image.path else image.name, e["reason"]) for image, e in results if "reason" in e
        ]
        predictions = Predictions(
            np.array([image.mos for image, _ in scored]),
            np.array([score for _, score in scored], np.float32),
            [image.path.name for image, _ in scored],
            skipped,
            provenance(scorer),
        )
        write_regression(out, predictions)
    except BaseException:
        journal.close(finished=False)
        raise
    journal.close(finished=True)
    for name, reason in skipped:
        print(f"{printable(name)}: {reason}", file=sys.stderr)
    print(f"{out}: {len(scored)} images scored, {len(skipped)} skipped")
    return 1 if skipped else 0


def provenance(scorer):
    """Where predictions come from, a dict of text: model, weights, geometry, runtime, versions, time."""
    import keras

    packages = ("keras", "numpy", "pillow", keras.backend.backend())
    return {
        "model": scorer.weights.name.removesuffix(".weights.h5"),
        "weights_sha256": scorer.sha256,
        "geometry": f"{scorer.crop} patch of {scorer.size}x{scorer.size}",
        "runtime": f"keras on {keras.backend.backend()}",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
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

"""How much faster are the runtimes than the original's loop and than batched Keras, and what do they cost?

    python benchmarks/scoring.py FOLDER                      # ava_vanilla, the first 500 images of the folder
    python benchmarks/scoring.py FOLDER --weights data/idealo/weights_mobilenet_aesthetic_0.07.hdf5
    python benchmarks/scoring.py FOLDER --memory             # peak memory at 500 and at 5,000 images

All sides score the same files with the same weights, in turn, in one process, each warmed up with a few images. The
original's loop is Keras's `load_img`, normalisation and `model.predict` on one image; batched Keras is `model.predict` on
batches of 64 that 8 threads decode; ours is the whole way from files to a `.mat`, in a worker process for each processor.
Then each side runs once in a fresh process, for the time to its first score and its peak memory (all its processes
together). What counts are the ratios; absolute times are the machine's own. benchmarks/README.md says how to read them.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from iqa.scoring.collection import RunOptions, score_to_file
from iqa.scoring.pool import Workers

from iqa.cards import Card, card_for, weights_file
from iqa.commands.terminal import parser_of, positive, quiet_start, run
from iqa.environment import processors
from iqa.errors import RuntimeUnavailable
from iqa.evaluation.predictions import read_predictions
from iqa.images.finding import list_images, named_images
from iqa.images.geometry import resize
from iqa.images.reading import read_image
from iqa.scoring.idealo import AESTHETIC
from iqa.scoring.journal import Entry
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import Scorer

BATCH, THREADS, WARM_UP = 64, 8, 8

KERAS_SIDES = ("original's loop", "batched Keras")


def facts_of(weights) -> tuple[Path, Card]:
    path = weights_file(weights)
    return path, card_for(path, AESTHETIC)


# --- the sides: weights -> function (files) -> mean scores ----------------------------------------------------------


def original(weights):
    import keras

    from iqa.models.networks import network_of

    path, card = facts_of(weights)
    card = replace(
        card, preprocessing=replace(card.preprocessing, flip_averaging=False)
    )  # the original looked at the picture alone
    network = network_of(card, path)
    model = keras.Model(network.get_layer("rescaling").output, network.outputs[0])
    size, interpolation = card.preprocessing.size, card.preprocessing.interpolation
    normal = network.get_layer("rescaling").get_config()
    scale, offset = np.array(normal["scale"]), np.array(normal["offset"])

    def score(file):
        image = keras.utils.load_img(file, target_size=(size, size), interpolation=interpolation)
        pixels = keras.utils.img_to_array(image) * scale + offset
        return model.predict(pixels[None], verbose=0)[0]

    return lambda files: np.array([score(file) for file in files])


def batched(weights):
    import keras

    from iqa.models.networks import network_of

    path, card = facts_of(weights)
    network = network_of(card, path)
    model = keras.Model(network.inputs, network.outputs[0])
    how = card.preprocessing.size, card.preprocessing.interpolation

    class Batches(keras.utils.PyDataset):
        def __init__(self, files):
            super().__init__(workers=THREADS)
            self.files = files

        def __len__(self):
            return -(-len(self.files) // BATCH)

        def __getitem__(self, index):
            files = self.files[index * BATCH : (index + 1) * BATCH]
            return (np.stack([resize(read_image(file), *how) for file in files]),)

    return lambda files: model.predict(Batches(files), verbose=0)


def ours(weights, runtime):
    path, card = facts_of(weights)
    scorer = Scorer(path, head="histogram", cardless=card, runtime=runtime)
    pool = Workers(scorer.recipe, processors())

    def score(files):
        options = RunOptions(batch_size=BATCH if runtime == "keras" else 1, workers=pool)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "scores.mat"
            entries = [Entry(str(file), file, np.full(10, 0.1)) for file in files]
            score_to_file(scorer, lambda: entries, out, options)
            return read_predictions(out, bins=10).predictions

    return score


def side_of(name, weights):
    return (
        {"original's loop": original, "batched Keras": batched}[name](weights)
        if name in KERAS_SIDES
        else ours(weights, name)
    )


# --- what is measured ------------------------------------------------------------------------------------------------


def measure(files, weights, rounds):
    """{side: (best seconds, mean scores)} of the sides that there are, in turn."""
    sides, seconds, scores = {}, {}, {}
    for name in (*KERAS_SIDES, *RUNTIMES):
        try:
            with quiet_start():
                sides[name] = side_of(name, weights)
                sides[name](files[:WARM_UP])
        except RuntimeUnavailable as error:
            print(f"{name}: {error}", file=sys.stderr)
            sides.pop(name, None)
    for number in range(rounds):
        # Another one first in each round: what ran before leaves its traces in caches and clock rates.
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            side = sides[name]
            print(f"round {number + 1}: {name}", file=sys.stderr)
            with quiet_start():
                started = time.perf_counter()
                scores[name] = side(files) @ np.arange(1, 11)
                seconds.setdefault(name, []).append(time.perf_counter() - started)
    return {name: (min(seconds[name]), scores[name]) for name in sides}


def in_a_fresh_process(arguments, name):
    """(seconds to the first score, peak memory in MiB of all processes together) of one side by itself."""
    command = [sys.executable, __file__, arguments.folder, "--weights", arguments.weights, "--side", name]
    started = time.perf_counter()
    child = subprocess.Popen(
        [*map(str, command), "--images", str(arguments.images)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    peak = Peak(child.pid)
    while b"first" not in (line := child.stdout.readline()) and line:
        pass
    first = time.perf_counter() - started
    child.stdout.read()
    child.wait()
    return first, peak.stop()


class Peak:
    """The largest sum, over time, of the peak memory of a process and of all below it that live (Linux's /proc)."""

    def __init__(self, process):
        self._process, self._largest, self._over = process, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        while not self._over.wait(0.05):
            parents = {}
            for entry in Path("/proc").glob("[0-9]*/stat"):
                try:
                    parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
            family, size = {self._process}, 0
            while len(family) > size:
                size = len(family)
                family |= {process for process, parent in parents.items() if parent in family}
            self._largest = max(self._largest, sum(map(_peak_of, family)))

    def stop(self):
        self._over.set()
        self._thread.join()
        return self._largest / 1024


def _peak_of(process):
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def run_side(name, arguments, files):
    """What a fresh process does: say when the first score is there, then score all the files."""
    if name in KERAS_SIDES:
        side = side_of(name, arguments.weights)
        side(files[:1])
        print("first", flush=True)
        side(files)
        return 0
    path, card = facts_of(arguments.weights)
    scorer = Scorer(path, head="histogram", cardless=card, runtime=name)
    scorer.score(files[0])
    print("first", flush=True)
    options = RunOptions(batch_size=BATCH if name == "keras" else 1, workers=processors())
    with tempfile.TemporaryDirectory() as folder:
        entries = [Entry(str(path), path) for path in files]
        return 1 if score_to_file(scorer, lambda: entries, Path(folder) / "scores.mat", options).skipped else 0


def memory(arguments):
    """Print the peak memory of the whole command at 500 and at 5,000 images: the folder's own, again and again."""
    files = list_images(arguments.folder)
    script = Path(__file__).resolve().parent.parent / "AVA/infer_vanilla.py"
    peaks = {}
    for count in (500, 5000):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(count):
                os.symlink(files[number % len(files)].resolve(), Path(folder) / f"{number:05d}.jpg")
            child = subprocess.Popen(
                [sys.executable, script, folder, "--out", Path(folder) / "out.mat"], stderr=subprocess.DEVNULL
            )
            peak = Peak(child.pid)
            child.wait()
            peaks[count] = peak.stop()
        print(f"{count} images: {peaks[count]:.0f} MiB")
    print(f"ratio {peaks[5000] / peaks[500]:.3f}")
    return 0


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="ava_vanilla", help="shipped AVA weights, or idealo's .hdf5")
    parser.add_argument("--images", type=positive, default=500, help="files to score (default: 500)")
    parser.add_argument("--rounds", type=positive, default=2, help="of which the best counts (default: 2)")
    parser.add_argument("--memory", action="store_true", help="measure peak memory at 500 and 5,000 images, and no speed")
    parser.add_argument("--side", help="run one side alone, as a fresh process does")
    arguments = parser.parse_args()
    if arguments.memory:
        return memory(arguments)
    files = [path for path, _ in named_images([arguments.folder])][: arguments.images]
    if arguments.side:
        return run_side(arguments.side, arguments, files)
    measured = measure(files, arguments.weights, arguments.rounds)
    fresh = {name: in_a_fresh_process(arguments, name) for name in measured}
    slowest, _ = measured["original's loop"]
    keras, expected = measured["batched Keras"]
    original_first, _ = fresh["original's loop"]
    print(f"{len(files)} files, {arguments.weights}, best of {arguments.rounds} rounds, {processors()} processors")
    print("                  images/s  x original  x batched  largest difference  first score  x original  peak memory")
    for name, (seconds, scores) in measured.items():
        first, peak = fresh[name]
        print(
            f"{name:16s} {len(files) / seconds:9.1f} {slowest / seconds:11.1f} {keras / seconds:10.1f}"
            f" {np.abs(scores - expected).max():19.1e} {first:10.2f} s {original_first / first:11.1f}"
            f" {peak:8.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    run(main)

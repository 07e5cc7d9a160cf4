"""How fast do we score, compared with the original's loop and batched Keras, and with another version of this project?

    python benchmarks/scoring.py FOLDER                      # ava_vanilla on each runtime, 500 images of the folder
    python benchmarks/scoring.py FOLDER --weights data/idealo/weights_mobilenet_aesthetic_0.07.hdf5
    python benchmarks/scoring.py FOLDER --mixed              # a folder as people have it: `iqa` against two infer scripts
    python benchmarks/scoring.py FOLDER --large              # a JPEG of 24 megapixels: scores against decoding
    python benchmarks/scoring.py FOLDER --against CHECKOUT   # is this version slower than that one?

All sides score the same files in turn, and the best of the rounds counts. benchmarks/README.md says how to read it.
"""

import atexit
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from mixed import fill, make_jpeg
from PIL import Image

from iqa.cards import card_for, weights_file
from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors, without_greetings
from iqa.errors import RuntimeUnavailable
from iqa.images.finding import list_images
from iqa.images.geometry import resize
from iqa.images.reading import Picture, read_image
from iqa.scoring.idealo import AESTHETIC
from iqa.scoring.journal import Journal
from iqa.scoring.layer import scorers_of
from iqa.scoring.many import CHUNK, SHIPPED, load_shipped, open_models
from iqa.scoring.results import Result
from iqa.scoring.runs import identify, provenance
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import load_scorer
from iqa.scoring.tables import ALONE, write_mat
from iqa.scoring.workers import Workers

ROOT = Path(__file__).resolve().parent.parent
BATCH, WARM_UP = 64, 8


def take_turns(sides, rounds, clock=time.perf_counter):
    """{side: (least time, what it returned)} of functions; `clock` may return an array of several times.

    Another one is first in each round: what ran before leaves its traces in caches and clock rates.
    """
    names, times, answers = list(sides), {name: [] for name in sides}, {}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            started = clock()
            answers[name] = sides[name]()
            times[name].append(clock() - started)
    return {name: (np.min(times[name], axis=0), answers[name]) for name in sides}


# --- runtimes: the sides are functions (files) -> histograms -----------------------------------------------------------


def one_by_one(model, read):
    """`model.predict` on one picture."""
    return lambda files: np.array([model.predict(read(file)[None], verbose=0)[0] for file in files])


def in_batches(model, read):
    """`model.predict` on batches of 64 that 8 threads read."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self, files):
            super().__init__(workers=8)
            self.files = files

        def __len__(self):
            return -(-len(self.files) // BATCH)

        def __getitem__(self, index):
            return (np.stack([read(file) for file in self.files[index * BATCH : (index + 1) * BATCH]]),)

    return lambda files: model.predict(Batches(files), verbose=0)


def in_keras(weights, side):
    """The original's loop, with Keras's `load_img` and without the mirror image; or batches, decoded as ours are."""
    from keras import Model
    from keras.utils import img_to_array, load_img

    from iqa.models.networks import network_of

    path, is_original = weights_file(weights), side == "original's loop"
    card = card_for(path, AESTHETIC)
    seen = replace(card.preprocessing, flip_averaging=card.preprocessing.flip_averaging and not is_original)
    network, size, how = network_of(replace(card, preprocessing=seen), path), seen.size, seen.interpolation
    model = Model(network.inputs, network.outputs[0])
    if is_original:
        return one_by_one(model, lambda file: img_to_array(load_img(file, target_size=(size, size), interpolation=how)))
    return in_batches(model, lambda file: resize(read_image(file), size, how))


def ours(weights, runtime):
    """The whole way from files to a `.mat`, in worker processes that stay."""
    scorer = load_scorer(weights, cardless=AESTHETIC, runtime=runtime)
    count, chunk = (1, BATCH) if scorer.network.name == "keras" else (processors(), CHUNK)
    prepare = partial(open_models, {ALONE: scorer.recipe})
    pool = Workers(prepare, lambda path, reason: Result(path, error=reason), count, chunk=chunk)
    atexit.register(pool.close)

    def score(files):
        with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal"), identify(scorer)) as journal:
            list(journal.enter(map(Result, files)))
            for (position, _), result in zip(journal.waiting(), pool.map(files), strict=True):
                journal.record(position, result)
            unlabelled = [(result, None) for result in journal.results()]
            write_mat(Path(folder, "scores.mat"), unlabelled, 10, provenance({ALONE: scorer}))
        return np.array([result.scores[ALONE].histogram for result, _ in unlabelled])

    return score


def compare_runtimes(arguments, files, folder):
    sides = {}
    for name in ("original's loop", "batched Keras", *RUNTIMES[1:]):
        try:
            with without_greetings():
                side = (ours if name in RUNTIMES else in_keras)(arguments.weights, name)
                side(files[:WARM_UP])
            sides[name] = partial(side, files)
        except RuntimeUnavailable as error:
            print(f"{name}: {error}", file=sys.stderr)
    measured = take_turns(sides, arguments.rounds)
    (slowest, _), (keras, expected) = measured["original's loop"], measured["batched Keras"]
    print("| | images/s | x original | x batched | largest difference |\n|---|---|---|---|---|")
    for name, (seconds, histograms) in measured.items():
        difference = np.abs((histograms - expected) @ np.arange(1, 11)).max()
        speeds = f"{len(files) / seconds:.1f} | {slowest / seconds:.1f} | {keras / seconds:.1f}"
        print(f"| {name} | {speeds} | {difference:.1e} |")


def compare_with_decoding(arguments, files, folder):
    """The processor time of all threads, with one thread for the networks, as a worker of `iqa` has."""
    shipped = scorers_of({name: model.recipe for name, model in load_shipped().items()}, 1)

    def every(path):
        picture = Picture(path, once=True)
        return [shipped[name].score(picture) for name in ("technical", "quality", "beauty")]

    path = folder / "large.jpg"
    path.write_bytes(make_jpeg(read_image(files[0]), 0, 6000, 4000))
    scores = {"technical": shipped["technical"].score, "beauty": shipped["beauty"].score, "all three": every}
    sides = {"Pillow decodes it": lambda: Image.open(path).load()}
    sides |= {name: partial(score, path) for name, score in scores.items()}
    take_turns(sides, 1)  # to warm up
    measured = take_turns(sides, arguments.rounds, time.process_time)
    print(f"6000x4000, {path.stat().st_size / 1e6:.1f} MB, {shipped['technical'].network.description}")
    for name, (seconds, _) in measured.items():
        print(f"{name:18s}{1000 * seconds:7.0f} ms{seconds / measured['Pillow decodes it'][0]:7.2f} x")


# --- whole commands ----------------------------------------------------------------------------------------------------


def clocks():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), used.ru_utime + used.ru_stime])


def call(commands, folder):
    """Run commands, each (checkout of this project, script, options), in a folder; returns what the last one printed."""
    for project, *command in commands:
        line, environment = [sys.executable, "-P", *map(str, command)], os.environ | {"PYTHONPATH": str(project)}
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def compare_commands(sides, rounds, folder):
    """Time two sides, each a list of commands, and print the ratios of the other to this one."""
    measured = take_turns({name: partial(call, commands, folder) for name, commands in sides.items()}, rounds, clocks)
    for name, ((seconds, used), _) in measured.items():
        print(f"{name:24s}{seconds:8.2f} s{used:8.2f} s of processors")
    (ours, _), (theirs, _) = measured.values()
    print(f"ratio: {theirs[0] / ours[0]:.3f} in time, {theirs[1] / ours[1]:.3f} in processor time")


def compare_scores(ours, theirs, columns):
    """Print how far the scores of two `.csv` are apart; `theirs` has the same columns, or "mean" instead of one."""
    tables = []
    for path in (ours, theirs):
        with open(path, newline="", encoding="utf-8") as file:
            tables.append({row["path"]: row for row in csv.DictReader(file)})
    for column in columns:
        pairs = [(row[column], tables[1][path].get(column, tables[1][path].get("mean"))) for path, row in tables[0].items()]
        apart = [abs(float(mine) - float(other)) for mine, other in pairs if mine and other]
        print(f"  {column}: {len(apart)} of {len(pairs)} pictures have both scores, {max(apart):.2g} apart at most")


def compare_with_two_runs(arguments, files, folder):
    (pictures := folder / "pictures").mkdir()
    made = fill(pictures, files, arguments.images)
    print(", ".join(f"{number} {kind}" for kind, number in made.items()))

    def command(name, *script):
        page = folder / f"{name}.html"
        return [ROOT, *script, pictures, "--out", folder / f"{name}.csv", "--report", page, "--overwrite"]

    infer = {"beauty": ROOT / "AVA/infer_vanilla.py", "technical": ROOT / "TID2013_regression/infer_regression.py"}
    two = [command(name, script) for name, script in infer.items()]
    compare_commands({"iqa": [command("both", "-m", "iqa")], "two infer scripts": two}, arguments.rounds, folder)
    for name in infer:
        compare_scores(folder / "both.csv", folder / f"{name}.csv", [name])


def compare_with_checkout(arguments, files, folder):
    (pictures := folder / "pictures").mkdir()
    projects = {"this": ROOT, "other": arguments.against.resolve()}
    for file in files:
        (pictures / file.name).symlink_to(file.resolve())
    for project in projects.values():
        if Path(call([[project, "-c", "import iqa; print(iqa.__file__)"]], folder)).parent != project / "iqa":
            sys.exit(f"{project}: Python loads another iqa")
    for what, columns in (("infer_vanilla", ["mean"]), ("iqa", SHIPPED)):
        sides, outs = {}, []
        for side, project in projects.items():
            script = ["-m", "iqa"] if what == "iqa" else [project / "AVA/infer_vanilla.py"]
            outs.append(folder / f"{what}-{side}.csv")
            sides[f"{what}, {side}"] = [[project, *script, pictures, "--out", outs[-1], "--overwrite"]]
        compare_commands(sides, arguments.rounds, folder)
        compare_scores(*outs, columns)


def main():
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="of photographs")
    add("--weights", default="ava_vanilla", help="shipped AVA weights, or idealo's .hdf5, for the runtimes")
    add("--images", type=positive, default=500, help="number of files to score (default: 500)")
    add("--rounds", type=positive, default=3, help="of which the best counts (default: 3)")
    add("--mixed", action="store_true", help="score a folder of many kinds of files with iqa, and with two infer scripts")
    add("--large", action="store_true", help="compare scores of a large JPEG with its decoding")
    add("--against", type=Path, metavar="CHECKOUT", help="compare with another checkout of this project")
    arguments = parser.parse_args()
    files = list_images(arguments.folder)[: arguments.images]
    print(f"{len(files)} files, best of {arguments.rounds} rounds, {processors()} processors")
    comparisons = {"mixed": compare_with_two_runs, "large": compare_with_decoding, "against": compare_with_checkout}
    for compare in [what for name, what in comparisons.items() if getattr(arguments, name)] or [compare_runtimes]:
        with tempfile.TemporaryDirectory() as folder:
            compare(arguments, files, Path(folder))
    return 0


if __name__ == "__main__":
    run(main)

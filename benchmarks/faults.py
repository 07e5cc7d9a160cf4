"""Is anything lost if one write, one fsync or one rename fails, or the process is killed just there?

    python benchmarks/faults.py
    python benchmarks/faults.py --only training

A run is done once undisturbed. Then again and again: each time another one of all its writes, fsyncs, renames,
removals and commands to the journal fails, once; and for each of them, what lay on the disk just before it is put back, as
if the process had been killed there. From what is left the run is resumed, and must end with the result of the undisturbed
one, and with nothing beside it. Before that, what it should write is whole, or not there.
"""

import builtins
import contextlib
import errno
import io
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, quiet_start, run
from iqa.errors import IqaError
from iqa.files import written_whole
from iqa.scoring import collection, scorer
from iqa.scoring.engines import Engine
from iqa.scoring.runtimes import CompiledNetwork

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from stand_in import StandIn

#: Calls of `os` that change a folder or wait for the disk.
CALLS = ("replace", "rename", "fsync", "unlink", "remove", "rmdir", "mkdir")


class Points:
    """Where something can go wrong; `reach` is called at each of them, and what it does is up to `act`."""

    def __init__(self, folder, act=lambda what, number, error: None):
        self.folder, self.act, self.reached = str(folder), act, Counter()

    def reach(self, what, error):
        self.reached[what] += 1
        self.act(what, sum(self.reached.values()), error)

    def wraps(self, call, name):
        def faulty(*arguments, **named):
            path = arguments[0]
            if isinstance(path, int) or str(path).startswith(self.folder):
                self.reach(name, OSError(errno.EIO, "Input/output error"))
            return call(*arguments, **named)

        return faulty

    def open(self, file, mode="r", *arguments, **named):
        if mode != "wb" or not str(file).startswith(self.folder):
            return OPEN(file, mode, *arguments, **named)
        points = self

        class Faulty(io.FileIO):
            def write(self, content):
                points.reach("write", OSError(errno.ENOSPC, "No space left on device"))
                return super().write(content)

        return io.BufferedWriter(Faulty(file, "w"))

    def connect(self, *arguments, **named):
        points = self

        class Faulty(sqlite3.Connection):
            def execute(self, command, *values):
                if not command.startswith(("SELECT", "PRAGMA")):
                    points.reach(f"journal: {command.split()[0]}", sqlite3.OperationalError("disk I/O error"))
                return super().execute(command, *values)

            def close(self):
                points.reach("journal: close", sqlite3.OperationalError("disk I/O error"))
                return super().close()

        return CONNECT(*arguments, **named, factory=Faulty)

    @contextlib.contextmanager
    def watch(self):
        with contextlib.ExitStack() as stack:
            for name in CALLS:
                stack.enter_context(mock.patch.object(os, name, self.wraps(getattr(os, name), name)))
            for module in (builtins, io):
                stack.enter_context(mock.patch.object(module, "open", self.open))
            stack.enter_context(mock.patch.object(sqlite3, "connect", self.connect))
            yield self


OPEN, CONNECT = builtins.open, sqlite3.connect


class Lost(Exception):
    """What must not happen."""


def try_all(name, prepare, work, result_of, partial_results, top):
    """Let everything in `work` fail or be killed once.

    Args:
        name: to print.
        prepare: function (folder) that fills an empty folder with what there is before the work.
        work: function (folder) that does it, or goes on with it.
        result_of: function (folder) -> what must be the same in the end.
        partial_results: function (folder) -> the same of what is there already.
        top: a folder to do it in.

    Returns:
        Counter of the points.
    """
    folder, kills = Path(top) / "folder", Path(top) / "kills"
    kills.mkdir()

    def again():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare(folder)

    def keep_copy(what, number, error):
        shutil.copytree(folder, kills / f"{number:04d} {what}")

    again()
    work(folder)
    whole = result_of(folder)
    again()
    points = Points(folder, keep_copy)
    with points.watch():
        work(folder)
    check(name, "watched", whole, result_of(folder))
    for number in range(1, sum(points.reached.values()) + 1):
        again()
        failing = Points(folder, fail_at(number))
        with failing.watch(), contextlib.suppress(IqaError, OSError, sqlite3.OperationalError):
            work(folder)
        finish(f"{name}, failure {number}", folder, work, whole, result_of, partial_results)
    for killed in sorted(kills.iterdir()):
        shutil.rmtree(folder)
        shutil.move(killed, folder)
        finish(f"{name}, killed before {killed.name}", folder, work, whole, result_of, partial_results)
    shutil.rmtree(folder)
    kills.rmdir()
    return points.reached


def fail_at(wanted):
    def act(what, number, error):
        if number == wanted:
            raise error

    return act


def finish(name, folder, work, whole, result_of, partial_results):
    """Resume what is left, and look at what is there before and after."""
    for part, content in partial_results(folder).items():
        if content != whole[part]:
            raise Lost(f"{name}: {part} is there, and is not that of an undisturbed run")
    work(folder)
    check(name, "resumed", whole, result_of(folder))


def check(name, when, whole, found):
    if found != whole:
        parts = {part: (found.get(part), whole.get(part)) for part in found.keys() | whole.keys()}
        differ = {part: str(both)[:500] for part, both in parts.items() if both[0] != both[1]}
        raise Lost(f"{name}: {when}, not the result of an undisturbed run: {differ}")


# --- runs over collections --------------------------------------------------------------------------------------------


def make_pictures(folder, count=5):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256 // (number + 1), (16, 16, 3), np.uint8)).save(path)
        os.utime(path, (1, 1))
        if number == 3:
            path.write_bytes(b"broken")


def score(folder, suffix, keep=False):
    options = collection.RunOptions(report=folder / "page.html", keep=keep)
    # The pictures stay where they are, so that a copy of the folder is taken for the folder.
    collection.score_to_file(
        MODEL, lambda: collection.named_entries([PICTURES]), folder / f"scores{suffix}", options, tell=lambda line: None
    )


def results_of(folder):
    """{name: content} of what lies in a folder, but for what is meant to differ."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            name = str(path.relative_to(folder))
            if path.suffix == ".mat":
                content = content[128:]  # without the time
            if ".journal" in name:
                content = b""
            found[name] = content
    return found


def outputs_of(folder):
    return {name: content for name, content in results_of(folder).items() if name in ("page.html", *OUTPUTS)}


OUTPUTS = [f"scores{suffix}" for suffix in (".csv", ".jsonl", ".mat", ".parquet")]


def with_a_finished_run(folder):
    """A journal that was kept, of some of the pictures."""
    some = [str(path) for path in sorted(Path(PICTURES).iterdir())[:3]]
    collection.score_to_file(
        MODEL,
        lambda: collection.named_entries(some),
        folder / "scores.csv",
        collection.RunOptions(keep=True),
        tell=lambda line: None,
    )
    (folder / "scores.csv").unlink()


def with_a_damaged_journal(folder):
    """One of whose pages is gone."""
    with_a_finished_run(folder)
    path = folder / "scores.csv.journal"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(4096) + content[8192:])


def collections():
    """{name: what `try_all` takes} of the runs over collections."""
    cases = {f"scores{suffix}": (lambda folder: None, lambda folder, s=suffix: score(folder, s)) for suffix in SUFFIXES}
    cases["a run that is kept"] = (lambda folder: None, lambda folder: score(folder, ".csv", keep=True))
    cases["more pictures for a finished run"] = (with_a_finished_run, lambda folder: score(folder, ".csv"))
    cases["a damaged journal"] = (with_a_damaged_journal, lambda folder: score(folder, ".csv"))
    return {name: (*case, results_of, outputs_of) for name, case in cases.items()}


SUFFIXES = (".csv", ".jsonl", ".mat", ".parquet")


# --- the cache of compiled networks -----------------------------------------------------------------------------------

COMPILED = bytes(range(256)) * 64


class Model:
    """In the place of a Keras network."""

    def predict_on_batch(self, patches):
        return [array[: len(patches)] for array in OUTPUTS_OF_NETWORK]


OUTPUTS_OF_NETWORK = np.full((4, 10), 0.1, np.float32), np.zeros((4, 3), np.float32)


def export(model, card, file, *_):
    with written_whole(file) as stream:
        for start in range(0, len(COMPILED), 4096):
            stream.write(COMPILED[start : start + 4096])


def open_compiled(file, threads):
    if file.read_bytes() != COMPILED:
        raise ValueError("a damaged file")
    return lambda patches: [array[: len(patches)] for array in OUTPUTS_OF_NETWORK], "1"


def compile_network(folder):
    """Open a network on a runtime, which compiles it into the cache."""
    engine = Engine("stand-in", "numpy", "numpy", "litert", "litert", ".compiled", open_compiled)
    modules = {
        "iqa.models.export": mock.Mock(export=export),
        "iqa.models.networks": mock.Mock(network_of=lambda *_: Model()),
    }
    with mock.patch.dict(sys.modules, modules), mock.patch.dict(os.environ, IQA_CACHE=str(folder / "cache")):
        CompiledNetwork(engine, MODEL.weights, MODEL.card, "0" * 64, 1)


def files_of(folder):
    """{name: content} of the cache, without the time in the probe, and what killed writers left: others may be at work."""
    found = {path.name: path.read_bytes() for path in folder.glob("cache/[!.]*/[!.]*")}
    return {name: b"" if name == "probe.npz" else content for name, content in found.items()}


CACHE = (lambda folder: None, compile_network, files_of, lambda folder: {})


# --- a run of training ------------------------------------------------------------------------------------------------


def train(folder):
    """Train a tiny network for two phases, or go on with that."""
    from tiny_training import make_ladders, tiny_prompt

    from iqa.training.schedule import parse_schedule

    session = tiny_prompt(make_ladders(PICTURES, scenes=2), folder / "run").session
    session.begin(parse_schedule("1@1e-2:frozen,1@1e-3"), resume=session.trainer.folder.holds_a_run)


def state_of(folder):
    """The log, the phases and the weights of a run, without times."""
    from iqa.training.run_folder import read_state

    state, run = read_state(folder / "run"), folder / "run"
    names = {path.name for path in run.iterdir()} - {"run.json", "session.lock"}
    return {
        "files": sorted(names),
        "log.csv": [row.rsplit(",", 1)[0] for row in (run / "log.csv").read_text().splitlines()],
        "phases": [(phase.rate, phase.done, phase.steps, phase.status, phase.after) for phase in state.phases],
        "best": (state.best, weights_of(run / "best.weights.h5")),
        "checkpoint": weights_of(run / state.checkpoint),
    }


def named_files_of(folder):
    """Whether the files are there and whole that the state of a run names."""
    from iqa.training.run_folder import read_state

    run = folder / "run"
    state = read_state(run) if (run / "phases.json").exists() else None
    named = {state.checkpoint, state.begin, (state.best or {}).get("checkpoint")} - {None} if state else ()
    for name in named:
        if not (run / name).exists() or not weights_of(run / name):
            raise Lost(f"{run}: its state names {name}, which is not there")
    return {}


def weights_of(file):
    """The bytes of all arrays in a weight file."""
    import h5py

    arrays = []
    with h5py.File(file) as weights:
        weights.visititems(lambda name, part: arrays.append(part[()].tobytes()) if isinstance(part, h5py.Dataset) else None)
    return b"".join(arrays)


def training():
    """What `try_all` takes of a run of training."""
    with quiet_start():
        import tensorflow as tf

        from iqa.training.trainer import Trainer
    tf.config.experimental.enable_op_determinism()
    Trainer.writes_events = False
    return (lambda folder: None, quiet(train), state_of, named_files_of)


def quiet(work):
    def quietly(folder):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            work(folder)

    return quietly


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="runs whose name holds this text (default: all)")
    arguments = parser.parse_args()
    global PICTURES, MODEL
    began, total = time.monotonic(), Counter()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        PICTURES = f"{name}/pictures"
        make_pictures(Path(PICTURES))
        stack.enter_context(mock.patch.object(scorer, "open_network", lambda *_: StandIn()))
        stack.enter_context(mock.patch.object(collection, "now", lambda: "now"))
        stack.enter_context(mock.patch.object(collection, "tqdm", lambda **_: contextlib.nullcontext(mock.Mock())))
        MODEL = scorer.Scorer("ava_vanilla", head="histogram")
        cases = collections() | {"the cache": CACHE, "a run of training": training()}
        for what, case in cases.items():
            if arguments.only not in what:
                continue
            points = try_all(what, *case, name)
            total += points
            print(f"{sum(points.values()):5d} points: {what}", flush=True)
    for what, count in sorted(total.items()):
        print(f"{count:5d} {what}")
    count = sum(total.values())
    print(f"{count} points, each failed once and was killed once: nothing lost, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    run(main)

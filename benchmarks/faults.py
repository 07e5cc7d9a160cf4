"""Does a run end with the right output, whatever is killed, whenever?

    python benchmarks/faults.py                          # 20 runs of 120 pictures, some minutes
    python benchmarks/faults.py --runs 200 --seed 1
    python benchmarks/faults.py --engine ray --runs 3

Each run of `iqa --out` scores the same pictures: some are broken, one crashes its decoder and one hangs in it. The run is
killed from one to three times at random moments, as by a power button: in its start, while it scores, while it writes. Its
workers are killed at random as well, in the middle of pictures. Then it is resumed to its end, and must write what a run
wrote that nobody disturbed. After each kill that output must be whole or not there, and no worker may live on.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.images.finding import sample_photograph
from iqa.images.reading import read_image

SUFFIXES = (".csv", ".jsonl", ".parquet")

#: Seconds that the picture which hangs may take, and after which a process that should end counts as one that hangs.
TIMEOUT, PATIENCE = 3, 300

#: Every Python that is started imports it: decoders with a hole, and one that never comes back.
DECODERS = """
import os, signal, time
from iqa.images import reading

class Picture(reading.Picture):
    def __init__(self, path, *arguments, **named):
        if "crash" in str(path):
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in str(path):
            time.sleep(600)
        super().__init__(path, *arguments, **named)

reading.Picture = Picture
"""


class Fault(Exception):
    """Something that must not happen."""


def make_pictures(folder, count, rng):
    """Parts of a photograph of which 1 in 12 is broken, one crashes its decoder and one hangs in it."""
    whole = read_image(sample_photograph())
    folder.mkdir()
    for number in range(count):
        top, left = (rng.integers(0, side - 256) for side in whole.shape[:2])
        path = folder / f"{number:04d}.jpg"
        Image.fromarray(whole[top : top + 256, left : left + 256]).save(path)
        if number % 12 == 5:
            path.write_bytes(path.read_bytes()[: 20 + number])
    for number, kind in ((count // 3, "crash"), (count // 2, "hang")):
        (folder / f"{number:04d}.jpg").rename(folder / f"{number:04d}-{kind}.jpg")


def content_of(out):
    """What of an output must be the same: a `.parquet` holds the time of the run beside its rows."""
    if out.suffix != ".parquet":
        return out.read_bytes()
    from pyarrow.parquet import read_table

    return read_table(out).to_pylist()


class Run:
    """A run of `iqa` in a process of its own."""

    def __init__(self, work, out, engine, keep):
        options = ["--out", out, "--engine", engine, "--timeout", str(TIMEOUT), *(["--keep"] if keep else [])]
        options += ["--workers", "2"] if engine == "local" else []
        paths = [str(work / "decoders"), str(Path(__file__).resolve().parents[1])]
        self.said = work / f"said-{time.monotonic_ns()}"
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "iqa", work / "pictures", *options],
                stdout=said,
                stderr=said,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )

    def finish(self):
        """Its exit code and what it said, when it has ended."""
        try:
            return self.process.wait(PATIENCE), self.said.read_text(errors="replace")
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Fault(f"a run hangs: {self.said.read_text(errors='replace')}") from None


def stat_of(process):
    """(state, parent) of a process, by Linux's /proc; None if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def below(process):
    """The processes that a process has started, and those that they have."""
    parents = {int(path.name): stat_of(path.name) for path in Path("/proc").glob("[0-9]*")}
    found, last = set(), {process}
    while last:
        last = {child for child, stat in parents.items() if stat and stat[1] in last} - found
        found |= last
    return found


def is_worker(process):
    """Whether it decodes; Ray's own processes and the tracker of `multiprocessing` do not."""
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{process}/cmdline").read_bytes()
        return b"multiprocessing.spawn" in line or b"(Actor)" in line
    return False


def disturb(running, seconds, chance, counts):
    """Let a run go on for a while, and kill some of its workers at random; returns all processes that it had."""
    began, seen = time.monotonic(), set()
    moments = sorted(chance.uniform(0, seconds) for _ in range(chance.randint(0, 3)))
    for moment in [*moments, seconds]:
        while running.process.poll() is None and (left := began + moment - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
            seen |= below(running.process.pid)
        workers = sorted(filter(is_worker, below(running.process.pid)))
        if moment < seconds and workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                counts["workers killed"] += 1
    return seen


def storm(running, seconds, chance, counts):
    """Kill workers of a run for a while, then the run itself; nothing of it may live on."""
    seen = disturb(running, seconds, chance, counts)
    if running.process.poll() is None:
        seen |= below(running.process.pid)
        running.process.kill()
        counts["runs killed"] += 1
    running.process.wait()
    until = time.monotonic() + PATIENCE
    while left := [process for process in seen if (stat := stat_of(process)) and stat[0] != "Z" and is_worker(process)]:
        if time.monotonic() > until:
            raise Fault(f"workers live on without their parent: {left}")
        time.sleep(0.1)


def try_once(number, work, whole, seconds, chance, counts, engine):
    """One run: kills, then to its end."""
    suffix = SUFFIXES[number % len(SUFFIXES)]
    out, keep = work / f"{number}{suffix}", bool(number % 2)
    for _ in range(chance.randint(1, 3)):
        storm(Run(work, out, engine, keep), chance.uniform(0.05, 1.1) * seconds, chance, counts)
        if out.exists():
            counts["kills after the output was written"] += 1
            if content_of(out) != whole[suffix]:
                raise Fault(f"{out}: another output than that of a whole run")
    last = Run(work, out, engine, keep)
    disturb(last, seconds, chance, counts)
    code, said = last.finish()
    if code != 1 or content_of(out) != whole[suffix]:
        raise Fault(f"{out}: the resumed run ended with {code}, and not with the output of a whole one: {said[-3000:]}")
    counts["runs resumed to the end, with the output of a whole one"] += 1
    left = {path.name for path in work.iterdir() if path.name.strip(".").startswith(out.name)}
    if left != {out.name, *([f"{out.name}.journal"] if keep else [])}:
        raise Fault(f"left behind: {sorted(left)}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=positive, default=20)
    parser.add_argument("--images", type=positive, default=120)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if sys.platform != "linux":
        parser.error("this needs Linux")
    chance, counts, faults, whole, seconds = random.Random(arguments.seed), Counter(), 0, {}, 0.0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "pictures", arguments.images, np.random.default_rng(arguments.seed))
        (work / "decoders").mkdir()
        (work / "decoders" / "sitecustomize.py").write_text(DECODERS)
        for suffix in SUFFIXES:
            began = time.monotonic()
            code, said = Run(work, work / f"whole{suffix}", "local", False).finish()
            seconds = time.monotonic() - began
            expected = ("crash.jpg: its decoder crashed (signal 11)", f"hang.jpg: it took longer than {TIMEOUT} s")
            if code != 1 or not all(line in said for line in expected):
                parser.error(f"the undisturbed run ended with {code}: {said}")
            whole[suffix] = content_of(work / f"whole{suffix}")
        for number in range(arguments.runs):
            try:
                try_once(number, work, whole, seconds, chance, counts, arguments.engine)
            except Fault as fault:
                faults += 1
                print(f"run {number}: {fault}", flush=True)
    for what, count in sorted(counts.items()):
        print(f"{count:6d} {what}")
    print(f"{faults:6d} faults in {arguments.runs} runs of {arguments.images} pictures")
    return 1 if faults else 0


if __name__ == "__main__":
    run(main)

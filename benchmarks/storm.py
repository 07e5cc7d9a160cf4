"""Does a run end with the right output, whatever is killed, whenever?

    python benchmarks/storm.py                       # 150 runs of 480 pictures, some minutes
    python benchmarks/storm.py --runs 1000 --seed 1

Each run scores the same pictures, 40 of them broken, and is killed from one to three times at random moments, as by a power
button: in its start, while it scores, while it writes. Its workers are killed at random as well, in the middle of pictures.
Sometimes it is started twice at once. Then it is resumed to its end, which must be the output of a run that nobody
disturbed; after each kill the output must be that one already or not there, and no worker may live on. The model is a
stand-in that takes the mean of the pixels, and most workers are forks: what is tried is everything around them.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from iqa.cards import shipped_weights
from iqa.commands.terminal import parser_of, positive, run
from iqa.errors import IqaError
from iqa.scoring import pool as pools
from iqa.scoring import pool_worker
from iqa.scoring import scorer as scorers
from iqa.scoring.collection import RunOptions, named_entries, score_to_file
from iqa.scoring.lifeline import end_with_parent

TESTS = str(Path(__file__).resolve().parents[1] / "tests")
sys.path.insert(0, TESTS)
from stand_in import stand_in  # noqa: E402

# For the runs, for the workers that are forked, and for those that are interpreters of their own.
stand_in(scorers)
stand_in(pool_worker)
pools.PROGRAM = pools.PROGRAM.replace(
    "serve()",
    f"""sys.path.append({TESTS!r})
from stand_in import stand_in
from iqa.scoring import pool_worker
stand_in(pool_worker)
serve()""",
)


class Fork:
    """In the place of `subprocess.Popen` for most workers: a fork, which starts at once. Every eighth is an interpreter."""

    started = 0

    def __init__(self, command, stderr, **_):
        (question, self._in), (self._out, answer) = os.pipe(), os.pipe()
        self.returncode, self._parent = None, os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                for number, descriptor in enumerate((question, answer, stderr.fileno())):
                    os.dup2(descriptor, number)
                os.closerange(3, 256)
                sys.stdin, sys.argv = os.fdopen(0), ["-c", *command[4:]]
                end_with_parent(self._parent)
                pool_worker.serve()
            finally:
                os._exit(1)
        os.close(question)
        os.close(answer)
        self.stdin, self.stdout = os.fdopen(self._in, "wb"), os.fdopen(self._out, "rb")

    def wait(self, timeout=None):
        until = time.monotonic() + (timeout or PATIENCE)
        while self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            if self.returncode is None:
                if time.monotonic() > until:
                    raise subprocess.TimeoutExpired("worker", timeout)
                time.sleep(0.002)
        return self.returncode

    def kill(self):
        if self.returncode is None:
            kill(self.pid)


def start_worker(command, **options):
    Fork.started += 1
    return POPEN(command, **options) if Fork.started % 8 == 0 else Fork(command, **options)


POPEN = subprocess.Popen

SUFFIXES = (".csv", ".jsonl", ".mat")

#: Seconds after which a process that was told to end counts as one that hangs.
PATIENCE = 600


class Fault(Exception):
    """Something that a storm must not bring about."""


def make_pictures(folder, count, rng):
    """Small pictures of which 1 in 12 is broken."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:04d}.png"
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8) // (1 + number % 7)).save(path)
        if number % 12 == 5:
            path.write_bytes(path.read_bytes()[: 20 + number % 300])


class Run:
    """A run in a process of its own, which is a fork of this one: to start Python anew takes longer than to score."""

    def __init__(self, folder, out, keep, chance):
        self.said = out.with_name(f"said-{time.monotonic_ns()}")
        self.code = None
        self.pid = os.fork()
        if not self.pid:
            self._score(folder, out, keep, chance)

    def _score(self, folder, out, keep, chance):
        code = 99
        Fork.started, pools.subprocess.Popen = chance.randrange(8), start_worker
        try:
            os.dup2(os.open(self.said, os.O_WRONLY | os.O_CREAT), 2)
            os.dup2(2, 1)
            scorer = scorers.Scorer("ava_vanilla", head="histogram")
            options = RunOptions(workers=2, keep=keep)
            code = 1 if score_to_file(scorer, lambda: named_entries([folder]), out, options).skipped else 0
        except IqaError as error:
            print(error, file=sys.stderr)
            code = 2
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def poll(self):
        """Its exit code, if it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def finish(self, until=None):
        """(exit code, what it said) when it has ended."""
        until = until or time.monotonic() + PATIENCE
        while self.poll() is None:
            if time.monotonic() > until:
                self.kill()
                raise Fault(f"a run hangs: {self.said.read_text()}")
            time.sleep(0.01)
        said = self.said.read_text(errors="replace")
        self.said.unlink()
        return self.code, said

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def children_of(process):
    """The processes whose parent is this one, by Linux's /proc."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        for task in Path(f"/proc/{process}/task").iterdir():  # a worker belongs to the thread that started it
            text += " " + (task / "children").read_text()
    except OSError:
        return []
    return sorted({int(number) for number in text.split()})


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process, sign=signal.SIGKILL):
    try:
        os.kill(process, sign)
    except ProcessLookupError:
        return False
    return True


def disturb_workers(process, seconds, chance, counts):
    """Let a run go on for a while, and kill some of its workers at random; returns all that it had."""
    began, seen = time.monotonic(), set()
    moments = sorted(chance.uniform(0, seconds) for _ in range(chance.randint(0, 3)))
    for moment in [*moments, seconds]:
        while process.poll() is None and (left := began + moment - time.monotonic()) > 0:
            seen |= set(children_of(process.pid))
            time.sleep(min(0.02, left))
        if process.poll() is None and moment < seconds and (workers := children_of(process.pid)):
            counts["workers killed"] += kill(chance.choice(workers))
    return seen


def storm(process, seconds, chance, counts):
    """Kill workers of a run for a while, then the run itself."""
    seen = disturb_workers(process, seconds, chance, counts)
    if process.poll() is not None:
        counts["runs that ended before they were killed"] += 1
    else:
        seen |= set(children_of(process.pid))
        process.kill()
        counts["runs killed"] += 1
    process.said.unlink(missing_ok=True)
    until = time.monotonic() + PATIENCE  # the first thing that a worker does is to see to it; Python's start comes before
    while any(map(lives, seen)):
        if time.monotonic() > until:
            raise Fault("a worker lives on without its parent")
        time.sleep(0.01)


def content_of(out):
    """What of an output must be the same."""
    if out.suffix != ".mat":
        return out.read_bytes()
    content = loadmat(out)
    names = [name.item() for name in content["filenames"].ravel()]
    return content["predictions"].tobytes(), names, [[text.item() for text in row] for row in content["skipped"]]


def disturb(number, folder, work, whole, seconds, chance, counts):
    """One run: kills, then to its end."""
    suffix = SUFFIXES[number % len(SUFFIXES)]
    out, keep = work / f"{number}{suffix}", bool(number % 2)
    for _ in range(chance.randint(1, 3)):
        storm(Run(folder, out, keep, chance), chance.uniform(0.05, 1.1) * seconds, chance, counts)
        if out.exists():
            counts["kills after the output was written"] += 1
            if content_of(out) != whole[suffix]:
                raise Fault(f"{out}: another output than that of a whole run")
    last = Run(folder, out, keep, chance)
    if chance.random() < 0.2:
        code, said = Run(folder, out, keep, chance).finish()
        counts["second starts refused in one line"] += code == 2
        if code not in (1, 2) or (code == 2 and said.strip() != f"{out}.journal: another run is writing it"):
            raise Fault(f"a second start ended with {code}: {said}")
    else:
        disturb_workers(last, seconds, chance, counts)
    code, said = last.finish()
    if code == 2 and "another run is writing it" in said:
        code, said = Run(folder, out, keep, chance).finish()  # the second start was the first
    if code != 1 or content_of(out) != whole[suffix]:
        raise Fault(f"{out}: the resumed run ended with {code}, and another output than that of a whole one: {said}")
    counts["runs resumed to the end, with the output of a whole one"] += 1
    left = {path.name for path in work.glob(f"{out.name}*")} | {path.name for path in work.glob(f".{out.name}*")}
    if left != {out.name, *([f"{out.name}.journal"] if keep else [])}:
        raise Fault(f"left behind: {sorted(left)}")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=positive, default=150)
    parser.add_argument("--images", type=positive, default=480)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if sys.platform != "linux" or not shipped_weights("ava_vanilla").exists():
        parser.error("this needs Linux and the weights that ship")
    chance, counts, faults = random.Random(arguments.seed), Counter(), []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work, folder = Path(name), Path(name) / "pictures"
        make_pictures(folder, arguments.images, np.random.default_rng(arguments.seed))
        whole, seconds = {}, 0.0
        for suffix in SUFFIXES:
            started = time.monotonic()
            code, err = Run(folder, work / f"whole{suffix}", False, chance).finish()
            seconds = max(seconds, time.monotonic() - started)
            if code != 1:
                parser.error(f"the undisturbed run ended with {code}: {err}")
            whole[suffix] = content_of(work / f"whole{suffix}")
        for number in range(arguments.runs):
            try:
                disturb(number, folder, work, whole, seconds, chance, counts)
            except Fault as fault:
                faults.append(f"run {number}: {fault}")
                print(faults[-1], flush=True)
            if number % 10 == 9:
                print(
                    f"{number + 1} runs after {time.monotonic() - began:.0f} s: {dict(counts)}", file=sys.stderr, flush=True
                )
    for what, count in sorted(counts.items()):
        print(f"{count:6d} {what}")
    print(
        f"{len(faults):6d} faults in {arguments.runs} runs of {arguments.images} pictures, {time.monotonic() - began:.0f} s"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    run(main)

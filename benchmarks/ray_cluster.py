"""What does a Ray cluster cost, and does it lose anything when its processes are killed?

    python benchmarks/ray_cluster.py FOLDER                     # the first 1,000 images of the folder
    python benchmarks/ray_cluster.py FOLDER --rounds 3

Two nodes of one processor each (`ray start`) on this machine, against a local run with two workers: the same files in turn,
the best of several rounds, into a `.jsonl`. The rate is that of all images but the first fifth, during which either side
starts. What Ray adds to an image is the difference in processor time, of all processes of either side; where something else
runs, believe it rather than the rate.

Then one run has an actor killed after a quarter of the images and its driver after a half, and is resumed: the output must
be that of the local run, and no image that was recorded may be scored again.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from iqa.cards import shipped_weights
from iqa.commands.terminal import parser_of, positive, run
from iqa.images.finding import list_images
from iqa.scoring.collection import RunOptions, identify, score_to_file
from iqa.scoring.distributed import connect, score_on_ray
from iqa.scoring.journal import Entry, Journal
from iqa.scoring.scorer import Scorer

NODES, PORT = 2, 46379

#: Part of the images after which the rate is taken, the actor is killed, and the driver is.
STARTED, ACTOR_DIES, DRIVER_DIES = 0.2, 0.25, 0.5

#: Seconds that a node may take to start.
PATIENCE = 300

#: How often a node is started that does not come up.
TRIES = 5


@contextlib.contextmanager
def start_cluster(folder):
    """A cluster of `NODES` nodes of one processor each; yields its address and the numbers of their processes."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # or anybody could join
    from ray.util import get_node_ip_address  # which reads the token that there is when it is imported

    # One port is asked for; both nodes are on one machine and take what is free for all others.
    common = ["--block", "--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats"]
    common += ["--min-worker-port=0", "--max-worker-port=0"]
    address = f"{get_node_ip_address()}:{PORT}"  # Ray joins no nodes on the loopback
    head = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}"]
    program = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    nodes = []
    try:
        for options in (head, *[[f"--address={address}"]] * (NODES - 1)):
            nodes.append(start_node([*program, *common, *options], address, len(nodes) + 1, folder / "nodes.log"))
        yield address, [node.pid for node in nodes]
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            try:
                node.wait(60)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def start_node(command, address, nodes, log):
    """The process of a node, once the cluster has so many. Ray gives it 30 s, so a busy machine may need several tries."""
    for _ in range(TRIES):
        with open(log, "ab") as said:
            node = subprocess.Popen(command, stdout=said, stderr=said)
        if has_nodes(address, nodes, node):
            return node
        node.kill()
        node.wait()
    raise SystemExit(f"the cluster does not start:\n{log.read_text()[-2000:]}")


def has_nodes(address, nodes, node):
    """Wait until the cluster has so many nodes; returns whether it has, and not if the last one ends before."""
    question = (
        f"import ray; ray.init({address!r}, logging_level='CRITICAL'); "
        f"raise SystemExit(sum(node['Alive'] for node in ray.nodes()) < {nodes})"
    )
    host, port = address.split(":")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and node.poll() is None:
        time.sleep(1)
        # Where nothing answers, Ray waits for minutes.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            socket.create_connection((host, int(port)), 5).close()
            if not subprocess.run([sys.executable, "-c", question], capture_output=True, timeout=90).returncode:
                return True
    return False


def processor_time(own, apart=()):
    """Seconds of a processor that a process and those below it have taken, without those that are `apart` with theirs."""
    parents, seconds = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            parents[int(process.name)] = int(fields[1])
            seconds[int(process.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def belongs(process):
        while process not in apart and process in parents:
            if process == own:
                return True
            process = parents[process]
        return False

    return sum(time for process, time in seconds.items() if belongs(process))


class Speed(NamedTuple):
    """What a run took. An image's share is that of the images after the first `STARTED` of them.

    Attributes:
        rate: images/s once started.
        whole: images/s with the start.
        start: seconds of a processor until then.
        image: milliseconds of a processor for each image after that.
        scored: number of images that were scored.
    """

    rate: float
    whole: float
    start: float
    image: float
    scored: int


def score(scorer, files, out, engine=None, apart=()):
    """Score files to a file; processes that are `apart` do not count, see `processor_time`."""
    first, last = int(STARTED * len(files)), len(files) - 1
    times, spent, record = [], [processor_time(os.getpid(), apart)], Journal.record

    def note(self, position, prediction):
        if len(times) in (first, last):  # while all processes live, whose times would be lost with them
            spent.append(processor_time(os.getpid(), apart))
        times.append(time.perf_counter())
        record(self, position, prediction)

    Journal.record = note
    try:
        began = time.perf_counter()
        options = RunOptions(workers=NODES, engine=engine)
        score_to_file(scorer, lambda: (Entry(str(file), file) for file in files), out, options, tell=lambda line: None)
        whole = len(files) / (time.perf_counter() - began)
    finally:
        Journal.record = record
    if len(times) < len(files):
        return Speed(0, whole, 0, 0, len(times))
    images = last - first
    return Speed(
        rate=images / (times[last] - times[first]),
        whole=whole,
        start=spent[1] - spent[0] - first * (spent[2] - spent[1]) / images,
        image=1000 * (spent[2] - spent[1]) / images,
        scored=len(times),
    )


def find_actors(folder):
    """The processes of actors whose node keeps its files in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if b"_Actor" in (process / "cmdline").read_bytes():
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if os.fsencode(folder) in Path("/proc", parent, "cmdline").read_bytes():
                    found.append(int(process.name))
    return found


def kill_and_resume(scorer, files, folder, address):
    """Kill an actor, then the driver, resume; returns (images recorded before, images scored after, output)."""
    out = folder / "killed.jsonl"
    (folder / "list").write_bytes(b"\0".join(os.fsencode(file) for file in files))
    script = Path(__file__).resolve().parents[1] / "AVA" / "infer_vanilla.py"
    options = ["-0", "--list", folder / "list", "--out", out, "--runtime", scorer.network.name]
    command = [sys.executable, script, *options, "--engine", "ray", "--ray-address", address]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    killed = False
    said = b""
    while chunk := os.read(driver.stderr.fileno(), 4096):
        said = (said + chunk)[-4096:]
        done = max([int(number) for number in re.findall(rb"(\d+)/%d" % len(files), said)], default=0)
        if not killed and done > ACTOR_DIES * len(files):
            os.kill(find_actors(folder)[0], signal.SIGKILL)
            killed = True
        if killed and done > DRIVER_DIES * len(files):
            driver.kill()
            break
    driver.wait()
    driver.stderr.close()
    if not killed or out.exists():
        raise SystemExit(f"the run ended before it was killed: {said.decode(errors='replace')}")
    with Journal(out.with_name(f"{out.name}.journal"), identify(scorer)) as journal:
        before = journal.count()[1]
    after = score(scorer, files, out, partial(score_on_ray, scorer.recipe)).scored
    return before, after, out.read_bytes()


def best(runs, name, choose):
    """{side: the best figure of that name in its rounds}."""
    return {side: choose(getattr(one, name) for one in known) for side, known in runs.items()}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=positive, default=1000, help="how many (default: 1000)")
    parser.add_argument("--rounds", type=positive, default=3, help="of both sides (default: 3)")
    arguments = parser.parse_args()
    files = list_images(arguments.folder)[: arguments.images]
    scorer = Scorer(shipped_weights("ava_vanilla"), head="histogram", runtime="litert")
    # Sockets lie in the folder, whose path must be short.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray") as name, start_cluster(Path(name)) as (address, nodes):
        folder = Path(name)
        connect(address)
        engine = partial(score_on_ray, scorer.recipe)
        runs = {"local": [], "ray": []}
        outputs = set()
        for number in range(arguments.rounds):
            for side, known in runs.items():
                out = folder / f"{side}-{number}.jsonl"
                one = score(scorer, files, out, engine) if side == "ray" else score(scorer, files, out, apart=nodes)
                known.append(one)
                outputs.add(out.read_bytes())
                print(
                    f"round {number + 1}, {side}: {one.rate:.1f} images/s once started, {one.whole:.1f} with the start;",
                    end=" ",
                )
                print(f"of a processor {one.start:.1f} s to start, {one.image:.2f} ms an image", flush=True)
        rate, whole = (best(runs, name, max) for name in ("rate", "whole"))
        image, start = (best(runs, name, min) for name in ("image", "start"))
        print(f"Ray / local: {rate['ray'] / rate['local']:.2f} once started,", end=" ")
        print(f"{whole['ray'] / whole['local']:.2f} with the start")
        print(f"Ray adds {image['ray'] - image['local']:.2f} ms of a processor to an image,", end=" ")
        print(f"{start['ray'] - start['local']:.1f} s to a run")
        print("outputs:", "all the same" if len(outputs) == 1 else "THEY DIFFER")
        before, after, output = kill_and_resume(scorer, files, folder, address)
        same = output in outputs
        print(f"an actor and the driver killed: {before} images recorded, {after} scored after that,", end=" ")
        print("output", "the same" if same else "DIFFERS")
        return 0 if same and len(outputs) == 1 and before + after == len(files) else 1


if __name__ == "__main__":
    run(main)

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
            node.wait(60)


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


@contextlib.contextmanager
def timed():
    """The times at which scores are recorded."""
    times, record = [], Journal.record

    def note(self, position, prediction):
        times.append(time.perf_counter())
        record(self, position, prediction)

    Journal.record = note
    try:
        yield times
    finally:
        Journal.record = record


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


def score(scorer, files, out, engine=None):
    """Score files to a file; returns (images/s once started, images/s of the whole, number of images that were scored)."""
    with timed() as times:
        began = time.perf_counter()
        options = RunOptions(workers=NODES, engine=engine)
        score_to_file(scorer, lambda: (Entry(str(file), file) for file in files), out, options, tell=lambda line: None)
        whole = time.perf_counter() - began
    first = int(len(times) * STARTED)
    rate = (len(times) - 1 - first) / (times[-1] - times[first]) if len(times) > 2 else 0.0
    return rate, len(files) / whole, len(times)


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
    _, _, after = score(scorer, files, out, partial(score_on_ray, scorer.recipe))
    return before, after, out.read_bytes()


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
        best = {side: (0.0, 0.0, float("inf")) for side in ("local", "ray")}
        outputs = set()
        for number in range(arguments.rounds):
            for side, known in best.items():
                out, apart = folder / f"{side}-{number}.jsonl", nodes if side == "local" else []
                spent = processor_time(os.getpid(), apart)
                rate, whole, _ = score(scorer, files, out, engine if side == "ray" else None)
                spent = 1000 * (processor_time(os.getpid(), apart) - spent) / len(files)
                outputs.add(out.read_bytes())
                best[side] = (max(rate, known[0]), max(whole, known[1]), min(spent, known[2]))
                print(f"round {number + 1}, {side}: {rate:.1f} images/s once started, {whole:.1f} with the start,", end=" ")
                print(f"{spent:.2f} ms of a processor an image", flush=True)
        once, whole, spent = (there / here for there, here in zip(best["ray"], best["local"], strict=True))
        print(f"Ray / local: {once:.2f} once started, {whole:.2f} with the start, {spent:.2f} in processor time")
        print("outputs:", "all the same" if len(outputs) == 1 else "THEY DIFFER")
        before, after, output = kill_and_resume(scorer, files, folder, address)
        same = output in outputs
        print(f"an actor and the driver killed: {before} images recorded, {after} scored after that,", end=" ")
        print("output", "the same" if same else "DIFFERS")
        return 0 if same and len(outputs) == 1 and before + after == len(files) else 1


if __name__ == "__main__":
    run(main)

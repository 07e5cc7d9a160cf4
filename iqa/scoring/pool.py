"""Processes that decode and score: as many at once as there are processors, and none whose crash takes the run down.

    with Workers(scorer.recipe, 2) as workers:
        for path, array, error in workers.map(paths): ...

Decoders are C code that strangers' files are fed to. A worker that dies over an image, or takes too long, is replaced; the
image is tried once more and then reported. Workers are interpreters of their own, started from scratch rather than forked:
the threads of TensorFlow and of the runtimes do not survive a fork, and `multiprocessing` would run the caller's script
again.

The two speak in lines of JSON, an answer followed by the bytes of its array. Nothing is unpickled, so that a worker that a
crafted file has taken over cannot do the same to its parent.
"""

import contextlib
import functools
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from iqa.cards import Card
from iqa.errors import WorkerError

#: Seconds that one image may take.
PATIENCE = 300

# How often an image is tried whose worker died: once may be the machine's fault, for want of memory perhaps.
TRIES = 2

# Images handed to a worker at once: each time that it and its parent wake one another costs as much as a tenth of an image.
# Where a whole image's patches are held in memory or sent, it is one at a time.
CHUNK = 4

# Chunks handed out ahead of the one that is waited for, for each worker: so that a slow one does not stop the others.
AHEAD = 4

_START = "import sys; sys.path.insert(0, sys.argv[1]); from iqa.scoring.pool import serve; serve()"


class Workers:
    """A pool of workers; a context manager.

    Args:
        recipe: of a `Scorer`, as JSON can hold it, or {"thumbnail": pixels} to make thumbnails.
        count: of processes.
    """

    def __init__(self, recipe, count):
        self._recipe, self._count = recipe, count
        self._chunk = 1 if recipe.get("runtime") == "keras" or recipe.get("crop") == "grid" else CHUNK
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115, stderr of them all, as long as the pool
        self._idle, self._all, self._changing = queue.SimpleQueue(), [], threading.Lock()
        for _ in range(count):
            self._idle.put(None)  # a place for a worker, which is started when there is work for it
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._changing:
            self._over.set()
            for worker in self._all:
                worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            worker.close()
        self._complaints.close()

    def map(self, paths):
        """Hand out paths as they are needed.

        Yields:
            (path, array, error) in the order of `paths`: float32 (1,) or (10,), the output; with the runtime "keras" uint8
            (N, size, size, 3), the patches; of thumbnails uint8 (n,), see `iqa.images.reading.thumbnail`. Where `error`, a line, is
            not None, the array is.
        """
        paths, waiting = iter(paths), deque()
        for number in itertools.count():
            # One by one at first, for a row on the terminal as soon as it is known.
            chunk = list(itertools.islice(paths, 1 if number < 2 * self._count else self._chunk))
            if not chunk:
                break
            waiting.append((chunk, self._threads.submit(self._ask, chunk)))
            if len(waiting) > AHEAD * self._count:
                yield from self._answered(*waiting.popleft())
        for chunk, answers in waiting:
            yield from self._answered(chunk, answers)

    def _answered(self, chunk, answers):
        for path, answer in zip(chunk, answers.result()):
            yield path, *answer

    def _ask(self, paths):
        """(array, error) for each of the paths, whatever happens to the workers."""
        worker = self._idle.get()
        try:
            for _ in range(TRIES):
                worker = self._living(worker)
                answers = worker.ask(paths)
                if answers is not None:
                    return answers
                if len(paths) > 1:
                    break
            if not worker.ready and len(paths) == 1:
                raise WorkerError(f"the workers cannot be started: {self._last_complaint() or worker.cause}")
        finally:
            self._idle.put(worker)
        if len(paths) > 1:  # one of them is to blame: which?
            return [self._ask([path])[0] for path in paths]
        return [(None, worker.cause)]

    def _living(self, worker):
        """The worker, or a new one in its place if there is none or it died."""
        with self._changing:
            if self._over.is_set():
                raise WorkerError("the run was ended")
            if worker and not worker.died:
                return worker
            if worker:
                self._all.remove(worker)
                worker.close()
            worker = _Worker(self._recipe, self._complaints)
            self._all.append(worker)
            return worker

    def _last_complaint(self):
        self._complaints.seek(0)
        return (self._complaints.read().decode(errors="replace").strip().splitlines() or [""])[-1]

    def _watch(self):
        while not self._over.wait(1):
            for worker in list(self._all):
                if worker.since and time.monotonic() - worker.since > PATIENCE:
                    worker.cause = f"it took longer than {PATIENCE} s"
                    worker.kill()


class _Worker:
    """The parent's end of one process."""

    def __init__(self, recipe, complaints):
        # Out of the terminal's process group: Ctrl-C is for the parent, who then ends the workers.
        apart = {"process_group": 0} if os.name == "posix" else {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            # -P: the current folder, which may be somebody's pictures, is no place to import from.
            [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2]), json.dumps(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            **apart,
        )
        self.ready = self.died = False
        self.since = self.cause = None

    def ask(self, paths):
        """(array, error) for each of the paths, or None if the worker died over one of them."""
        try:
            if not self.ready:
                self.ready = self._process.stdout.readline() == b"ready\n"
            self.since = time.monotonic()
            self._process.stdin.write(json.dumps([os.path.abspath(path) for path in paths]).encode() + b"\n")
            self._process.stdin.flush()
            return [self._answer() for _ in paths]
        except (OSError, EOFError, ValueError):  # a pipe closed at any of these steps
            self.died = True
            code = self._exit_code()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self.cause = self.cause or (f"its decoder crashed ({how})" if self.ready else how)
            return None
        finally:
            self.since = None

    def _answer(self):
        head = json.loads(self._process.stdout.readline())
        self.since = time.monotonic()
        if "error" in head:
            return None, head["error"]
        array = np.empty(head["shape"], head["dtype"])
        if self._process.stdout.readinto(memoryview(array).cast("B")) != array.nbytes:
            raise EOFError
        return array, None

    def _exit_code(self):
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self):
        self._process.kill()

    def close(self):
        with contextlib.suppress(OSError):  # what was written to it may not have gone out
            self._process.stdin.close()  # on which it ends, if it has not yet
        self._process.wait()
        self._process.stdout.close()


# --- the worker's own side -------------------------------------------------------------------------------------------


def serve():
    """Answer the questions on stdin until it is closed; what the process of a worker does."""
    from iqa.labels.opinions import Prediction

    # The answers go out by a descriptor of their own: whatever prints to stdout must not garble them.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answers_of = _answers_of(json.loads(sys.argv[2]))
    channel.write(b"ready\n")
    channel.flush()
    for line in sys.stdin.buffer:
        for answer in answers_of(json.loads(line)):
            array, error = (answer.output, answer.reason) if isinstance(answer, Prediction) else (answer, None)
            if error is not None:
                head, body = {"error": error}, b""
            else:
                array = np.ascontiguousarray(array)
                head, body = {"shape": array.shape, "dtype": array.dtype.str}, memoryview(array).cast("B")
            channel.write(json.dumps(head).encode() + b"\n")
            channel.write(body)
        channel.flush()


def _answers_of(recipe):
    """The function from paths to an answer each, an array or a `Prediction`, that a recipe asks for."""
    from iqa.images.geometry import Geometry
    from iqa.scoring.scorer import scored, seen

    if "thumbnail" in recipe:
        from iqa.images.reading import thumbnail

        look = functools.partial(thumbnail, side=recipe["thumbnail"])
    else:
        look = Geometry.of(Card.from_json(recipe["card"]), recipe["crop"], recipe["mean_opinion"]).patches
    decode = functools.partial(seen, look)
    if recipe.get("runtime", "keras") == "keras":
        return functools.partial(map, decode)
    from iqa.scoring.runtimes import open_network

    card = Card.from_json(recipe["card"])
    network = open_network(recipe["runtime"], recipe["weights"], card, recipe["sha256"], threads=1)
    # First all are decoded, then all are scored: going to and fro empties the processor's caches.
    return lambda paths: scored(network, [decode(path) for path in paths])

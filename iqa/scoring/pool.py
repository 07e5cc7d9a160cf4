"""Processes that decode and score, one for each processor. If one crashes, the run goes on.

    with Workers(scorer.recipe, 2) as pool:
        for path, answer in pool.map(paths): ...

Decoders are C code that reads files from strangers. A worker that dies over a picture, or takes too long, is replaced; the
picture is tried once more and then reported. Workers start as interpreters of their own and are not forked: the threads of
TensorFlow and of the runtimes do not survive a fork, and `multiprocessing` would run the caller's script again.

Both sides speak in lines of JSON, an answer followed by the bytes of its array; `iqa.scoring.pool_worker` is the other
side. Nothing is unpickled, so a worker that a crafted file has taken over cannot do the same to its parent.
"""

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.environment import temporary_file
from iqa.errors import WorkerError

#: Seconds that one picture may take.
PATIENCE = 300.0

#: How often to try a picture whose worker died: once may be the fault of the machine, perhaps of its memory.
TRIES = 2

#: Pictures handed to a worker at once: each time that it and its parent wake one another costs as much as a tenth of a
#: picture. It is one at a time where all patches of a picture are held in memory or sent.
CHUNK = 4

#: Chunks handed out ahead of the one that is waited for, for each worker, so that a slow one does not stop the others.
AHEAD = 4

#: What a worker runs. Its arguments are the folder that holds this library, and the recipe.
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from iqa.scoring.pool_worker import serve; serve()"


class Answer(NamedTuple):
    """What a worker says of a picture: an array, perhaps with a warning, or the reason why there is none."""

    array: NDArray[Any] | None
    reason: str | None = None
    warning: str | None = None


class Workers:
    """A pool of workers; a context manager.

    Args:
        recipe: of a `Scorer`, as JSON holds it, or {"thumbnail": pixels} to make thumbnails.
        count: how many processes.
    """

    def __init__(self, recipe: dict[str, Any], count: int) -> None:
        self._recipe, self._count = recipe, count
        grid = recipe.get("looks", {}).get("crop") in ("grid", "cover")
        self._chunk = 1 if grid or "pair" in recipe or recipe.get("runtime") == "keras" else CHUNK
        self._complaints = temporary_file()  # the stderr of all, which lives as long as the pool
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._changing = threading.Lock()
        for _ in range(count):
            self._idle.put(None)  # a place for a worker, which starts when there is work for it
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changing:
            self._over.set()
            for worker in self._all:
                worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            worker.close()
        self._complaints.close()

    @property
    def processes(self) -> list[int]:
        """The numbers of the worker processes that run now."""
        return [worker.process.pid for worker in self._all]

    def map(self, paths: Iterable[Any]) -> Iterator[tuple[Any, Answer]]:
        """Hand out paths as they are needed.

        Yields:
            (path, `Answer`) in the order of `paths`. The array is the output, float32 (1,) or (10,); with the runtime
            "keras" the patches, uint8 (N, size, size, 3); or a thumbnail, uint8 (n,), see `iqa.images.reading.thumbnail`.
            Without an array there is a reason, one line; with one there may be a warning.

        Raises:
            WorkerError: if the workers cannot be started.
        """
        paths = iter(paths)
        waiting: deque[tuple[list[Any], Future[list[Answer]]]] = deque()
        for number in itertools.count():
            # One by one at first, so that the terminal shows a row as soon as it is known.
            chunk = list(itertools.islice(paths, 1 if number < 2 * self._count else self._chunk))
            if not chunk:
                break
            waiting.append((chunk, self._threads.submit(self._ask, chunk)))
            if len(waiting) > AHEAD * self._count:
                chunk, answers = waiting.popleft()
                yield from zip(chunk, answers.result(), strict=True)
        for chunk, answers in waiting:
            yield from zip(chunk, answers.result(), strict=True)

    def _ask(self, paths: list[Any]) -> list[Answer]:
        """An answer for each of the paths, whatever happens to the workers."""
        place = self._idle.get()
        try:
            for _ in range(TRIES):
                place = worker = self._replace_if_dead(place)
                answers = worker.ask(paths)
                if answers is not None:
                    return answers
                if len(paths) > 1:
                    break
            if not worker.ready and len(paths) == 1:
                raise WorkerError(f"the workers cannot be started: {self._last_complaint() or worker.cause}")
        finally:
            self._idle.put(place)
        if len(paths) > 1:  # one of them is to blame: which?
            return [self._ask([path])[0] for path in paths]
        return [Answer(None, worker.cause)]

    def _replace_if_dead(self, worker: "_Worker | None") -> "_Worker":
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

    def _last_complaint(self) -> str:
        self._complaints.seek(0)
        return (self._complaints.read().decode(errors="replace").strip().splitlines() or [""])[-1]

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, PATIENCE / 4)):
            for worker in list(self._all):
                if worker.since and time.monotonic() - worker.since > PATIENCE:
                    worker.cause = f"it took longer than {PATIENCE:g} s"
                    worker.kill()


class _Worker:
    """The parent's end of one process."""

    def __init__(self, recipe: dict[str, Any], complaints: IO[bytes]) -> None:
        # Out of the terminal's process group: Ctrl-C is for the parent, which then ends the workers.
        apart: dict[str, Any] = (
            {"process_group": 0} if os.name == "posix" else {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        )
        self.process = subprocess.Popen(
            # -P: import nothing from the current folder, which may hold somebody's pictures.
            [sys.executable, "-P", "-c", PROGRAM, str(Path(__file__).resolve().parents[2]), json.dumps(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            **apart,
        )
        assert self.process.stdin and self.process.stdout
        self._questions, self._answers = self.process.stdin, self.process.stdout
        self.ready = self.died = False
        self.since: float | None = None
        self.cause: str | None = None

    def ask(self, paths: list[Any]) -> list[Answer] | None:
        """An answer for each of the paths, or None if the worker died over one of them."""
        try:
            if not self.ready:
                self.ready = self._answers.readline() == b"ready\n"
            self.since = time.monotonic()
            self._questions.write(json.dumps([os.path.abspath(path) for path in paths]).encode() + b"\n")
            self._questions.flush()
            return [self._read_answer() for _ in paths]
        except (OSError, EOFError, ValueError):  # a pipe that closed at any of these steps
            self.died = True
            code = self._exit_code()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self.cause = self.cause or (f"its decoder crashed ({how})" if self.ready else how)
            return None
        finally:
            self.since = None

    def _read_answer(self) -> Answer:
        head = json.loads(self._answers.readline())
        self.since = time.monotonic()
        if "reason" in head:
            return Answer(None, head["reason"])
        array = np.empty(head["shape"], head["dtype"])
        if self._answers.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return Answer(array, warning=head.get("warning"))

    def _exit_code(self) -> int:
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what was written to it may not have gone out
            self._questions.close()  # on which it ends, if it has not yet
        self.process.wait()
        self._answers.close()

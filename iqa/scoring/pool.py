"""Processes that decode and score, one for each processor. If one crashes, the run goes on.

    with Workers(scorer.recipe, 2) as pool:
        for path, answer in pool.map(paths): ...

Decoders are C code that reads files from strangers. A worker that dies over a picture, or takes too long, is replaced; the
picture is tried once more, by itself, and then reported. Workers start as interpreters of their own and are not forked: the
threads of TensorFlow and of the runtimes do not survive a fork, and `multiprocessing` would run the caller's script again.

Paths go out as lines of JSON; `iqa.scoring.messages` says what comes back, `iqa.scoring.pool_worker` is the other side.
Nothing is unpickled and nothing is believed, so a worker that a crafted file has taken over cannot do the same to its
parent.
"""

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from iqa.environment import temporary_file
from iqa.errors import WorkerError
from iqa.scoring.messages import Answer, Form, MessageError, read_answer, read_ready

#: Seconds that one picture may take, unless the caller says otherwise.
TIMEOUT = 60.0

#: Seconds that a worker may take to start: to import its libraries and open the network.
TIME_TO_START = 120.0

#: How many workers in a row may fail to start before the run ends. The first ones may be the fault of a busy machine.
STARTS = 5

#: How often to try a picture whose worker died.
TRIES = 2

#: How often if it was ended from outside, which the picture need not have caused.
TRIES_IF_ENDED = 3

#: Pictures handed to a worker at once: each time that it and its parent wake one another costs as much as a tenth of a
#: picture. It is one at a time where all patches of a picture are held in memory or sent.
CHUNK = 4

#: Chunks handed out ahead of the one that is waited for, for each worker, so that a slow one does not stop the others.
AHEAD = 4

#: What a worker runs. Its arguments are the folder that holds this library, the recipe, and the number of its parent. The
#: folder comes before other packages and after the standard library, which no package may stand in for.
PROGRAM = """
import sys
places = [place for place, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages"))]
sys.path.insert(min(places, default=len(sys.path)), sys.argv[1])
from iqa.scoring.lifeline import end_with_parent
end_with_parent(int(sys.argv[3]))
from iqa.scoring.pool_worker import serve
serve()
"""


class Workers:
    """A pool of workers; a context manager.

    Args:
        recipe: of a `Scorer`, as JSON holds it, or {"thumbnail": pixels} to make thumbnails.
        count: how many processes. They start when there is work for them.
        timeout: seconds that one picture may take.
    """

    def __init__(self, recipe: dict[str, Any], count: int, timeout: float = TIMEOUT) -> None:
        self._recipe, self._count, self._timeout, self._form = recipe, count, timeout, Form.of(recipe)
        grid = recipe.get("looks", {}).get("crop") in ("grid", "cover")
        self._chunk = 1 if grid or "pair" in recipe or recipe.get("runtime") == "keras" else CHUNK
        self._complaints = temporary_file()  # the stderr of all, which lives as long as the pool
        # Last in, first out: a worker that runs is asked before another one is started.
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._all: list[_Worker] = []
        self._failed, self._changing = 0, threading.Lock()
        for _ in range(count):
            self._idle.put(None)  # a place for a worker
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._over, self._owner = threading.Event(), os.getpid()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. A process that was forked from the one that made the pool leaves them to that one."""
        if os.getpid() != self._owner:
            return
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
        return [worker.process.pid for worker in list(self._all)]

    def map(self, paths: Iterable[Any]) -> Iterator[tuple[Any, Answer]]:
        """Hand out paths as they are needed.

        Yields:
            (path, `Answer`) in the order of `paths`. The array is the output, float32 (1,) or (10,); with the runtime
            "keras" the patches, uint8 (N, size, size, 3); or the bytes of a thumbnail, uint8 (n,).
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
            waiting.append((chunk, self._threads.submit(self._ask, chunk, self._timeout)))
            if len(waiting) > AHEAD * self._count:
                chunk, answers = waiting.popleft()
                yield from zip(chunk, answers.result(), strict=True)
        for chunk, answers in waiting:
            yield from zip(chunk, answers.result(), strict=True)

    def ask(self, path: str | os.PathLike[str], timeout: float) -> Answer:
        """The answer for one picture, which may take `timeout` seconds; see `map`."""
        # By a thread of the pool, even if the caller has its own: a worker ends with the thread that started it.
        return self._threads.submit(self._ask, [path], timeout).result()[0]

    def _ask(self, paths: list[Any], timeout: float) -> list[Answer]:
        """An answer for each of the paths, whatever happens to the workers."""
        place = self._idle.get()
        try:
            for deaths in itertools.count(1):
                place = worker = self._find_ready(place)
                answers = worker.ask(paths, timeout)
                if answers is not None:
                    return answers
                if len(paths) > 1 or worker.late or deaths >= (TRIES_IF_ENDED if worker.was_ended else TRIES):
                    break
        finally:
            self._idle.put(place)
        if len(paths) > 1:  # one of them is to blame: which?
            return [self._ask([path], timeout)[0] for path in paths]
        return [Answer(None, worker.cause)]

    def _find_ready(self, worker: "_Worker | None") -> "_Worker":
        """This worker if it lives, or a new one that is ready for its first picture."""
        while worker is None or worker.died:
            try:
                started = worker = self._start(worker)
            except WorkerError:
                raise
            except OSError as error:  # no memory for a process, or too many of them
                worker, cause = None, str(error)
            else:
                if started.get_ready():
                    self._failed = 0
                    return started
                cause = self._last_complaint() or str(started.cause)
            self._failed += 1
            if self._failed >= STARTS:
                raise WorkerError(f"the workers cannot be started: {cause}; --workers 0 does without them")
            self._over.wait(0.1 * 2**self._failed)
        return worker

    def _start(self, dead: "_Worker | None") -> "_Worker":
        with self._changing:
            if self._over.is_set():
                raise WorkerError("the run was ended")
            if dead in self._all:
                self._all.remove(dead)
                dead.close()
            worker = _Worker(self._recipe, self._form, self._complaints)
            self._all.append(worker)
            return worker

    def _last_complaint(self) -> str:
        if not hasattr(os, "pread"):  # Windows, where reading would move the place at which the workers write
            return ""
        file = self._complaints.fileno()
        text = os.pread(file, 4096, max(0, os.fstat(file).st_size - 4096))
        return (text.decode(errors="replace").strip().splitlines() or [""])[-1]

    def _watch(self) -> None:
        while not self._over.wait(0.1 if any(worker.soon_late() for worker in list(self._all)) else 1.0):
            for worker in list(self._all):
                worker.kill_if_late()


class _Worker:
    """The parent's end of one process.

    Attributes:
        died: whether it has ended; `cause` says why, in words.
        late: whether it was ended because it took too long.
    """

    def __init__(self, recipe: dict[str, Any], form: Form, complaints: IO[bytes]) -> None:
        # Out of the terminal's process group: Ctrl-C is for the parent, which then ends the workers.
        apart: dict[str, Any] = (
            {"process_group": 0} if os.name == "posix" else {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        )
        arguments = (str(Path(__file__).resolve().parents[2]), json.dumps(recipe), str(os.getpid()))
        self._form, self._lock = form, threading.Lock()
        self._deadline: float | None = None
        self.died = self.late = self._ready = False
        self.cause: str | None = None
        self._code: int | None = None
        self.process = subprocess.Popen(
            # -P: import nothing from the current folder, which may hold somebody's pictures.
            [sys.executable, "-P", "-c", PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            **apart,
        )
        assert self.process.stdin and self.process.stdout
        self._questions, self._answers = self.process.stdin, self.process.stdout

    @property
    def was_ended(self) -> bool:
        """Whether somebody ended it: the system for want of memory, or a person."""
        return self._code is not None and -self._code in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM))

    def get_ready(self) -> bool:
        """Wait until it is ready; returns whether it is."""
        try:
            self._allow(TIME_TO_START)
            read_ready(self._answers)
            self._allow(None)
            self._ready = True
        except (OSError, EOFError, ValueError):
            self._bury(TIME_TO_START)
        return self._ready

    def ask(self, paths: list[Any], timeout: float) -> list[Answer] | None:
        """An answer for each of the paths, or None if the worker died over one of them."""
        answers = []
        try:
            self._allow(timeout)
            self._questions.write(json.dumps([os.path.abspath(path) for path in paths]).encode() + b"\n")
            self._questions.flush()
            for _ in paths:
                answers.append(read_answer(self._answers, self._form))
                self._allow(timeout)
            self._allow(None)
        except (OSError, EOFError, ValueError) as error:  # a pipe that closed at any of these steps, or nonsense
            self._bury(timeout, nonsense=isinstance(error, MessageError))
            return None
        return answers

    def _allow(self, seconds: float | None) -> None:
        """Give it so much time from now on; None while nothing is asked of it.

        Raises:
            EOFError: if it was ended because it took too long.
        """
        with self._lock:
            if self.late:
                raise EOFError
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def soon_late(self) -> bool:
        """Whether it has less than two seconds left."""
        deadline = self._deadline
        return deadline is not None and deadline - time.monotonic() < 2

    def kill_if_late(self) -> None:
        """End it if it takes longer than it may."""
        with self._lock:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self.late, self._deadline = True, None
                self.kill()

    def _bury(self, allowed: float, nonsense: bool = False) -> None:
        """See that it ends, and note why it did."""
        if nonsense:
            self.kill()
        with self._lock:
            self._deadline = None
        self.died, self._code = True, self._exit_code()
        how = f"signal {-self._code}" if self._code < 0 else f"exit code {self._code}"
        if self.late and not self._ready:
            self.cause = f"one did not start within {allowed:g} s"
        elif self.late:
            self.cause = f"it took longer than {allowed:g} s"
        elif nonsense:
            self.cause = "its decoder sent nonsense"
        else:
            self.cause = f"its decoder crashed ({how})" if self._ready else how

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

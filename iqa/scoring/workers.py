"""Processes that answer questions, one for each processor. One that crashes, hangs or lacks memory costs one item.

    with Workers(partial(open_models, recipes), lost=refuse, count=2) as workers:
        for result in workers.map(paths): ...

Every worker is a Pebble pool of one: those of a larger pool share a pipe and its lock, and one that is killed while it
holds the lock stops the others for a minute, and the item before it may get the blame.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from iqa.errors import WorkerError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

TIMEOUT = 60.0  # seconds that one item may take, unless the caller says otherwise
TIME_TO_START, STARTS = 120.0, 5  # seconds that a worker may take to start; starts that may fail before the run ends
AHEAD = 4  # chunks handed out ahead for each worker, so that a slow one does not stop the others
MEMORY = 5 << 29  # bytes that a worker may take beyond what it has when it is ready: the largest picture needs them


class Workers(Generic[Item, Answer]):
    """Worker processes, which start when there is work for them.

    Args:
        prepare: called in each worker; returns the function that answers a list of items. It must be picklable.
        lost: (item, reason) -> the answer for an item that ended its worker.
        timeout: seconds that the items sent at once may take; if they take longer, each is tried alone.
        chunk: items sent at once. To wake a worker and be woken by it costs 0.4 ms.
    """

    def __init__(
        self,
        prepare: Callable[[], Callable[[list[Item]], list[Answer]]],
        lost: Callable[[Item, str], Answer],
        count: int,
        timeout: float = TIMEOUT,
        chunk: int = 1,
    ) -> None:
        self._prepare, self._lost, self._count, self._timeout, self._chunk = prepare, lost, count, timeout, chunk
        self._threads, self._here = ThreadPoolExecutor(count), threading.local()  # each thread has a worker of its own
        self._workers: list[_Worker] = []
        self._changing, self._over, self._owner = threading.Lock(), threading.Event(), os.getpid()

    def __enter__(self) -> "Workers[Item, Answer]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. A process that was forked from the one that started them leaves them to that one."""
        if os.getpid() == self._owner:
            self._over.set()
            self._end(self._workers)
            self._threads.shutdown(cancel_futures=True)

    @property
    def processes(self) -> list[int]:
        """The numbers of the processes that are ready."""
        return [worker.process for worker in self._workers if worker.process]

    def map(self, items: Iterable[Item]) -> Iterator[Answer]:
        """The answers in the order of the items, which are taken a bounded way ahead.

        Raises what `prepare` raised, and a `WorkerError` if the workers cannot be started.
        """
        items, waiting = iter(items), deque[Future[list[Answer]]]()
        for number in itertools.count():
            # One by one at first, so that the terminal shows a row as soon as it is known.
            chunk = list(itertools.islice(items, 1 if number < 2 * self._count else self._chunk))
            if chunk:
                waiting.append(self._threads.submit(self._ask, chunk, self._timeout))
            if len(waiting) > (AHEAD * self._count if chunk else 0):
                yield from waiting.popleft().result()
            elif not chunk:
                return

    def ask(self, item: Item, timeout: float) -> Answer:
        """The answer for one item, which may take `timeout` seconds; raises what `map` raises."""
        return self._threads.submit(self._ask, [item], timeout).result()[0]

    def _ask(self, items: list[Item], timeout: float) -> list[Answer]:
        for attempt in itertools.count(1):
            worker = self._here.worker = getattr(self._here, "worker", None) or self._start()
            began = time.monotonic()
            try:
                return worker.call(_answer, items, timeout=timeout)
            except TimeoutError:
                stopped = time.monotonic() - began > timeout + 2  # with Ctrl-Z: try again
                reason, tries = f"it took longer than {timeout:g} s", 3 if stopped else 1
            except MemoryError:
                reason, tries = "it needs more memory than there is", 1
            except (ProcessExpired, BrokenProcessPool, CancelledError) as error:
                code = getattr(error, "exitcode", -9)  # not known of a worker that was killed while it was idle
                reason = f"its decoder crashed ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
                tries = 3 if -code in (9, 15) else 2  # the picture need not have caused what somebody else did
            self._end([worker])
            self._here.worker = None
            if len(items) > 1:  # one of them is to blame: which?
                return [self._ask([item], timeout)[0] for item in items]
            if attempt >= tries:
                break
        return [self._lost(items[0], reason)]

    def _start(self) -> "_Worker":
        for attempt in range(STARTS):
            with self._changing:
                if self._over.is_set():
                    raise WorkerError("the run was ended")
                worker = _Worker(1, initializer=_begin, initargs=(self._prepare,), context=_Context())
                self._workers.append(worker)
            try:
                worker.process = worker.call(os.getpid, patience=TIME_TO_START)
                return worker
            except (BrokenProcessPool, CancelledError, OSError, MemoryError) as error:
                cause = str(error) or f"one did not start within {TIME_TO_START:g} s"
            self._end([worker])
            self._over.wait(0.1 * 2**attempt)
        raise WorkerError(f"the workers cannot be started: {cause}; --workers 0 does without them")

    def _end(self, workers: "list[_Worker]") -> None:
        with self._changing:
            ending = [worker for worker in workers if worker in self._workers]
            for worker in ending:
                worker.stop()
                if worker.asked:
                    worker.asked.cancel()
            for worker in ending:
                worker.join()
                self._workers.remove(worker)


CONSTS.sleep_unit = 0.02  # seconds between Pebble's looks at its processes; with its 0.1 they take 0.2 s to end


class _Worker(ProcessPool):
    """The parent's end of one process."""

    process = 0  # its number, once it is ready
    asked: Future[Any] | None = None

    def call(self, function: Callable[..., Any], *values: Any, timeout: float = 0, patience: float | None = None) -> Any:
        try:
            self.asked = self.schedule(function, values, timeout=timeout)
        except RuntimeError as error:
            raise BrokenProcessPool(str(error)) from None
        if not self.active:  # ended before it could be cancelled
            self.asked.cancel()
        return self.asked.result(patience)


@contextlib.contextmanager
def _fresh() -> Iterator[None]:
    """Interpreters that start meanwhile neither run the caller's script again nor import from the current folder."""
    with _starting:
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        safe, os.environ["PYTHONSAFEPATH"] = os.environ.get("PYTHONSAFEPATH"), "1"
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            del os.environ["PYTHONSAFEPATH"]
            os.environ |= {} if safe is None else {"PYTHONSAFEPATH": safe}


_starting = threading.Lock()


class _Process(SpawnProcess):
    def start(self) -> None:
        # As any process, but a daemon may start it too, and nothing that is forked from this process ends it.
        if os.name == "posix":  # which the process inherits: Ctrl-C is for the parent, which then ends its workers
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with _fresh():
            self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel


class _Context(SpawnContext):
    Process = _Process

    def RLock(self) -> Any:
        with _fresh():  # the first one starts the tracker of `multiprocessing`
            return super().RLock()


# --- in a worker -----------------------------------------------------------------------------------------------------

_prepared: Callable[[list[Any]], list[Any]] | Exception


def _begin(prepare: Callable[[], Callable[[list[Any]], list[Any]]]) -> None:
    """Make this process a worker, with a bound on its memory: beyond it decoders raise a `MemoryError` or crash."""
    global _prepared

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, in the middle of C code too
    for stream in (1, 2):  # what decoders would say to the terminal
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # LibRaw's threads would find no free processor
    try:
        _prepared = prepare()
    except MemoryError:
        raise  # it is started again
    except Exception as error:
        _prepared = error
    with contextlib.suppress(ImportError, OSError, ValueError):  # no Linux, or a lower bound that may not be raised
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _answer(items: list[Any]) -> list[Any]:
    if isinstance(_prepared, Exception):
        raise _prepared
    return _prepared(items)

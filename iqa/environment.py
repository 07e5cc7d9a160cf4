"""What this process may use and where it runs: processors, the cache folder, versions, the time."""

import math
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from iqa.errors import IqaError

#: Where the quota of a container stands, the processor time granted and its period, in cgroup 2 and 1.
_CGROUP = Path("/sys/fs/cgroup")
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def processors() -> int:
    """How many processors this process may use, by its affinity and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in _QUOTAS:
        with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or "max": no quota, as -1 below
            granted, period = map(int, " ".join((_CGROUP / file).read_text() for file in files).split())
            count = min(count, math.ceil(granted / period)) if granted > 0 else count
    return max(1, count)


def settle_keras() -> None:
    """Before Keras is imported: let it run on TensorFlow unless KERAS_BACKEND names another, whatever `keras.json` says."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


#: How lines begin that TensorFlow and LiteRT write when they start, whatever they are told (tensorflow/tensorflow#100442).
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl::|[IWE]\d{4} \d\d:\d\d:\d\d|To enable the following instructions: "
    rb"|INFO: Created TensorFlow Lite )"
)

_one_at_a_time = threading.RLock()
if hasattr(os, "register_at_fork"):  # threads that held the lock do not exist in a process that was just forked
    os.register_at_fork(after_in_child=lambda: globals().update(_one_at_a_time=threading.RLock()))


@contextmanager
def without_greetings() -> Iterator[None]:
    """Keep the greetings of TensorFlow and LiteRT off stderr, and nothing else: other lines follow when the block ends.

    If it fails with an error that is not one of ours, all lines follow. One thread at a time: stderr is the process's.
    """
    with _one_at_a_time:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError):  # there is no stderr to keep quiet
            yield
            return
        bug = False
        with tempfile.TemporaryFile() as written:
            os.dup2(written.fileno(), 2)
            try:
                yield
            except BaseException as error:
                bug = not isinstance(error, IqaError)
                raise
            finally:
                with suppress(OSError, ValueError, AttributeError):  # it is None, closed, or there is no room
                    sys.stderr.flush()
                os.dup2(kept, 2)
                os.close(kept)
                written.seek(0)
                lines = written.read().splitlines(keepends=True)
                with suppress(OSError):
                    os.write(2, b"".join(line for line in lines if bug or not _GREETING.match(line)))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of the packages that are installed, {name: version}."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def now() -> str:
    """The time, UTC, to the second, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")

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
from typing import IO

from iqa.errors import IqaError

_CGROUP = Path("/sys/fs/cgroup")


def processors() -> int:
    """How many processors this process may use, by its affinity and the quota of its cgroup."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, math.ceil(quota))) if quota else count


def _cgroup_quota() -> float | None:
    """The processors that a container's quota grants, in cgroup 2 or 1; None where there is no quota."""
    try:
        granted, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            granted = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text()
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = float(granted) / float(period)
    except (ValueError, ZeroDivisionError):  # "max", and -1 below: no quota
        return None
    return share if share > 0 else None


def cache_folder() -> Path:
    """Where compiled networks are kept: `IQA_CACHE`, or the user's cache folder.

    A user without a home, or with one that cannot be written, has a folder among the temporary files.
    """
    if os.environ.get("IQA_CACHE"):
        folder = Path(os.path.expanduser(os.environ["IQA_CACHE"]))
        usable = True  # or an error says that it is not
    else:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
        else:
            base = os.environ.get("XDG_CACHE_HOME") or ("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")
        folder = Path(os.path.expanduser(base)) / _NAME
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        usable = there == folder or os.access(there, os.W_OK | os.X_OK)
    if usable and not str(folder).startswith("~"):
        return folder
    try:
        return scratch_folder()
    except OSError:
        return folder


_NAME = "image-quality-assessment"


def scratch_folder() -> Path:
    """This user's folder among the temporary files, for what has no other place. It may not exist.

    Raises:
        OSError: if there is no place for temporary files, or somebody else has taken the name.
    """
    owner = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / (_NAME if owner is None else f"{_NAME}-{owner}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if owner is not None and (folder.is_symlink() or folder.stat().st_uid != owner):
        raise PermissionError(f"{folder} belongs to another user")
    return folder


def settle_keras() -> None:
    """Before Keras is imported: let it run on TensorFlow unless KERAS_BACKEND names another, whatever `keras.json` says."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


#: How lines begin that TensorFlow and LiteRT write when they start, whatever TF_CPP_MIN_LOG_LEVEL says
#: (tensorflow/tensorflow#100442).
_GREETING = re.compile(
    rb"(WARNING: All log messages before absl::|[IWE]\d{4} \d\d:\d\d:\d\d|To enable the following instructions: "
    rb"|INFO: Created TensorFlow Lite )"
)

_one_at_a_time = threading.RLock()


def _renew_lock() -> None:
    """In a process that was just forked: threads that held the lock do not exist here."""
    global _one_at_a_time
    _one_at_a_time = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def without_greetings() -> Iterator[None]:
    """Keep the greetings of TensorFlow and LiteRT off stderr, and nothing else: other lines follow when the block ends.

    If the block fails with an error that is not one of ours, all lines follow. One thread at a time, since stderr is the
    process's.
    """
    with _one_at_a_time:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError):  # there is no stderr to keep quiet
            yield
            return
        said: list[bytes] = []
        with temporary_file() as written:
            os.dup2(written.fileno(), 2)
            try:
                yield
            except BaseException as error:
                said = _lines_of(written, isinstance(error, IqaError))
                raise
            else:
                said = _lines_of(written)
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                with suppress(OSError):
                    os.write(2, b"".join(said))


def _lines_of(file: IO[bytes], expected: bool = True) -> list[bytes]:
    """What was written, without the greetings where all went as expected."""
    if sys.stderr is not None:
        sys.stderr.flush()
    file.seek(0)
    return [line for line in file.read().splitlines(keepends=True) if not (expected and _GREETING.match(line))]


def import_matplotlib() -> None:
    """Import matplotlib, which fails if MPLBACKEND names a backend that is not installed, as a notebook's does for a child.

    A backend that is installed is still the one of `pyplot`.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib

        if backend:
            with suppress(ValueError):
                matplotlib.rcParams["backend"] = backend
    finally:
        if backend:
            os.environ["MPLBACKEND"] = backend


def temporary_file() -> IO[bytes]:
    """A file without a name, on a disk; in memory where no folder can be written."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        if hasattr(os, "memfd_create"):
            return os.fdopen(os.memfd_create(_NAME), "w+b")
        return open(os.devnull, "w+b")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those of the packages that are installed, {name: version}."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time, UTC, to the second, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")

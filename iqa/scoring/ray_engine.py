"""Scoring on a Ray cluster: Ray Data hands out the pictures and replaces what dies; the journal remains the record."""

import logging
import os
import pickle
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice, starmap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iqa.cards import sha256
from iqa.environment import processors, versions
from iqa.errors import ImageError, RuntimeUnavailable, UsageError, WorkerError
from iqa.files import printable
from iqa.images.stored import StoredFile, fetch
from iqa.scoring.many import open_models
from iqa.scoring.results import Result
from iqa.scoring.runtimes import PACKAGES
from iqa.scoring.workers import TIMEOUT, Workers

Recipes = Mapping[str, Mapping[str, Any]]  # {name: `Scorer.recipe`}

BLOCK = 32  # pictures that an actor gets at once, and whose results come back and are recorded at once
SHARE = 0.9  # of a processor for an actor: so much that no processor gets two, and not all, or Ray may hang
STORE = 1 << 28  # bytes of Ray's shared memory on a machine of its own; it would take a third of the memory

#: What decides how a picture is read, apart from the runtime. It must be the same on all machines.
READERS = ("image-quality-assessment", "numpy", "pillow", "pillow-heif", "tifffile", "imagecodecs", "rawpy")


def connect(address: str | None = None) -> None:
    """Connect this process to a Ray cluster, until it ends or calls `ray.shutdown`. It may be connected already.

    The address "auto" is a cluster that runs on this machine; None is `RAY_ADDRESS` or, without it, a cluster of this
    machine alone, which ends with this process and listens to no other machine. Raises `RuntimeUnavailable` if Ray is not
    installed, and a `WorkerError` if there is no such cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # or Ray takes whatever cluster it finds here
    quiet = {"USAGE_STATS_ENABLED": "0", "BACKEND_LOG_LEVEL": "fatal", "ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in quiet.items():
        os.environ.setdefault(f"RAY_{name}", value)
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # 0 means, on Linux too: loopback only
        if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # or Ray writes a token to the user's home
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
        import ray.data
    except ImportError:
        raise RuntimeUnavailable("Ray is not installed: pip install 'ray[data]'") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    if ray.is_initialized():
        return
    own = {"num_cpus": processors(), "include_dashboard": False, "object_store_memory": STORE}
    try:
        if address not in ("local", "auto"):  # does anything answer there? Ray would wait for many minutes
            place = urlsplit(address if "://" in address else f"//{address}")
            socket.create_connection((place.hostname or "", place.port or 0), 20).close()
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own if address == "local" else {})
    except Exception as error:  # Ray raises plain ones too, such as when its own processes take too long to start
        raise WorkerError(f"no Ray cluster at {address}: {_last_line(error)}") from None


def score_on_ray(
    recipes: Recipes,
    waiting: Iterable[tuple[int, Path | StoredFile]],
    timeout: float = TIMEOUT,
    features: str | None = None,
) -> Iterator[tuple[int, Result]]:
    """Score pictures, (position, path), on the cluster that `connect` has connected; see `iqa.scoring.many.open_models`.

    Its machines must have this project in the same version, and see the pictures and the weights under the same paths.
    Results come in any order. Raises a `UsageError` if a runtime is Keras, and a `WorkerError` if a machine cannot score.
    """
    import ray

    if any(recipe["runtime"] == "keras" for recipe in recipes.values()):
        raise UsageError("Keras does not score on Ray: choose another --runtime")
    expected = versions([*READERS, *(PACKAGES[recipe["runtime"]] for recipe in recipes.values())])
    paths = dict(waiting)
    rows = ((position, path if isinstance(path, StoredFile) else path.absolute()) for position, path in paths.items())
    blocks = [_table(block) for block in iter(lambda: [*islice(rows, BLOCK)], [])]
    if not blocks:
        return
    try:
        count = int(ray.cluster_resources().get("CPU", 0))
        if not count:
            raise WorkerError("the Ray cluster has no processor")
        tables = ray.data.from_blocks(blocks).map_batches(
            Actor,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_args=(recipes, expected, timeout, features),
            compute=ray.data.ActorPoolStrategy(size=min(count, len(blocks))),
            num_cpus=SHARE,
        )
        for table in tables.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for position, result in _rows(table):
                if position is None:
                    raise WorkerError(result)
                path = paths[position]
                if result.error == "there is no such file" and isinstance(path, Path) and path.exists():
                    raise WorkerError(f"{printable(path)}: all machines of the cluster must see it")
                yield position, replace(result, path=path)
    except ray.exceptions.RayError as error:
        raise WorkerError(f"Ray: {_last_line(error)}") from None


def _last_line(error: BaseException) -> str:
    return printable((str(error).strip().splitlines() or [type(error).__name__])[-1])


def _table(rows: Iterable[Any]) -> Any:  # Arrow's, of anything that can be pickled
    import pyarrow

    return pyarrow.table({"row": [pickle.dumps(row) for row in rows]})


def _rows(table: Any) -> list[Any]:
    return [pickle.loads(row) for row in table["row"].to_pylist()]


class Actor:
    """The parent of one worker process. What keeps it from scoring is an answer, not an error of Ray's."""

    def __init__(self, recipes: Recipes, expected: dict[str, str], timeout: float, features: str | None) -> None:
        found = versions(expected)
        lacking = [f"{name} {version}" for name, version in expected.items() if found.get(name) != version]
        for weights, digits in ((Path(recipe["weights"]), recipe["sha256"]) for recipe in recipes.values()):
            if not weights.is_file() or sha256(weights) != digits:
                lacking.append(str(weights))
        self._trouble = f"this machine lacks {', '.join(lacking)}" if lacking else ""
        prepare = partial(open_models, recipes, None, features)
        self._workers = Workers(prepare, lambda path, reason: Result(path, error=reason), 1, timeout)

    def __call__(self, block: Any) -> Any:
        """A table of (position, result) for one of (position, path); or (None, what is wrong with this machine)."""
        try:
            if self._trouble:
                raise WorkerError(self._trouble)
            return _table(self._score(_rows(block)))
        except WorkerError as error:
            return _table([(None, f"{socket.gethostname()}: {error}")])

    def _score(self, pairs: list[tuple[int, Path | StoredFile]]) -> Iterator[tuple[int, Result]]:  # stored ones are fetched
        failed: dict[int, str] = {}
        with tempfile.TemporaryDirectory() as folder:

            def place_of(position: int, path: Path | StoredFile) -> Path:
                if isinstance(path, Path):
                    return path
                place = Path(folder, f"{position}{os.path.splitext(path.url)[1]}")
                try:
                    fetch(path.url, place)
                except ImageError as error:
                    failed[position] = str(error)
                return place

            for (position, path), result in zip(pairs, self._workers.map(starmap(place_of, pairs)), strict=True):
                if isinstance(path, StoredFile):
                    result = replace(result, error=failed.get(position, result.error))
                    Path(result.path).unlink(missing_ok=True)
                yield position, result

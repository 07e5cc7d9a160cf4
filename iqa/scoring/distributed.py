"""Scoring on a Ray cluster. Ray Data hands out the pictures and replaces what dies; the journal remains the record.

    connect("auto")
    for position, prediction in score_on_ray(scorer.recipe, journal.waiting()): ...

Ray runs one actor for each processor. An actor is no more than the parent of one worker process (see `iqa.scoring.pool`),
as this process is in a local run: pictures are read, bounded in time and memory and scored by the same code, and a decoder
that crashes takes neither the actor nor the other pictures with it.
"""

import logging
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card, sha256
from iqa.environment import cache_folder, processors, versions
from iqa.errors import ImageError, RuntimeUnavailable, UsageError, WorkerError
from iqa.files import printable, temporary_beside
from iqa.images.stored import StoredFile, fetch, is_url
from iqa.labels.opinions import Prediction
from iqa.scoring.messages import Answer
from iqa.scoring.pool import TIMEOUT, Workers
from iqa.scoring.runtimes import PACKAGES

#: Pictures that an actor gets at once, and whose scores come back and are recorded at once.
BLOCK = 32

#: What an actor asks of a processor: so much that no processor gets two, and not all, without which Ray may hang.
SHARE = 0.9

#: Bytes for what Ray keeps in shared memory on a machine of its own; it would take a third of the memory.
_STORE = 1 << 28

#: Seconds in which a cluster must answer.
_PATIENCE = 20

#: What comes back of a picture. A position of `_NOWHERE` is that of an actor that cannot score, whose reason says why.
_COLUMNS = {
    "position": "int64",
    "path": "binary",
    "output": "binary",
    "reason": "string",
    "warning": "string",
    "missing": "bool",
    "node": "string",
}
_NOWHERE = -1

#: What decides how a picture is read, apart from the runtime. It must be the same on all machines.
_READERS = ("image-quality-assessment", "numpy", "pillow", "pillow-heif", "tifffile", "imagecodecs", "rawpy")


def connect(address: str | None = None) -> None:
    """Connect this process to a Ray cluster, until it ends or calls `ray.shutdown`. It may be connected already.

    Args:
        address: of the cluster, or "auto" for one that runs on this machine; None for `RAY_ADDRESS` or, without it, a
            cluster of this machine alone, which ends with this process and listens to no other machine.

    Raises:
        RuntimeUnavailable: if Ray is not installed.
        WorkerError: if there is no such cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # or Ray takes whatever cluster it finds here
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray warns of what is as it should be
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # 0 means, on Linux too: loopback only
        if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # or Ray writes a token to the user's home
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
        import ray.data
    except ImportError:
        raise RuntimeUnavailable("Ray is not installed: pip install 'image-quality-assessment[ray]'") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    if ray.is_initialized():
        return
    own = {"num_cpus": processors(), "include_dashboard": False, "object_store_memory": _STORE}
    try:
        if address not in ("local", "auto"):
            _knock(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own if address == "local" else {})
    except Exception as error:  # Ray raises plain ones too, such as when its own processes take too long to start
        raise WorkerError(f"no Ray cluster at {address}: {_last_line(error)}") from None


def _knock(address: str) -> None:
    """See whether anything answers at a host:port: where nothing does, Ray waits for many minutes.

    Raises:
        OSError, ValueError: if nothing does, or it is no address.
    """
    place = urlsplit(address if "://" in address else f"//{address}")
    socket.create_connection((place.hostname or "", place.port or 0), _PATIENCE).close()


def score_on_ray(
    recipe: dict[str, Any], waiting: Iterable[tuple[int, Path | StoredFile]], timeout: float = TIMEOUT
) -> Iterator[tuple[int, Prediction]]:
    """Score pictures on the cluster that `connect` has connected.

    Its machines must have this project installed, in one version, and see the pictures under the paths that they have
    here. Weights are sent to a machine that lacks them.

    Args:
        recipe: of a `Scorer` or a `Pair` with a compiled runtime.
        waiting: (position, path) of each picture. All of it is read before the first is scored.
        timeout: seconds that one picture may take.

    Yields:
        (position, `Prediction`) as they come, which is not the order of `waiting`.

    Raises:
        UsageError: if the runtime is Keras.
        WorkerError: if Ray fails, or a machine cannot score or does not see a picture that is here.
    """
    import pyarrow
    import ray

    models = _models_of(recipe)
    if any(model["runtime"] == "keras" for model in models):
        raise UsageError("Keras does not score on Ray: choose another --runtime")
    blocks = [
        pyarrow.table({"position": positions, "path": [os.fsencode(_full_name(path)) for path in paths]})
        for positions, paths in _in_blocks(waiting)
    ]
    if not blocks:
        return
    files = ray.put(_files_of(models))
    try:
        count = int(ray.cluster_resources().get("CPU", 0))
        if not count:
            raise WorkerError("the Ray cluster has no processor")
        tables = ray.data.from_blocks(blocks).map_batches(
            _Actor,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            fn_constructor_args=(recipe, files, _versions_of(models), timeout),
            compute=ray.data.ActorPoolStrategy(size=min(count, len(blocks))),
            num_cpus=SHARE,
        )
        for table in tables.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from map(_read_row, table.to_pylist())
    except ray.exceptions.RayError as error:
        raise WorkerError(f"Ray: {_last_line(error)}") from None


def _in_blocks(
    waiting: Iterable[tuple[int, Path | StoredFile]],
) -> Iterator[tuple[tuple[int, ...], tuple[Path | StoredFile, ...]]]:
    waiting = iter(waiting)
    while block := list(islice(waiting, BLOCK)):
        positions, paths = zip(*block, strict=True)
        yield positions, paths


def _full_name(path: Path | StoredFile) -> str:
    return path.url if isinstance(path, StoredFile) else os.path.abspath(path)


def _read_row(row: dict[str, Any]) -> tuple[int, Prediction]:
    """What an actor says of a picture.

    Raises:
        WorkerError: if the picture is here and not where the actor is, or the actor cannot score.
    """
    if row["position"] == _NOWHERE:
        raise WorkerError(f"{row['node']}: {row['reason']}")
    if row["missing"] and os.path.exists(row["path"]):
        raise WorkerError(f"{printable(os.fsdecode(row['path']))}: is not on {row['node']}; all machines must see it")
    output = None if row["output"] is None else np.frombuffer(row["output"], np.float32)
    return row["position"], Prediction(output, reason=row["reason"], warning=row["warning"])


def _last_line(error: BaseException) -> str:
    return printable((str(error).strip().splitlines() or [type(error).__name__])[-1])


# --- what actors are given -------------------------------------------------------------------------------------------


def _models_of(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The recipes of the models in a recipe."""
    return recipe.get("pair") or [recipe]


def _files_of(models: list[dict[str, Any]]) -> dict[str, dict[str, bytes]]:
    """{hash of weights: {name: content}} of the files beside one another that a network is opened from."""
    found = {}
    for model in models:
        weights = Path(model["weights"])
        card = Card.from_json(model["card"])
        paths = [weights, *(weights.with_name(name) for name in (*card.compiled, *card.faults))]
        found[model["sha256"]] = {path.name: path.read_bytes() for path in paths if path.is_file()}
    return found


def _versions_of(models: list[dict[str, Any]]) -> dict[str, str]:
    return versions([*_READERS, *(PACKAGES[model["runtime"]] for model in models)])


# --- on the machines of the cluster ----------------------------------------------------------------------------------


class _Actor:
    """The parent of one worker; see `score_on_ray`. What keeps it from scoring is an answer, not an error of Ray's.

    Args:
        recipe: of what scores.
        files: of the weights, a reference to what `_files_of` found.
        expected: what must be installed, {package: version}.
        timeout: seconds that one picture may take.
    """

    def __init__(self, recipe: dict[str, Any], files: Any, expected: dict[str, str], timeout: float) -> None:
        models = _models_of(recipe)
        found, self._node = _versions_of(models), socket.gethostname()
        differ = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
        self._trouble = ", ".join(
            f"{name} is {found.get(name, 'missing')} there and {expected.get(name, 'missing')} here" for name in differ
        )
        if not self._trouble:
            for model in models:
                model["weights"] = str(_place(Path(model["weights"]), model["sha256"], files))
            self._pool = Workers(recipe, 1, timeout)

    def __call__(self, block: Any) -> Any:
        """A table of answers for a table of positions and paths."""
        if self._trouble:
            return self._complain(self._trouble)
        paths = [os.fsdecode(path) for path in block["path"].to_pylist()]
        try:
            answers = self._ask(paths)
        except WorkerError as error:
            return self._complain(str(error))
        rows = []
        for position, path, answer in zip(block["position"].to_pylist(), paths, answers, strict=True):
            missing = answer.array is None and not is_url(path) and not os.path.exists(path)
            rows.append(self._row(position, path, answer.array, answer.reason, answer.warning, missing))
        return _table(rows)

    def _ask(self, paths: list[str]) -> list[Answer]:
        """What the worker says of each file. While it looks at one, the next stored one is fetched to a folder."""
        answers = []
        with tempfile.TemporaryDirectory() as folder:
            failed: dict[Path, str] = {}

            def on_disk() -> Iterator[str | Path]:
                for number, path in enumerate(paths):
                    if not is_url(path):
                        yield path
                        continue
                    place = Path(folder, f"{number}{os.path.splitext(path)[1]}")
                    try:
                        fetch(path, place)
                    except ImageError as error:
                        failed[place] = str(error)
                    yield place

            for path, answer in self._pool.map(on_disk()):
                if isinstance(path, Path):
                    path.unlink(missing_ok=True)
                answers.append(Answer(None, failed[path]) if path in failed else answer)
        return answers

    def _complain(self, trouble: str) -> Any:
        return _table([self._row(_NOWHERE, reason=trouble)])

    def _row(
        self,
        position: int,
        path: str = "",
        array: NDArray[np.float32] | None = None,
        reason: str | None = None,
        warning: str | None = None,
        missing: bool = False,
    ) -> dict[str, Any]:
        output = None if array is None else array.tobytes()
        return dict(zip(_COLUMNS, (position, os.fsencode(path), output, reason, warning, missing, self._node), strict=True))


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist(rows, pyarrow.schema([(name, kind) for name, kind in _COLUMNS.items()]))


def _place(weights: Path, hash: str, files: Any) -> Path:
    """The path of the weights on this machine, to whose cache they are sent if they are not where they were here."""
    if weights.is_file() and sha256(weights) == hash:
        return weights
    import ray

    folder = cache_folder() / f"sent-{hash[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ray.get(files)[hash].items():
        if not (folder / name).exists():
            with temporary_beside(folder / name) as temporary:
                temporary.write_bytes(content)
    return folder / weights.name

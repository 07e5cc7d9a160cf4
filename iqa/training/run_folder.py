"""The phases of a training run, and its folder: what a person reads about it, and what `--resume` needs. Without Keras.

`docs/training.md` lists its files; `checkpoint.npz` holds a `RunState` and all variables, `phase-02-begin.npz` the weights
before the last phase for `undo`, and `session.lock` is held by the process whose session is open.
"""

import csv
import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from iqa.environment import now, versions
from iqa.errors import RunError, UsageError
from iqa.files import read_json, remove_leftovers, write_json, written_whole

#: A phase until the plateau ends after PATIENCE epochs in a row without improvement, and after LONGEST in any case.
PATIENCE, LONGEST = 2, 100

#: What `PhaseRecord.asked` says of a phase that `model.fit` trained.
BY_HAND = "by hand"

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "image-quality-assessment")

Figures = dict[str, float]

_PHASE = re.compile(r"(?P<epochs>\d+|until-plateau)@(?P<rate>[0-9.]+(e-?\d+)?)(?P<words>(:(frozen|cosine))*)", re.I)


@dataclass(frozen=True)
class Phase:
    """Some epochs at one learning rate: of the head alone, until a plateau (see `PATIENCE`), or with a cosine to 0."""

    learning_rate: float
    epochs: int
    frozen: bool = False
    plateau: bool = False
    cosine: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, got {self.epochs}")
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, got {self.learning_rate:g}")
        if self.plateau and self.cosine:
            raise UsageError("a phase until the plateau has no length, so its learning rate cannot fall on a cosine")

    def __str__(self) -> str:
        epochs = "until-plateau" if self.plateau else self.epochs
        return f"{epochs}@{self.learning_rate:g}{':frozen' if self.frozen else ''}{':cosine' if self.cosine else ''}"


def parse_schedule(text: str, original: str | None = None) -> list[Phase]:
    """ "1@1e-3:frozen,4@1e-4,until-plateau@1e-5" -> a list of `Phase`; "original" stands for the text `original`.

    Raises a `UsageError` that names the part that is neither EPOCHS@RATE nor until-plateau@RATE.
    """
    phases = []
    for part in (original if original and text == "original" else text).split(","):
        try:
            match = _PHASE.fullmatch(part.strip())
            epochs, rate, words = match["epochs"], float(match["rate"]), match["words"].lower()  # type: ignore[index]
            plateau = not epochs.isdigit()
            length = LONGEST if plateau else int(epochs)
            if rate <= 0 or length == 0 or max(words.count("frozen"), words.count("cosine")) > 1:
                raise ValueError
        except (TypeError, ValueError):  # no match, or a number with more than one point
            raise UsageError(
                f"schedule: expected EPOCHS@RATE[:frozen][:cosine] or until-plateau@RATE[:frozen], separated by commas, "
                f"got {part.strip()!r}"
            ) from None
        phases.append(Phase(rate, length, "frozen" in words, plateau, "cosine" in words))
    return phases


@dataclass
class PhaseRecord:
    """One phase, as it was asked for and as it went; one that reached its plateau has the epochs that it took."""

    asked: str  # the text of the `Phase`, or `BY_HAND`
    learning_rate: float
    frozen: bool
    epochs: int
    plateau: bool = False
    cosine: bool = False
    loss: str = ""
    decay: str | None = None  # the class of Keras's learning rate schedule, if one was given
    callbacks: list[str] = field(default_factory=list)
    done: int = 0  # epochs so far
    steps: int = 0
    seconds: float = 0.0
    before: Figures | None = None  # on the test data
    after: Figures | None = None
    status: str = "interrupted"  # until it is "done", "undone", "not finite" or "given up"

    @property
    def rate(self) -> str:
        """The learning rate, or the name of the schedule that it follows, as a table shows it."""
        return f"{self.learning_rate:g}:cosine" if self.cosine else self.decay or f"{self.learning_rate:g}"

    @property
    def can_continue(self) -> bool:
        """Whether it was stopped and everything that it was given is known."""
        return self.status == "interrupted" and self.asked != BY_HAND and not self.callbacks


@dataclass
class RunState:
    """Everything about a run but its variables."""

    phases: list[PhaseRecord] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    begin: str | None = None  # the file with the weights before the last phase
    best: dict[str, Any] | None = None  # epoch and figure
    figures: Figures | None = None  # of the current weights on the test data, if they are known
    drawn: int = 0  # epochs that were begun; each has its own order of the data
    open_epoch: dict[str, Any] | None = None  # stopped in its middle: step, seconds, values of the metrics, figures
    schedule: list[str] = field(default_factory=list)  # that the run was begun with, as text
    settings: dict[str, Any] = field(default_factory=dict)  # what must not change in a run
    options: dict[str, Any] = field(default_factory=dict)  # its command line
    optimizer: dict[str, Any] | None = None
    trainable: list[bool] = field(default_factory=list)

    @property
    def kept(self) -> list[PhaseRecord]:
        """The phases that were not undone."""
        return [phase for phase in self.phases if phase.status != "undone"]

    def follows(self, schedule: Sequence[str]) -> bool:
        """Whether the phases that were not undone are the first ones of a schedule."""
        done = [phase.asked for phase in self.kept]
        return done == list(schedule[: len(done)])

    def has_finished(self) -> bool:
        """Whether all phases of its schedule are done."""
        return len(self.kept) == len(self.schedule) and (not self.kept or self.kept[-1].status == "done")

    def on_plateau(self, monitor: str) -> bool:
        """Whether the last epochs of the last phase brought no improvement. EarlyStopping would forget at a resume."""
        figures = [row.get(monitor, -math.inf) for row in self.log if row["phase"] == len(self.phases)]
        return len(figures) - 1 - figures.index(max(figures)) >= PATIENCE


class RunFolder:
    """The files of one run. Its folder is made; an epoch belongs to the run once `checkpoint.npz` is renamed into place.

    After a kill the files for readers may be behind it; `read` writes them again.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.path / "checkpoint.npz"
        self._lock = FileLock(self.path.resolve() / "session.lock", timeout=0, is_singleton=True)

    def lock(self) -> None:
        """Keep other processes out until this one ends; raises a `RunError` if one is there. All that writes calls it."""
        try:
            if not self._lock.is_locked:
                self._lock.acquire()
        except Timeout:
            message = f"{self.path}: another session is open on it: end it, or choose another folder (--run)"
            raise RunError(message) from None

    def note_start(self, seed: int | None) -> None:
        """Add the command line, the versions of what matters and the seed to `run.json`."""
        self.lock()
        remove_leftovers(self.path)
        file = self.path / "run.json"
        starts = read_json(file) if file.exists() else []
        start = {"command": sys.argv, "seed": seed, "utc": now(), "python": sys.version.split()[0]}
        write_json(file, [*starts, start | versions(PACKAGES)], durable=True)

    def commit(self, state: RunState, variables: Sequence[NDArray[Any]]) -> None:
        """Make `state` with these variables the state of the run."""
        self.lock()
        write_npz(self.checkpoint, variables, asdict(state))
        self._write_for_readers(state)
        if state.phases and state.phases[-1].steps:  # before that, the phase may still come to nothing
            for file in self.path.glob("phase-*-begin.npz"):
                if file.name != state.begin:
                    file.unlink()

    def read(self) -> tuple[RunState, list[NDArray[Any]]]:
        """(state, variables) of the last `commit`; for its errors see `lock` and `read_npz`."""
        self.lock()
        state, variables = read_state(self.path), read_npz(self.checkpoint)[1]
        remove_leftovers(self.path)
        self._write_for_readers(state)
        return state, variables

    def _write_for_readers(self, state: RunState) -> None:
        # Where Keras's CSVLogger appends, a log killed before the checkpoint would hold an epoch twice.
        phases = [asdict(phase) for phase in state.phases]
        write_json(self.path / "phases.json", {"phases": phases, "log": state.log, "best": state.best})
        text = io.StringIO(newline="")
        names = list(dict.fromkeys(name for row in state.log for name in row))
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(state.log)
        with written_whole(self.path / "log.csv") as file:
            file.write(text.getvalue().encode())


def read_state(folder: Path | str) -> RunState:
    """The state of the run in a folder, read and nothing more; for its errors see `read_npz`."""
    file = Path(folder) / "checkpoint.npz"
    try:
        value = read_npz(file)[0]
        return RunState(**value | {"phases": [PhaseRecord(**phase) for phase in value["phases"]]})
    except (KeyError, TypeError) as error:
        raise RunError(f"{file}: not the state of a run ({error})") from None


def write_npz(file: Path, variables: Sequence[NDArray[Any]], value: Any = None) -> None:
    """Write a checkpoint, which `read_npz` reads."""
    arrays: dict[str, Any] = {f"{number:04d}": array for number, array in enumerate(variables)}
    with written_whole(file, durable=True) as opened:
        np.savez(opened, state=np.array(json.dumps(value)), **arrays)


def read_npz(file: Path) -> tuple[Any, list[NDArray[Any]]]:
    """(state, arrays) of a checkpoint; raises a `RunError` if the file is missing or broken."""
    try:
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
            return json.loads(str(stored["state"])), [stored[name] for name in stored.files if name != "state"]
    except FileNotFoundError:
        raise RunError(f"{file}: there is no such file") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{file}: not the state of a run ({' '.join(str(error).split())[:100]})") from None

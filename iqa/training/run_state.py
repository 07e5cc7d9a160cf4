"""The state of a training run, `phases.json` in its folder: what was done, and what is needed to resume it."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from iqa.errors import RunError
from iqa.training.schedule import PATIENCE, Phase

#: What `PhaseRecord.asked` says of a phase that `model.fit` trained.
BY_HAND = "by hand"

Figures = dict[str, float]

#: The name of a checkpoint in a run folder; it names no other place.
CHECKPOINT = re.compile(r"phase-\d{2,}-(begin|undone|epoch-\d{3,}[^/\\\0]*)\.weights\.h5")


@dataclass
class PhaseRecord:
    """One phase, as it was asked for and as it went.

    Attributes:
        asked: the text of the `Phase`, or `BY_HAND`.
        learning_rate: at its start.
        frozen, epochs, plateau, cosine: see `Phase`; a phase that reached its plateau has the epochs that it took.
        decay: the configuration of Keras's learning rate schedule, if there was one.
        callbacks: the names of the callbacks that were given.
        done, steps, seconds: epochs, training steps and time so far.
        before, after: figures on the test data.
        status: "interrupted" until it is "done", or "undone", or "not finite".
    """

    asked: str
    learning_rate: float
    frozen: bool
    epochs: int
    plateau: bool = False
    cosine: bool = False
    decay: dict[str, Any] | None = None
    callbacks: list[str] = field(default_factory=list)
    done: int = 0
    steps: int = 0
    seconds: float = 0.0
    before: Figures | None = None
    after: Figures | None = None
    status: str = "interrupted"

    @classmethod
    def of(cls, phase: Phase, asked: str | None = None, **facts: Any) -> "PhaseRecord":
        """The record of a phase that begins."""
        asked = asked or str(phase)
        return cls(asked, phase.learning_rate, phase.frozen, phase.epochs, phase.plateau, phase.cosine, **facts)

    @property
    def rate(self) -> str:
        """The learning rate, or the name of the schedule that it follows, as a table shows it."""
        if self.cosine:
            return f"{self.learning_rate:g}:cosine"
        return self.decay.get("class_name", "schedule") if self.decay else f"{self.learning_rate:g}"

    @property
    def undone(self) -> bool:
        """Whether `undo` took it back."""
        return self.status == "undone"

    @property
    def can_go_on(self) -> bool:
        """Whether it was stopped and can be continued: everything that it was given is known."""
        return self.status == "interrupted" and self.asked != BY_HAND and not self.callbacks


@dataclass
class OpenEpoch:
    """An epoch that was stopped in its middle.

    Attributes:
        step: how many of its steps are done.
        seconds: that they took.
        metrics: the values of the variables of the loss and the metrics, as nested lists.
    """

    step: int
    seconds: float
    metrics: list[Any]


@dataclass
class RunState:
    """Everything about a run but its weights, which lie in the checkpoint that it names.

    Attributes:
        phases, log: a record a phase; a row an epoch, {column: value}.
        checkpoint, begin: names of the last checkpoint and of the weights before the last phase.
        best: epoch, checkpoint and figure of the best epoch.
        figures: of the current weights on the test data, if they are known.
        drawn: epochs that were begun; each has its own order of the data.
        open_epoch: the epoch that was stopped in its middle.
        unvalidated: whether the last epoch has all its steps but, stopped before that, no figures on the test data.
        schedule: the phases that the run was begun with, as text.
        settings: what must not change in a run, {name: value}; options: its command line.
        keep_all: keep the checkpoints of all epochs.
        optimizer, trainable, generators: configuration of the optimizer, flags of the layers, states of Dropout and noise.
    """

    phases: list[PhaseRecord] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: str | None = None
    begin: str | None = None
    best: dict[str, Any] | None = None
    figures: Figures | None = None
    drawn: int = 0
    open_epoch: OpenEpoch | None = None
    unvalidated: bool = False
    schedule: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    keep_all: bool = False
    optimizer: dict[str, Any] | None = None
    trainable: list[bool] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)

    @property
    def kept(self) -> list[PhaseRecord]:
        """The phases that were not undone."""
        return [phase for phase in self.phases if phase.status != "undone"]

    @property
    def place(self) -> str:
        """Where the run stands, as the name of a checkpoint."""
        return f"phase-{len(self.phases):02d}-epoch-{len(self.log):03d}"

    def follows(self, schedule: list[str]) -> bool:
        """Whether the phases that were not undone are the first ones of a schedule."""
        done = [phase.asked for phase in self.kept]
        return done == schedule[: len(done)]

    def on_plateau(self, monitor: str) -> bool:
        """Whether the last epochs of the last phase brought no improvement.

        Computed from the log, because Keras's EarlyStopping would count from 0 in a resumed run.
        """
        figures = [row.get(monitor, -math.inf) for row in self.log if row["phase"] == len(self.phases)]
        return len(figures) - 1 - figures.index(max(figures)) >= PATIENCE

    def to_json(self) -> dict[str, Any]:
        """The state as JSON holds it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "RunState":
        """The state behind a value of JSON; what older versions did not write gets its default.

        Raises:
            RunError: if it is not the state of a run.
        """
        if not isinstance(value, dict):
            raise RunError("not the state of a run")
        for name in ("phases", "log", "checkpoint"):
            if name not in value:
                raise RunError(f"not the state of a run: {name!r} is missing")
        facts = {entry.name: value[entry.name] for entry in dataclasses.fields(cls) if entry.name in value}
        _check("", facts, _STATE)
        facts["phases"] = [_part(PhaseRecord, f"phases[{number}]", phase) for number, phase in enumerate(value["phases"])]
        for number, row in enumerate(value["log"]):
            _check(f"log[{number}]", row, {name: _or_none(_is_number) for name in row})
            known = _is_count(row.get("epoch")) and _is_number(row.get("learning_rate")) and _is_count(row.get("phase"))
            if not known or not 1 <= row["phase"] <= len(facts["phases"]):
                raise RunError(f"not the state of a run: log[{number}] is not an epoch of a phase")
        if value["checkpoint"] is not None and not facts["phases"]:
            raise RunError("not the state of a run: it has a checkpoint, but no phases")
        if value.get("best") and not 1 <= value["best"]["epoch"] <= len(value["log"]):
            raise RunError("not the state of a run: its best epoch is not in its log")
        # JSON has no NaN: what was not finite was written as null.
        facts["log"] = [{name: math.nan if entry is None else entry for name, entry in row.items()} for row in value["log"]]
        opened = value.get("open_epoch")
        facts["open_epoch"] = None if opened is None else _part(OpenEpoch, "open_epoch", opened)
        return cls(**facts)

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Make sure that a run is resumed with the settings that it began with.

        Raises:
            RunError: naming each setting that differs, and both its values.
        """
        changed = [
            f"{name} {_shown(self.settings[name])}, now {_shown(settings.get(name))}"
            for name in self.settings
            if settings.get(name) != self.settings[name]
        ]
        if changed:
            raise RunError(f"the run was begun with other settings: {'; '.join(changed)}")


# --- what may stand in the file, which anybody may have written --------------------------------------------------------

Test = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_checkpoint(value: Any) -> bool:
    return isinstance(value, str) and CHECKPOINT.fullmatch(value) is not None


def _is_best(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_checkpoint(value.get("checkpoint")) or not _is_count(value.get("epoch")):
        return False
    return all(_is_number(entry) for name, entry in value.items() if name != "checkpoint")


def _are(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _or_none(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _is_figures(value: Any) -> bool:
    return isinstance(value, dict) and all(entry is None or _is_number(entry) for entry in value.values())


_STATE: dict[str, Test] = {
    "phases": _are(_is_object),
    "log": _are(_is_object),
    "checkpoint": _or_none(_is_checkpoint),
    "begin": _or_none(_is_checkpoint),
    "best": _or_none(_is_best),
    "figures": _or_none(_is_figures),
    "drawn": _is_count,
    "open_epoch": _or_none(_is_object),
    "unvalidated": _is_flag,
    "schedule": _are(_is_text),
    "settings": _is_object,
    "options": _is_object,
    "keep_all": _is_flag,
    "optimizer": _or_none(_is_object),
    "trainable": _are(_is_flag),
    "generators": lambda value: isinstance(value, list),
}

_PHASE: dict[str, Test] = {
    "asked": _is_text,
    "learning_rate": _is_number,
    "frozen": _is_flag,
    "epochs": _is_count,
    "plateau": _is_flag,
    "cosine": _is_flag,
    "decay": _or_none(_is_object),
    "callbacks": _are(_is_text),
    "done": _is_count,
    "steps": _is_count,
    "seconds": _is_number,
    "before": _or_none(_is_figures),
    "after": _or_none(_is_figures),
    "status": _is_text,
}

_EPOCH: dict[str, Test] = {"step": _is_count, "seconds": _is_number, "metrics": lambda value: isinstance(value, list)}

_Part = TypeVar("_Part", PhaseRecord, OpenEpoch)


def _part(of: type[_Part], where: str, value: dict[str, Any]) -> _Part:
    _check(where, value, _PHASE if of is PhaseRecord else _EPOCH)
    try:
        return of(**value)
    except TypeError as error:  # what is missing, or unknown
        raise RunError(f"not the state of a run: {where}: {_shown(str(error))}") from None


def _check(where: str, value: Mapping[str, Any], tests: Mapping[str, Test]) -> None:
    for name, test in tests.items():
        if name in value and not test(value[name]):
            place = f"{where}.{_shown(name)}" if where else name
            raise RunError(f"not the state of a run: {place} cannot be {_shown(value[name])}")


def _shown(value: Any) -> str:
    """A value in a message: on one line, and not longer than that."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."

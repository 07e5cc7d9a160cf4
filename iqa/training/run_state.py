"""The state of a training run, `phases.json` in its folder: what was done, and what is needed to resume it."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from iqa.errors import RunError
from iqa.training.schedule import PATIENCE, Phase

#: What `PhaseRecord.asked` says of a phase that `model.fit` trained.
BY_HAND = "by hand"

Figures = dict[str, float]


@dataclass
class PhaseRecord:
    """One phase, as it was asked for and as it went.

    Attributes:
        asked: the text of the `Phase`, or `BY_HAND`.
        learning_rate: at its start.
        frozen, epochs, plateau: see `Phase`; a phase that reached its plateau has the epochs that it took.
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
        return cls(asked or str(phase), phase.learning_rate, phase.frozen, phase.epochs, phase.plateau, **facts)

    @property
    def rate(self) -> str:
        """The learning rate, or the name of the schedule that it follows, as a table shows it."""
        return self.decay.get("class_name", "schedule") if self.decay else f"{self.learning_rate:g}"

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
        try:
            facts = {entry.name: value[entry.name] for entry in dataclasses.fields(cls) if entry.name in value}
            facts["phases"] = [PhaseRecord(**phase) for phase in value["phases"]]
            # JSON has no NaN: what was not finite was written as null.
            facts["log"] = [
                {name: math.nan if entry is None else entry for name, entry in row.items()} for row in value["log"]
            ]
            facts["checkpoint"] = value["checkpoint"]
            facts["open_epoch"] = OpenEpoch(**value["open_epoch"]) if value.get("open_epoch") else None
            return cls(**facts)
        except KeyError as error:
            raise RunError(f"not the state of a run: {error} is missing") from None
        except (AttributeError, TypeError) as error:
            raise RunError(f"not the state of a run ({type(error).__name__}: {error})") from None

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Make sure that a run is resumed with the settings that it began with.

        Raises:
            RunError: naming each setting that differs, and both its values.
        """
        changed = [
            f"{name} {self.settings[name]}, now {settings.get(name)}"
            for name in self.settings
            if settings.get(name) != self.settings[name]
        ]
        if changed:
            raise RunError(f"the run was begun with other settings: {'; '.join(changed)}")

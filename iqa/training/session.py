"""A training run by a schedule or from a prompt. A phase can be stopped at any moment and continued from there.

    session = Session(trainer)
    session.train_phase(Phase(1e-4, epochs=2))         # from a prompt, or ...
    session.run_schedule(parse_schedule("1@1e-3:frozen,4@1e-4,until-plateau@1e-5"))

`iqa.training.trainer` trains, `iqa.training.run_folder` says what a run leaves behind, `iqa.training.prompt` has the
commands of the prompt.
"""

import dataclasses
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import keras

from iqa.environment import now
from iqa.errors import RunError, UsageError
from iqa.files import printable
from iqa.models.weight_files import load_weights, save_with_card, without_optimizer
from iqa.training.batches import naming_broken_images
from iqa.training.devices import check_agreement, place_among_machines, strategy_of
from iqa.training.interrupts import Interrupted
from iqa.training.network_state import decay_config, is_frozen, learning_rate_of
from iqa.training.rate_range import RateRange, measure_range, spread_rates
from iqa.training.recorder import Stopper
from iqa.training.run_state import BY_HAND, Figures, PhaseRecord, RunState
from iqa.training.schedule import Phase, parse_schedule
from iqa.training.trainer import Trainer

#: A learning rate, or a `keras.optimizers.schedules.LearningRateSchedule` in its place (Keras has no types).
Rate: TypeAlias = Any


@dataclass(frozen=True)
class Beginning:
    """What a run starts with, as JSON holds it.

    Attributes:
        settings: what must be the same when the run is resumed, {name: value}.
        options: the options of the command line, which --resume restores.
        seed: written to the run folder.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None


class Session:
    """One run: starts or resumes it, trains phases, saves, loads and undoes.

    Args:
        trainer: with the model, the data and the run folder.
        beginning: see `Beginning`.
    """

    def __init__(self, trainer: Trainer, beginning: Beginning | None = None) -> None:
        self.trainer, self.beginning = trainer, beginning or Beginning()
        self.folder, self.interrupt, self.model = trainer.folder, trainer.interrupt, trainer.model
        settings, options = json.loads(json.dumps([self.beginning.settings, self.beginning.options]))
        self.state.settings, self.state.options = settings, options
        self.model.recorded_by = self

    @property
    def state(self) -> RunState:
        """What has been done so far."""
        return self.trainer.state

    # --- beginning, resuming, schedules ------------------------------------------------------------------------------

    def begin(self, phases: Sequence[Phase], resume: bool) -> None:
        """Resume the run in the folder if asked, and run the phases if there are any: the last step of a script.

        A run that is resumed without phases continues its own schedule, unless a prompt will open.

        Raises:
            RunError: see `resume` and `run_schedule`, or if the folder holds a run that is not to be resumed, or another
                process has a session open on it.
            UsageError: if several machines cannot do together what is asked; see `iqa.training.devices`.
            KeyboardInterrupt: if Ctrl-C stopped the schedule; all that was done is in the run folder.
        """
        if not resume:
            self._refuse_another_run()
        elif not self.resume():
            print(f"nothing to resume in {printable(self.folder.path)}: starting a new run", file=sys.stderr)
        elif not phases and not sys.flags.interactive:
            phases = self._first_schedule()
        self._check_machines(phases)
        self.folder.note_start(self.beginning.seed)
        if phases and not self.run_schedule(phases) and not sys.flags.interactive:
            raise KeyboardInterrupt

    def _check_machines(self, phases: Sequence[Phase]) -> None:
        """Refuse what several machines cannot do together; each has its own run, which must be as far as the others."""
        if place_among_machines()[1] == 1:
            return
        if not phases or sys.flags.interactive:
            raise UsageError("--strategy machines trains unattended: it needs a --schedule, and no python -i")
        self.trainer.train_data.check_division()
        self.trainer.test_data.check_division()
        state = self.state
        check_agreement(len(state.phases), len(state.log), state.open_epoch.step if state.open_epoch else 0)

    def run_schedule(self, phases: Sequence[Phase]) -> bool:
        """Run the phases of a schedule that this run has not done yet; returns False if Ctrl-C stopped it.

        Raises:
            RunError: if the run was begun with another schedule, or the loss is no longer finite.
            ImageError: naming an image that cannot be read.
        """
        state, texts = self.state, [str(phase) for phase in phases]
        if not state.follows(texts):
            raise RunError(f"{self.folder.path}: this run was begun with another schedule")
        state.schedule, done = texts, len(state.kept)
        with self.interrupt:
            for number, phase in enumerate(phases):
                if number >= done:
                    self.train_phase(phase)
                elif number == done - 1 and state.phases[-1].can_go_on and state.kept[-1] is state.phases[-1]:
                    self.trainer.train()
                if state.phases[-1].status == "not finite":
                    raise RunError(
                        f"the loss of phase {len(state.phases)} was not finite: {self.folder.path} ends before it"
                    )
                if self.interrupt.asked:
                    return False
        return True

    def resume(self) -> bool:
        """Go back to the last checkpoint of the run folder; returns False if there is none.

        Raises:
            RunError: if the folder's state cannot be read, or the run was begun with other settings.
        """
        if not self.folder.holds_a_run:
            return False
        state = self.folder.read()
        try:
            state.check_settings(self.state.settings)
        except RunError as error:
            raise RunError(f"{self.folder.path}: {error}") from None
        state.settings = state.settings or self.state.settings  # older versions stored none
        self.trainer.restore(state)
        return True

    def finish(self) -> None:
        """Train what Ctrl-C stopped: the rest of the last phase, and of the schedule.

        Raises:
            RunError: if there is nothing to finish, or it is not known what the phase was given.
        """
        state = self.state
        last = state.phases[-1] if state.phases else None
        unfinished = self._first_schedule() if last else []
        if last and last.status == "interrupted" and not last.can_go_on:
            given = ", ".join(last.callbacks) or "what model.fit was given"
            raise RunError(f"phase {len(state.phases)} cannot be finished without {given}: start another phase")
        if last and last.can_go_on and not unfinished:
            with self.interrupt:
                self.trainer.train()
        elif unfinished:
            self.run_schedule(unfinished)
        else:
            raise RunError("there is nothing to finish")

    def _first_schedule(self) -> list[Phase]:
        """The schedule of the run if it was followed so far and is not finished; else an empty list."""
        state = self.state
        if not state.schedule or not state.follows(state.schedule):
            return []
        if len(state.kept) == len(state.schedule) and state.kept[-1].status == "done":
            return []
        return parse_schedule(",".join(state.schedule))

    def _refuse_another_run(self) -> None:
        self.folder.lock()
        if self.folder.holds_a_run:
            raise RunError(f"{self.folder.path} holds a run: resume it (--resume) or choose another folder (--run)")

    # --- phases ------------------------------------------------------------------------------------------------------

    def train_phase(self, phase: Phase, decay: Rate | None = None, callbacks: Any = None) -> None:
        """Train a new phase with a new Adam optimizer.

        Args:
            phase: with a `decay`, its learning rate is the first one.
            decay: a learning rate schedule of Keras.
            callbacks: Keras callbacks; see `keras.Model.fit`.

        Raises:
            RunError: if the folder holds another run.
        """
        if not self.state.phases:
            self._refuse_another_run()
        given = _list_callbacks(callbacks)
        if phase.cosine:
            steps = phase.epochs * self.trainer.train_data.steps
            decay = keras.optimizers.schedules.CosineDecay(phase.learning_rate, decay_steps=steps)
        with self.interrupt:
            self.trainer.freeze(phase.frozen)
            self.trainer.compile(keras.optimizers.Adam(phase.learning_rate if decay is None else decay))
            self.trainer.open_phase(self._record(phase))
            self.state.phases[-1].callbacks = [type(callback).__name__ for callback in given]
            self.trainer.train(given)

    def _record(self, phase: Phase, asked: str | None = None) -> PhaseRecord:
        record = PhaseRecord.of(phase, asked, decay=decay_config(self.model))
        if record.decay and not asked and not phase.cosine:
            record.asked = f"{phase.epochs}@{record.rate}{':frozen' if phase.frozen else ''}"
        return record

    def undo(self) -> int | None:
        """Go back to the weights before the last phase; returns its number, or None if there is nothing to undo."""
        state = self.state
        if not state.begin:
            return None
        self.trainer.load(state.begin)
        state.phases[-1].status = "undone"
        state.figures, state.begin, state.open_epoch, state.unvalidated = state.phases[-1].before, None, None, False
        self.trainer.commit(f"phase-{len(state.phases):02d}-undone")
        return len(state.phases)

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone for training by `model.fit`; compiles the model again with the session's loss."""
        self.trainer.freeze(frozen)
        self.trainer.compile()

    def evaluate(self) -> Figures:
        """The loss and the metrics on the test data, {name: value}; always computed again."""
        self.state.figures = None
        return self.trainer.evaluate()

    def find_rate(self, lowest: float, highest: float, steps: int, frozen: bool) -> RateRange:
        """A learning rate range test on a copy of the network; see `iqa.training.rate_range`."""
        with self.interrupt:
            return measure_range(self.trainer, spread_rates(lowest, highest, steps), frozen)

    # --- weights -----------------------------------------------------------------------------------------------------

    def path_of(self, name: str | Path) -> Path:
        """The path of NAME.weights.h5 in the run folder, or where a path says."""
        return self.folder.path / f"{str(name).removesuffix('.weights.h5')}.weights.h5"

    def save(self, name: str | Path) -> Path:
        """Save the weights alone, with their card; see `path_of`.

        Raises:
            RunError: if the name is reserved for the run's own files.
        """
        path = self.path_of(name)
        if self.folder.is_own(path):
            raise RunError(f"{path.name} is reserved for the run's own files: choose another name")
        training = {"phases": [dataclasses.asdict(phase) for phase in self.state.phases], "utc": now()}
        save_with_card(self.model, path, dataclasses.replace(self.trainer.card, training=training))
        return path

    def load(self, name: str | Path) -> Path:
        """Load weights by a name given to `save`, or from a path; the optimizer is a new one.

        Raises:
            WeightsError: if they are not weights of this model.
        """
        saved = self.path_of(name)
        path = saved if saved.exists() else Path(name)
        load_weights(without_optimizer(self.model), path)
        self.trainer.compile()
        self.state.figures, self.state.open_epoch, self.state.unvalidated = None, None, False
        if self.state.phases:
            self.trainer.commit(f"{self.state.place}-step-loaded")
        return path

    # --- Keras by hand: see `RecordedModel` --------------------------------------------------------------------------

    def compile_by_hand(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """`model.compile`, in the scope of the strategy."""
        with strategy_of(self.model).scope():
            optimizer = keras.optimizers.get(optimizer)
            optimizer = type(optimizer).from_config(optimizer.get_config())
            keras.Model.compile(self.model, optimizer, loss, **kwargs)
        self.state.figures = None  # they were those of another loss

    def fit_by_hand(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """`model.fit` with the same arguments, except that epochs are counted over the whole run."""
        given = inspect.signature(keras.Model.fit).bind(self.model, *args, **kwargs).arguments
        given.pop("self")
        epochs = given.pop("epochs", 1) - given.pop("initial_epoch", 0)
        given.setdefault("validation_data", None)  # as in Keras: no validation unless asked for
        if given.get("x") is not self.trainer.train_data:
            given.setdefault("shuffle", True)
        callbacks = _list_callbacks(given.pop("callbacks", None))
        phase = Phase(learning_rate_of(self.model), epochs, is_frozen(self.model, self.trainer.objective.head))
        if not self.state.phases:
            self._refuse_another_run()
        self.model.history = keras.callbacks.History()
        with self.interrupt:
            # The weights may have been changed by hand too.
            self.state.figures, self.state.unvalidated = None, False
            self.trainer.open_phase(self._record(phase, BY_HAND))
            self.state.phases[-1].callbacks = [type(callback).__name__ for callback in callbacks]
            self.trainer.train(callbacks, **given)
        return self.model.history

    def evaluate_by_hand(self, *args: Any, **kwargs: Any) -> Any:
        """`model.evaluate`, which Ctrl-C stops after a step; the result is then None."""
        kwargs["callbacks"] = [*_list_callbacks(kwargs.get("callbacks")), Stopper(self.interrupt)]
        with self.interrupt, naming_broken_images(self.trainer.test_data):
            try:
                return keras.Model.evaluate(self.model, *args, **kwargs)
            except Interrupted:
                print("stopped")
                return None


def first_rate(rate: Rate) -> float:
    """The learning rate of the first step."""
    return float(keras.ops.convert_to_numpy(rate(0))) if callable(rate) else float(rate)


def _list_callbacks(callbacks: Any) -> list[Any]:
    return [callback for callback in keras.tree.flatten(callbacks) if callback is not None]

"""A training run by a schedule or from a prompt; it can be stopped after any step and continued from there."""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from iqa.errors import ImageError, RunError
from iqa.files import printable
from iqa.labels.histograms import Score
from iqa.models.weight_files import load_weights, without_optimizer
from iqa.training.prompt import epoch_table, phase_table
from iqa.training.run_folder import BY_HAND, Phase, PhaseRecord, parse_schedule, read_npz
from iqa.training.trainer import (
    HEAD,
    Trainer,
    decay_of,
    decay_over,
    is_frozen,
    learning_rate_of,
    name_of,
)

#: Weight of the past in the smoothed loss; how many times its lowest value ends the test; the steps before which neither
#: the lowest loss counts nor a rise ends the test: the mean is of too few.
SMOOTHING, DIVERGED, FIRST = 0.8, 4.0, 5


class Session(Trainer):
    """One run: starts or resumes it, trains phases, saves, loads and undoes.

    `compile` and `fit` of its `model`, called by hand, are recorded as its own phases are. For the arguments see `Trainer`;
    `see`, (path) -> the patches of a picture, uint8 (K, size, size, 3), is for `predict`, and `large_batch` the images of a
    batch, if learning rates are to be scaled for them.
    """

    def __init__(self, *arguments: Any, see: Any = None, large_batch: int | None = None, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.see, self.large_batch = see, large_batch
        self.model.compile, self.model.fit = self.compile_by_hand, self.fit_by_hand

    def begin(self, phases: Sequence[Phase], resume: bool = False, seed: int | None = None) -> bool:
        """Resume the run in the folder if asked, and run the phases if there are any: the last step of a script.

        A run that is resumed without phases continues its own schedule, unless a prompt will open. Returns whether a
        schedule was run to its end; raises `KeyboardInterrupt` if Ctrl-C stopped it, and a `RunError` as `resume` and
        `run_schedule` do.
        """
        if not resume:
            self.refuse_another_run()
        elif not self.resume():
            print(f"nothing to resume in {printable(self.folder.path)}: starting a new run", file=sys.stderr)
        elif not phases and not sys.flags.interactive:
            phases = self._own_schedule()
        self.folder.note_start(seed)
        finished = bool(phases) and self.run_schedule(phases)
        if phases and not finished and not sys.flags.interactive:
            raise KeyboardInterrupt
        return finished

    def run_schedule(self, phases: Sequence[Phase]) -> bool:
        """Run the phases of a schedule that this run has not done yet; returns False if Ctrl-C stopped it.

        Raises a `RunError` if the run was begun with another schedule, or the loss is no longer finite.
        """
        texts = [str(phase) for phase in phases]
        if not self.state.follows(texts):
            raise RunError(f"{self.folder.path}: this run was begun with another schedule")
        self.state.schedule, done = texts, len(self.state.kept)
        with self.interrupt:
            for number, phase in enumerate(phases):
                if number >= done:
                    self.train_phase(phase)
                elif number == done - 1 and self.state.phases[-1].can_continue:
                    self.train()
                if self.state.phases[-1].status == "not finite":
                    number = len(self.state.phases)
                    raise RunError(f"the loss of phase {number} was not finite: {self.folder.path} ends before it")
                if self.interrupt.asked:
                    return False
        return True

    def resume(self) -> bool:
        """Go back to the last checkpoint, of this network with these settings; returns whether there is one."""
        if not self.folder.checkpoint.exists():
            return False
        state, variables = self.folder.read()
        begun, ours = state.settings, self.state.settings
        names = [name for name in begun | ours if begun.get(name) != ours.get(name)]
        if changed := [f"{name} {begun.get(name)}, now {ours.get(name)}" for name in names]:
            raise RunError(f"{self.folder.path}: the run was begun with other settings: {'; '.join(changed)}")
        if len(state.trainable) != len(self.model.layers):
            raise RunError(f"{self.folder.checkpoint}: the state of another network")
        for layer, trainable in zip(self.model.layers, state.trainable, strict=True):
            layer.trainable = trainable
        # Compiled again rather than loaded whole: what weights and optimizer are used for is in the script.
        try:
            optimizer = keras.optimizers.deserialize(state.optimizer)
        except (AttributeError, KeyError, TypeError, ValueError):  # one that was written at the prompt
            optimizer = keras.optimizers.Adam(state.phases[-1].learning_rate)
            variables = variables[: len(self.model.variables)]
            print("the optimizer of this run is not known here: Adam takes its place", file=sys.stderr)
        self.compile(optimizer)
        self.assign(variables)
        self.state, self._committed = state, True
        return True

    def finish(self) -> None:
        """Train what Ctrl-C stopped, if it is known what it was given: the rest of the last phase, and of the schedule."""
        last = self.state.phases[-1] if self.state.phases else None
        if last and last.status == "interrupted" and not last.can_continue:
            given, number = ", ".join(last.callbacks) or "what model.fit was given", len(self.state.phases)
            raise RunError(f"phase {number} cannot be finished without {given}: start another phase")
        if schedule := self._own_schedule():
            self.run_schedule(schedule)
        elif last and last.can_continue:
            with self.interrupt:
                self.train()
        else:
            raise RunError("there is nothing to finish")

    def _own_schedule(self) -> list[Phase]:  # if it was followed so far and is not finished
        state, schedule = self.state, self.state.schedule
        ends = state.has_finished() or not state.kept or not state.follows(schedule)
        return [] if ends else parse_schedule(",".join(schedule))

    def pretrain(self, epochs: int = 1, learning_rate: Any = 1e-3, callbacks: Any = None) -> None:
        """Train the head alone, with the backbone frozen."""
        self.fit(learning_rate, epochs, True, callbacks)

    def fit(self, learning_rate: Any, epochs: int = 1, frozen: bool = False, callbacks: Any = None) -> None:
        """Train a new phase, all layers unless `frozen`, at a rate or by a learning rate schedule of Keras."""
        decay = learning_rate if callable(learning_rate) else None
        first = float(keras.ops.convert_to_numpy(learning_rate(0))) if decay else float(learning_rate)
        self.train_phase(Phase(first, epochs, frozen), decay, callbacks)

    def train_phase(self, phase: Phase, decay: Any = None, callbacks: Any = None) -> None:
        """Train a new phase with a new Adam optimizer, which follows `decay` if given, a learning rate schedule."""
        kind = type(decay).__name__ if decay else None
        asked = f"{phase.epochs}@{kind}{':frozen' if phase.frozen else ''}" if kind else str(phase)
        steps = phase.epochs * self.train_data.steps
        rate = decay or decay_over(phase.learning_rate, steps, phase.cosine, self.large_batch)
        with self.interrupt:
            self.set_frozen(phase.frozen)
            self.compile(keras.optimizers.Adam(rate))
            self.open_phase(PhaseRecord(asked, **asdict(phase), loss=name_of(self.loss), decay=kind), callbacks)

    def undo(self) -> None:
        """Go back to the weights before the last phase. It works once, not phase by phase."""
        state, number = self.state, len(self.state.phases)
        if not state.begin:
            print("nothing to undo")
            return
        self.model.set_weights(read_npz(self.folder.path / state.begin)[1])
        self.compile()
        last = state.phases[-1]
        state.figures = last.before if last.loss == name_of(self.loss) else None
        last.status, state.begin, state.open_epoch = "undone", None, None
        self.commit()
        print(f"phase {number} is undone: the weights are those before it")
        if state.best and state.log[state.best["epoch"] - 1]["phase"] == number:
            print(f"best.weights.h5 stays that of epoch {state.best['epoch']}, which is undone")

    def freeze(self, frozen: bool = True) -> None:
        """Freeze the backbone for training by `model.fit`; compiles the model again with the script's loss."""
        self.set_frozen(frozen)
        self.compile()
        what = "backbone frozen for model.fit by hand; fit() trains all layers, pretrain() the head"
        print(what if frozen else "all layers are trained by model.fit")

    def unfreeze(self) -> None:
        """The opposite of `freeze`."""
        self.freeze(False)

    def compile_by_hand(self, optimizer: Any = "rmsprop", loss: Any = None, **settings: Any) -> None:
        """`model.compile`, for `model.fit`; a phase that was stopped before it cannot be finished any more."""
        self._compile(keras.optimizers.get(optimizer), loss, **settings)
        self.state.figures, self._of_the_script = None, False
        if self.state.phases and self.state.phases[-1].can_continue:
            self.state.phases[-1].status = "given up"

    def fit_by_hand(self, *arguments: Any, **settings: Any) -> keras.callbacks.History:
        """`model.fit` with the same arguments, except that epochs are counted over the whole run."""
        given = inspect.signature(keras.Model.fit).bind(self.model, *arguments, **settings).arguments
        given.pop("self")
        epochs = given.pop("epochs", 1) - given.pop("initial_epoch", 0)
        given.setdefault("validation_data", None)  # as in Keras: no validation unless asked for
        if given.get("x") is not self.train_data:
            given.setdefault("shuffle", True)
        phase = Phase(learning_rate_of(self.model), epochs, is_frozen(self.model, HEAD))
        record = PhaseRecord(BY_HAND, **asdict(phase), loss=name_of(self.model.loss), decay=decay_of(self.model))
        self.state.figures = None  # the weights may have been changed by hand too
        self.model.history = keras.callbacks.History()
        with self.interrupt:
            self.open_phase(record, given.pop("callbacks", None), **given)
        return self.model.history

    def predict(self, path: str | Path) -> float | Score | None:
        """The score of a picture by the current weights: a float, or a `Score` of mean, deviation and histogram."""
        try:
            patches = self.see(Path(path))
        except ImageError as error:
            print(f"{path}: {error}")
            return None
        output = keras.ops.convert_to_numpy(self.model.predict_on_batch(patches)).mean(axis=0)
        return float(output[0]) if len(output) == 1 else Score.of(output, self.card.scale.population)

    def phases(self) -> None:
        """Print what was done: a row for each phase."""
        print(phase_table(self.state.phases))

    def curve(self, file: str | Path | None = None) -> None:
        """Loss, LCC and SRCC over all epochs: printed, or drawn into a file."""
        if file is None:
            print(epoch_table(self.state.log, self.state.phases, self.monitor))
            return
        from iqa.evaluation.plots import draw_training

        rates = {number: phase.rate for number, phase in enumerate(self.state.phases, start=1)}
        draw_training(self.state.log, file, rates, {n for n in rates if self.state.phases[n - 1].status == "undone"})
        print(f"wrote {file}")

    def save(self, name: str | Path) -> None:
        """Save the weights alone, with their card, as NAME.weights.h5 in the run folder, or where a path says."""
        path = self.folder.path / f"{str(name).removesuffix('.weights.h5')}.weights.h5"
        if path.parent == self.folder.path and path.name.removesuffix(".weights.h5") in ("best", "phases", "run"):
            raise RunError(f"{path.name} is reserved for the run's own files: choose another name")
        self._save(path, {})
        print(f"saved {path}")

    def load(self, name: str | Path) -> None:
        """Load weights of this model by a name given to `save`, or from a path; the optimizer is a new one."""
        path = self.folder.path / f"{str(name).removesuffix('.weights.h5')}.weights.h5"
        path = path if path.exists() else Path(name)
        load_weights(without_optimizer(self.model), path)
        self.compile()
        self.state.figures = self.state.open_epoch = None
        if self.state.phases:
            self.commit()
        print(f"loaded {path}")

"""Fits a model phase by phase, and commits every epoch to the run folder.

Keras's `BackupAndRestore` and `ModelCheckpoint` are not used: they know nothing of phases, nor of the state of the random
generators, without which a resumed run is another run, and they write their files in place.
"""

import dataclasses
import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from iqa.cards import Card
from iqa.environment import now
from iqa.errors import RunError
from iqa.files import printable
from iqa.models.weight_files import load_weights, save_with_card, without_optimizer
from iqa.training.batches import Batches, naming_broken_images
from iqa.training.devices import over_replicas, strategy_of
from iqa.training.interrupts import Interrupt, Interrupted
from iqa.training.network_state import (
    generators_of,
    is_finite,
    learning_rate_of,
    metrics_of,
    optimizer_config,
    optimizer_from,
    own_optimizer,
    restore_generators,
    restore_pace,
    set_frozen,
)
from iqa.training.recorded_model import RecordedModel
from iqa.training.recorder import Recorder, Stopper
from iqa.training.run_folder import RunFolder
from iqa.training.run_state import BY_HAND, Figures, OpenEpoch, PhaseRecord, RunState


@dataclass(frozen=True)
class Objective:
    """What a model is trained for.

    Attributes:
        loss, metrics: as for `compile`.
        monitor: the figure of the test data, higher is better, by which the best epoch is chosen.
        head: the name of the head's first layer; from there on layers are trained in frozen phases too.
    """

    loss: Any
    metrics: Sequence[Any]
    monitor: str = "val_lcc"
    head: str = "dropout"


class Trainer:
    """Trains one model; `state` says what was done.

    Args:
        model: a flat model of `iqa.models.networks`; its layers are trained, in a `RecordedModel` of their own.
        train_data, test_data: batches to train on and to test on.
        objective: see `Objective`.
        card: of the weights, without `training` and `sha256`: these are added when weights are saved.
        folder: where every epoch is committed.
    """

    def __init__(
        self,
        model: keras.Model,
        train_data: Batches,
        test_data: Batches,
        objective: Objective,
        card: Card,
        folder: RunFolder,
    ) -> None:
        with strategy_of(model).scope():
            self.model = RecordedModel(model.inputs, model.outputs, name=model.name)
        self.train_data, self.test_data, self.objective = train_data, test_data, objective
        self.card, self.folder = card, folder
        self.state, self.interrupt = RunState(), Interrupt()
        self._comparable = True
        self.compile(keras.optimizers.Adam(1e-3))

    # --- the model ---------------------------------------------------------------------------------------------------

    def compile(self, optimizer: keras.optimizers.Optimizer | None = None) -> None:
        """Compile with the objective's loss and metrics, and a new optimizer.

        Args:
            optimizer: by default one of the kind that the model was compiled with.
        """
        optimizer = optimizer or own_optimizer(self.model)
        with strategy_of(self.model).scope():
            # Metrics and optimizers belong to the strategy in whose scope they were made.
            optimizer = type(optimizer).from_config(optimizer.get_config())
            metrics = [
                type(metric).from_config(metric.get_config()) if isinstance(metric, keras.Metric) else metric
                for metric in self.objective.metrics
            ]
            loss = over_replicas(self.objective.loss, self.model)
            keras.Model.compile(self.model, optimizer, loss=loss, metrics=metrics)
        self.build_optimizer()

    def build_optimizer(self) -> None:
        """Make the optimizer's variables: without them, an interrupt while Keras traces the first step would break it."""
        # In 16 bits Keras wraps the optimizer that it is given: ask the model for its own.
        if not self.model.optimizer.built:
            with strategy_of(self.model).scope():
                self.model.optimizer.build(self.model.trainable_variables)

    def freeze(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone; compile afterwards."""
        pretrained = self.card.backbone.backbone_weights != "none"
        set_frozen(self.model, self.objective.head, frozen, keep_normalisation=pretrained)

    def load(self, name: str) -> None:
        """Load weights of the run folder, with a new optimizer."""
        load_weights(without_optimizer(self.model), self.folder.path / name)
        self.compile()

    def evaluate(self) -> Figures:
        """The figures of the current weights on the test data, computed if they are not known.

        Raises:
            ImageError: naming an image that cannot be read.
        """
        if self.state.figures is None:
            print(f"evaluating on {len(self.test_data)} batches of test data", flush=True)
            with naming_broken_images(self.test_data):
                figures = keras.Model.evaluate(
                    self.model, self.test_data, verbose=0, return_dict=True, callbacks=[Stopper(self.interrupt)]
                )
            self.state.figures = {name: float(value) for name, value in figures.items()}
        return self.state.figures

    def restore(self, state: RunState) -> None:
        """Go back to a state of the run folder, with its weights, optimizer and random generators.

        Raises:
            RunError, WeightsError: if it is the state of another network, or its checkpoint is missing or broken.
        """
        steps = state.open_epoch.step if state.open_epoch else 0
        if len(state.trainable) != len(self.model.layers) or steps > self.train_data.steps:
            raise RunError(f"{self.folder.path / 'phases.json'}: the state of another network or of other data")
        self.state = state
        self._repair_best()
        for layer, trainable in zip(self.model.layers, state.trainable, strict=True):
            layer.trainable = trainable
        # Compiled again rather than loaded whole: what weights and optimizer are used for is in the script.
        try:
            optimizer = optimizer_from(state.optimizer)
        except ValueError:  # one that was written at the prompt
            optimizer = keras.optimizers.Adam(state.phases[-1].learning_rate)
            print("the optimizer of this run is not known here: Adam takes its place", file=sys.stderr)
        self.compile(optimizer)
        load_weights(self.model, self.folder.path / str(state.checkpoint))
        if not restore_generators(self.model, state.generators):
            raise RunError(f"{self.folder.path / 'phases.json'}: random generators of another network")

    # --- phases ------------------------------------------------------------------------------------------------------

    def open_phase(self, phase: PhaseRecord) -> None:
        """Begin a phase: evaluate the weights before it, and keep them for `undo`."""
        try:
            self._settle_last_epoch()
            phase.before = self.evaluate()
        except Interrupted:
            phase.before = None
        number = len(self.state.phases) + 1
        self._begin_before = self.state.begin
        self.state.begin = self.folder.write_weights(
            f"phase-{number:02d}-begin", without_optimizer(self.model).save_weights
        )
        # A phase that was stopped before this one stays unfinished.
        self.state.open_epoch, self.state.unvalidated = None, False
        self.state.phases.append(phase)

    def train(self, callbacks: Sequence[Any] = (), **by_hand: Any) -> None:
        """Train what is left of the last phase.

        Args:
            callbacks: Keras callbacks.
            by_hand: what `model.fit` was given.

        Raises:
            ImageError: naming an image that cannot be read; what was trained is kept.
        """
        phase = self.state.phases[-1]
        epochs = "until the plateau" if phase.plateau else f"epochs {phase.epochs}"
        frozen = ", backbone frozen" if phase.frozen else ""
        print(f"phase {len(self.state.phases)}: learning rate {phase.rate}, {epochs}{frozen}", flush=True)
        phase.status = "interrupted"
        recorder, events = Recorder(self), self._events()
        # Figures on other data, given by hand, neither choose the best epoch nor describe the weights.
        self._comparable = by_hand.get("validation_data", self.test_data) is self.test_data
        self._comparable &= not by_hand.get("validation_steps")
        self.build_optimizer()
        ours = [*callbacks, recorder, keras.callbacks.TerminateOnNaN(raise_error=True), *events]
        try:
            with naming_broken_images(self.train_data, self.test_data):
                self.interrupt.check()
                self._settle_last_epoch()
                self._fit(ours, by_hand)
        except Interrupted:
            self._close(events, recorder)
            self._keep_stopped(recorder)
        except RuntimeError:
            self._close(events, recorder)
            if recorder.loss is None or math.isfinite(recorder.loss):  # not by TerminateOnNaN
                self._keep_failed(recorder)
                raise
            self._go_back(recorder)
        except BaseException:
            self._close(events, recorder)
            self._keep_failed(recorder)
            raise
        else:
            phase.status = "done"
            if callbacks:  # they can change the weights at the end, EarlyStopping for one
                self.state.figures = None
            self.commit(f"{self.state.place}-step-end" if callbacks else None)
        finally:
            self._comparable = True

    def _fit(self, callbacks: list[Any], by_hand: dict[str, Any]) -> None:
        """Let Keras fit the rest of an epoch that was stopped, if there is one, and the epochs that are left."""
        phase, log = self.state.phases[-1], self.state.log
        settings = {
            "x": self.train_data,
            "validation_data": self.test_data,
            "shuffle": False,  # the data set shuffles by its own seed; Keras would do it again by the global one
            "verbose": 1 if sys.stdout.isatty() else 2,
            "callbacks": callbacks,
        } | by_hand
        opened = self.state.open_epoch
        if opened:
            print(f"continuing epoch {len(log) + 1} after step {opened.step} of {self.train_data.steps}", flush=True)
            with self.train_data.beginning_at(opened.step):
                self.model.test_on_batch(*self.train_data[0])  # Keras makes the metrics' variables at the first batch
                keras.Model.fit(self.model, **settings, initial_epoch=len(log), epochs=len(log) + 1)
        left = phase.epochs - phase.done
        if left > 0:
            keras.Model.fit(self.model, **settings, initial_epoch=len(log), epochs=len(log) + left)

    def _events(self) -> list[keras.callbacks.Callback]:
        # TensorFlow writes its events with TensorBoard's code, which `pip install .[tensorboard]` brings.
        if not self.writes_events:
            return []
        return [keras.callbacks.TensorBoard(self.folder.path / "events", write_graph=False)]

    @property
    def writes_events(self) -> bool:
        """Whether there will be events for TensorBoard."""
        return keras.backend.backend() == "tensorflow" and importlib.util.find_spec("tensorboard") is not None

    def _close(self, events: list[keras.callbacks.Callback], recorder: Recorder) -> None:
        # Keras does this at the end of a `fit`, but not if an exception ends it.
        print()  # the progress bar's line
        for callback in events if recorder.began else []:
            if recorder.validating:
                callback.on_test_end({})
            callback.on_train_end()

    # --- epochs ------------------------------------------------------------------------------------------------------

    def end_epoch(self, logs: dict[str, Any], seconds: float, validated: bool = True) -> None:
        """Add an epoch whose steps are all done to the log, and commit it.

        Args:
            logs: Keras's figures of the epoch.
            seconds: that it took.
            validated: whether the validation is done, if one was asked for.
        """
        state, phase = self.state, self.state.phases[-1]
        phase.done += 1
        row = {"epoch": len(state.log) + 1, "phase": len(state.phases), "learning_rate": learning_rate_of(self.model)}
        row |= {name: float(value) for name, value in logs.items() if np.ndim(value) == 0 and name != "learning_rate"}
        row |= {"seconds": round(seconds, 1)}
        state.log.append(row)
        state.unvalidated = not validated and phase.asked != BY_HAND
        phase.seconds = round(phase.seconds + seconds, 1)
        self._judge(row)

    def _judge(self, row: dict[str, Any]) -> None:
        """Decide by the last row of the log whether the epoch is the best, and whether the phase ends; commit."""
        state, phase, monitor = self.state, self.state.phases[-1], self.objective.monitor
        phase.after = {name[4:]: value for name, value in row.items() if name.startswith("val_")} or None
        state.figures = phase.after if self._comparable else None
        if phase.plateau and not state.unvalidated and state.on_plateau(monitor):
            phase.epochs = phase.done
            self.model.stop_training = True
        if phase.done == phase.epochs and not state.unvalidated:
            phase.status = "done"
        figure = f"-{monitor.removeprefix('val_')}-{row[monitor]:.4f}" if monitor in row else ""
        name = state.place + figure
        # Written first: the state must not name a file that could not be written.
        state.checkpoint = self.folder.write_weights(name, self.model.save_weights)
        best = state.best or {}
        better = row.get(monitor, -math.inf) > best.get(monitor, -math.inf)
        # An epoch that is judged again, after its files could not be written, may be the best already.
        better = self._comparable and (better or best.get("epoch") == row["epoch"])
        if better:
            state.best = {"epoch": row["epoch"], "checkpoint": state.checkpoint, monitor: row[monitor]}
        self.commit()
        if better:
            self._write_best()

    def _settle_last_epoch(self) -> None:
        """Add its figures on the test data to an epoch that was stopped before they were known."""
        if self.state.unvalidated:
            figures = self.evaluate()
            self.state.unvalidated = False
            self.state.log[-1] |= {f"val_{name}": value for name, value in figures.items()}
            self._judge(self.state.log[-1])

    def _write_best(self) -> None:
        assert self.state.best
        phases = [dataclasses.asdict(phase) for phase in self.state.phases]
        trained = {"phases": phases, **self.state.best, "utc": now()}
        save_with_card(self.model, self.folder.path / "best.weights.h5", dataclasses.replace(self.card, training=trained))

    def _repair_best(self) -> None:
        """Write `best` again if a kill came between the commit and it."""
        best = self.state.best
        if best and not self.folder.holds_best_of(best["epoch"]):
            load_weights(without_optimizer(self.model), self.folder.path / best["checkpoint"])
            self._write_best()

    # --- stops and failures -------------------------------------------------------------------------------------------

    def _keep_stopped(self, recorder: Recorder) -> None:
        """After Ctrl-C: save the weights of the last step as a checkpoint, and say where training stopped."""
        epoch = len(self.state.log) + 1
        if not is_finite(self.model):
            recorder.loss = math.nan
            self._go_back(recorder)
            return
        if recorder.validating:
            where = f"in the validation of epoch {epoch}"
        elif recorder.step:
            where = f"in epoch {epoch} after step {recorder.step} of {recorder.steps}"
        else:
            where = f"before the first step of epoch {epoch}"
        self._keep(recorder)
        print(f"stopped {where}; checkpoint {printable(self.folder.path / str(self.state.checkpoint))}")

    def _keep(self, recorder: Recorder) -> None:
        """Commit the part of an epoch that was trained."""
        state = self.state
        if recorder.ended:
            self._judge(state.log[-1])
        elif recorder.validating or (recorder.step and recorder.step == recorder.steps):
            self.end_epoch(recorder.settle(), recorder.seconds, validated=False)
        elif recorder.step:
            seconds = round(recorder.seconds, 1)
            state.phases[-1].after = state.figures = None
            state.phases[-1].seconds = round(state.phases[-1].seconds + seconds, 1)
            if state.phases[-1].can_go_on:
                state.open_epoch = OpenEpoch(recorder.step, seconds, metrics_of(self.model))
            number = f"phase-{len(state.phases):02d}-epoch-{len(state.log) + 1:03d}"
            self.commit(f"{number}-step-{recorder.step:05d}")
        else:
            self.commit(f"{state.place}-step-00000")

    def _keep_failed(self, recorder: Recorder) -> None:
        """After an error in a `fit`: keep what was trained, and drop a phase in which nothing was."""
        phase = self.state.phases[-1]
        if phase.steps:
            self.state.figures = None
            if is_finite(self.model):
                if recorder.pace:
                    restore_pace(self.model, recorder.pace)
                self._keep(recorder)
        elif phase.done == 0:
            self.state.phases.pop()
            self.state.begin = self._begin_before

    def _go_back(self, recorder: Recorder) -> None:
        """After a loss of NaN or infinity: go back to the last checkpoint of this phase, or to the weights before it."""
        state, epoch = self.state, len(self.state.log) + 1
        of_this_phase = (state.checkpoint or "").startswith(f"phase-{len(state.phases):02d}-")
        last = str(state.checkpoint if of_this_phase else state.begin)
        self.load(last)
        state.phases[-1].status, state.figures, state.open_epoch = "not finite", None, None
        self.commit(f"{state.place}-step-restored")
        print(f"the loss is {recorder.loss} in epoch {epoch} after step {recorder.step}: back to the weights of {last}")

    def commit(self, name: str | None = None) -> None:
        """Write a checkpoint of that name, unless the last one is still valid (None), and commit the state of the run."""
        state = self.state
        if name:
            state.checkpoint = self.folder.write_weights(name, self.model.save_weights)
        state.optimizer = optimizer_config(self.model)
        state.trainable = [layer.trainable for layer in self.model.layers]
        state.generators = generators_of(self.model)
        self.folder.commit(state)

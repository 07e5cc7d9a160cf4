"""Fits a model phase by phase, stops after any step, and commits every epoch to the run folder.

Keras's `BackupAndRestore` and `ModelCheckpoint` are not used: they know neither phases nor the state of the random
generators of Dropout, without which a resumed run is another run.
"""

import dataclasses
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card
from iqa.environment import now
from iqa.errors import RunError
from iqa.files import printable
from iqa.models.settings import settle
from iqa.models.weight_files import save_with_card
from iqa.training.batches import naming_broken_images
from iqa.training.recorder import Interrupt, Interrupted, NotFinite, Recorder, Stopper, is_finite
from iqa.training.run_folder import Figures, PhaseRecord, RunFolder, RunState, write_npz

#: The head's first layer: from there on layers are trained in frozen phases too.
HEAD = "dropout"


class Trainer:
    """Trains one model; `state` says what was done.

    Args:
        model: a flat model of `iqa.models.networks`; its layers are trained, in a model of their own.
        card: of the weights; what is trained here is added when they are saved.
        monitor: the figure of the test data, higher is better, by which the best epoch is chosen.
        settings, options: what must be the same when the run is resumed, as JSON holds it, and its command line.
    """

    def __init__(
        self,
        model: keras.Model,
        train_data: Any,
        test_data: Any,
        loss: Callable[[Any, Any], Any],
        metrics: Sequence[Any],
        card: Card,
        run: Path | str,
        monitor: str = "val_lcc",
        settings: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = keras.Model(model.inputs, model.outputs, name=model.name)
        self.train_data, self.test_data = train_data, test_data
        self.loss, self.metrics, self.card, self.monitor = loss, metrics, card, monitor
        self.folder, self.interrupt = RunFolder(run), Interrupt()
        held, begun = json.loads(json.dumps([settings or {}, options or {}]))
        self.state = RunState(settings=held, options=begun)
        self.pretrained = card.backbone.backbone_weights != "none"
        self._of_the_script = self._comparable = True
        self._committed = False  # whether what the folder holds is this run
        self.compile(keras.optimizers.Adam(1e-3))

    def compile(self, optimizer: keras.optimizers.Optimizer | None = None) -> None:
        """Compile with the script's loss and metrics, and a new optimizer, of the same kind by default."""
        if not self._of_the_script:
            print(f"compiled again with the loss of the script, {name_of(self.loss)}")
            self.state.figures = None  # they were those of another loss
        optimizer = optimizer or own_optimizer(self.model)
        # New metrics: Keras sets those of an earlier compilation to 0 only once it has built them, after the first batch.
        metrics = [type(metric).from_config(metric.get_config()) for metric in self.metrics]
        self._compile(type(optimizer).from_config(optimizer.get_config()), self.loss, metrics=metrics)
        self._of_the_script = True

    def _compile(self, optimizer: keras.optimizers.Optimizer, loss: Any, **settings: Any) -> None:
        keras.Model.compile(self.model, optimizer, loss, **settings)
        # Without its variables, an interrupt while Keras traces the first step would break the optimizer.
        self.model.optimizer.build(self.model.trainable_variables)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze or unfreeze the backbone; compile afterwards."""
        set_frozen(self.model, HEAD, frozen, self.pretrained)

    def evaluate(self, again: bool = True) -> Figures:
        """The loss and the metrics on the test data, {name: value}; computed `again` even if they are known."""
        if again or self.state.figures is None:
            print(f"evaluating on {len(self.test_data)} batches of test data", flush=True)
            with naming_broken_images(self.test_data):
                asked: dict[str, Any] = {"verbose": 0, "return_dict": True, "callbacks": [Stopper(self.interrupt)]}
                figures = keras.Model.evaluate(self.model, self.test_data, **asked)
            self.state.figures = {name: float(value) for name, value in figures.items()}
        return self.state.figures

    def refuse_another_run(self) -> None:
        """Raise a `RunError` if the folder holds a run that is not this one."""
        self.folder.lock()
        if self.folder.checkpoint.exists() and not self._committed:
            raise RunError(f"{self.folder.path} holds a run: resume it (--resume) or choose another folder (--run)")

    def open_phase(self, phase: PhaseRecord, callbacks: Any, **by_hand: Any) -> None:
        """Evaluate the weights, keep them for `undo`, and train the phase; `by_hand` is what `model.fit` was given."""
        self.refuse_another_run()
        given = [callback for callback in keras.tree.flatten(callbacks) if callback is not None]
        phase.callbacks = [type(callback).__name__ for callback in given]
        try:
            self._settle_last_epoch()
            phase.before = self.evaluate(again=False)
        except Interrupted:
            phase.before = None
        begin = self.state.begin
        self.state.begin = f"phase-{len(self.state.phases) + 1:02d}-begin.npz"
        write_npz(self.folder.path / self.state.begin, self.model.get_weights())
        self.state.phases.append(phase)
        self.state.open_epoch = None  # a phase that was stopped before this one stays unfinished
        self.commit()
        try:
            self.train(given, **by_hand)
        except BaseException:
            if not self.state.phases[-1].steps:  # what trained nothing is no phase
                self.state.phases.pop()
                self.state.begin = begin
                self.commit()
            raise

    def train(self, callbacks: Sequence[Any] = (), **by_hand: Any) -> None:
        """Train what is left of the last phase; of an `ImageError` the epochs that are done are kept."""
        phase = self.state.phases[-1]
        epochs = "until the plateau" if phase.plateau else f"epochs {phase.epochs}"
        frozen = ", backbone frozen" if phase.frozen else ""
        print(f"phase {len(self.state.phases)}: learning rate {phase.rate}, {epochs}{frozen}", flush=True)
        phase.status = "interrupted"
        # Figures on other data, given by hand, neither choose the best epoch nor describe the weights.
        self._comparable = by_hand.get("validation_data", self.test_data) is self.test_data
        self._comparable &= not by_hand.get("validation_steps")
        recorder = Recorder(self)
        events = [keras.callbacks.TensorBoard(self.folder.path / "events", write_graph=False)] if self.writes_events else []
        try:
            try:
                with naming_broken_images(self.train_data, self.test_data):
                    self.interrupt.check()
                    self._settle_last_epoch()
                    self._fit([*callbacks, recorder, *events], by_hand)
            except BaseException:  # Keras ends its events at the end of a `fit` alone
                print()  # the progress bar's line
                for callback in events if recorder.began else []:
                    if recorder.figures is not None:
                        callback.on_test_end({})
                    callback.on_train_end()
                raise
        except Interrupted:
            self._keep_stopped(recorder)
        except NotFinite as error:
            self._go_back("not finite")
            print(f"{error}: back to the weights before")
        except BaseException:
            self.model.train_function = None
            self._go_back()
            raise
        else:
            phase.status = "done"
            if callbacks:  # they can change the weights at the end, EarlyStopping for one
                self.state.figures = None
            self.commit()
        finally:
            self._comparable = True

    def _fit(self, callbacks: list[Any], by_hand: dict[str, Any]) -> None:
        phase, opened, done = self.state.phases[-1], self.state.open_epoch, len(self.state.log)
        settings = {
            "x": self.train_data,
            "validation_data": self.test_data,
            "shuffle": False,  # the data set shuffles by its own seed; Keras would do it again by the global one
            "verbose": 1 if sys.stdout.isatty() else 2,
            "callbacks": callbacks,
        } | by_hand
        if opened:
            print(f"continuing epoch {self.epoch} after step {opened['step']} of {self.train_data.steps}", flush=True)
            self.train_data.first = opened["step"]
            try:
                blank = np.zeros((1, *self.model.output_shape[1:]), np.float32)
                self.model.compute_metrics(None, blank, blank)  # Keras makes the metrics' variables at the first batch
                keras.Model.fit(self.model, **settings, initial_epoch=done, epochs=done + 1)
            finally:
                self.train_data.first = 0
        left, done = phase.epochs - phase.done, len(self.state.log)
        if left > 0:
            keras.Model.fit(self.model, **settings, initial_epoch=done, epochs=done + left)

    @property
    def epoch(self) -> int:
        """The number of the epoch that is trained next, or now."""
        return len(self.state.log) + 1

    @property
    def writes_events(self) -> bool:
        """Whether there will be events for TensorBoard."""
        return keras.backend.backend() == "tensorflow" and importlib.util.find_spec("tensorboard") is not None

    def end_epoch(self, logs: dict[str, Any], seconds: float) -> None:
        """Add an epoch with Keras's figures to the log, decide whether it is the best or ends the phase, and commit it."""
        state, phase = self.state, self.state.phases[-1]
        phase.done += 1
        phase.seconds = round(phase.seconds + seconds, 1)
        row = {"epoch": self.epoch, "phase": len(state.phases), "learning_rate": learning_rate_of(self.model)}
        row |= {name: float(value) for name, value in logs.items() if np.ndim(value) == 0 and name != "learning_rate"}
        state.log.append(row | {"seconds": round(seconds, 1)})
        state.open_epoch = None
        phase.after = {name[4:]: value for name, value in row.items() if name.startswith("val_")} or None
        state.figures = phase.after if self._comparable else None
        if phase.plateau and state.on_plateau(self.monitor):
            phase.epochs = phase.done
            self.model.stop_training = True
        if phase.done == phase.epochs:
            phase.status = "done"
        figure = row.get(self.monitor, math.nan)
        if self._comparable and figure > (state.best or {}).get(self.monitor, -math.inf):
            state.best = {"epoch": row["epoch"], self.monitor: figure}
            # Before the commit: killed between the two, a resumed run trains the same epoch again and writes it again.
            self._save(self.folder.path / "best.weights.h5", state.best)
        self.commit()

    def _settle_last_epoch(self) -> None:  # one that was stopped before its figures on the test data were known
        opened = self.state.open_epoch
        if opened and opened["figures"]:
            figures = self.evaluate(again=False)
            self.state.phases[-1].seconds -= opened["seconds"]
            self.end_epoch(opened["figures"] | {f"val_{name}": value for name, value in figures.items()}, opened["seconds"])

    def _keep_stopped(self, recorder: Recorder) -> None:
        state, phase, steps = self.state, self.state.phases[-1], self.train_data.steps
        where = f"in epoch {self.epoch} after step {recorder.step} of {steps}"
        if recorder.figures or not recorder.step:
            where = f"{'in the validation' if recorder.figures else 'before the first step'} of epoch {self.epoch}"
        if not is_finite(self.model):
            self._go_back("not finite")
        elif recorder.step:
            complete = recorder.figures is not None or recorder.step == steps
            metrics = [keras.ops.convert_to_numpy(variable).tolist() for variable in self.model.metrics_variables]
            state.figures = phase.after = None
            seconds = time.monotonic() - recorder.started
            phase.seconds = round(phase.seconds + seconds, 1)
            if phase.can_continue:
                state.open_epoch = {"step": recorder.step, "seconds": seconds, "metrics": metrics}
                state.open_epoch["figures"] = recorder.measure() if complete else None
        self.commit()
        print(f"stopped {where}; checkpoint {printable(self.folder.checkpoint)}")

    @property
    def _variables(self) -> list[Any]:
        # All that a step reads and changes but the metrics: weights, random generators, the optimizer's variables.
        return [*self.model.variables, *self.model.optimizer.variables]

    def commit(self) -> None:
        self.state.optimizer = optimizer_config(self.model)
        self.state.trainable = [layer.trainable for layer in self.model.layers]
        self._committed = True
        self.folder.commit(self.state, [keras.ops.convert_to_numpy(variable) for variable in self._variables])

    def _go_back(self, status: str | None = None) -> None:  # to a checkpoint of the model compiled as it is now
        self.state, variables = self.folder.read()
        self.assign(variables)
        if status:
            self.state.phases[-1].status = status
            self.commit()

    def assign(self, variables: Sequence[NDArray[Any]]) -> None:
        """Set all variables to those of a checkpoint, or raise a `RunError`; those of the optimizer may be missing."""
        ours = self._variables
        same = all(tuple(our.shape) == value.shape for our, value in zip(ours, variables, strict=False))
        if not same or not len(self.model.variables) <= len(variables) <= len(ours):
            raise RunError(f"{self.folder.checkpoint}: the state of another network")
        for our, value in zip(ours, variables, strict=False):
            our.assign(value)

    def _save(self, path: Path, facts: Mapping[str, Any]) -> None:
        training = {"phases": [dataclasses.asdict(phase) for phase in self.state.phases], **facts, "utc": now()}
        save_with_card(self.model, path, dataclasses.replace(self.card, training=training))


def name_of(loss: Any) -> str:
    """The name of a loss: a function's, an object's, or the text itself."""
    return loss if isinstance(loss, str) else str(getattr(loss, "__name__", None) or loss.name)


# What is set before a network is built, which of its layers are trained, and what its optimizer does.


def prepare(seed: int, mixed_precision: bool = False) -> None:
    """Settle what must be known before a network is built: the seed, and 16 bits, float16 on GPUs, else bfloat16."""
    settle()
    keras.utils.set_random_seed(seed)
    if mixed_precision:
        on_cpus = all("cpu" in device.lower() for device in keras.distribution.list_devices())
        keras.mixed_precision.set_global_policy("mixed_bfloat16" if on_cpus else "mixed_float16")


def set_frozen(model: keras.Model, head: str, frozen: bool, keep_normalisation: bool) -> None:
    """Freeze or unfreeze the backbone of a flat model: what comes before the layer `head`.

    With `keep_normalisation` batch normalisation is never trained: the statistics of a few ladders of a few scenes are
    worse than those of ImageNet, and a step takes half the time. A backbone of random weights has none to keep.
    """
    first = [layer.name for layer in model.layers].index(head)
    for number, layer in enumerate(model.layers):
        kept = keep_normalisation and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not kept and (number >= first or not frozen)


def is_frozen(model: keras.Model, head: str) -> bool:
    """Whether no layer before the head is trained."""
    first = [layer.name for layer in model.layers].index(head)
    return not any(layer.trainable and layer.trainable_weights for layer in model.layers[:first])


def own_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """The optimizer that a model was compiled with; in 16 bits Keras wraps it to scale the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def learning_rate_of(model: keras.Model) -> float:
    """The learning rate of the next step, to six digits: float32 cannot hold 0.001."""
    return float(f"{float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)):.6g}")


def optimizer_config(model: keras.Model) -> dict[str, Any] | None:
    """The configuration of the optimizer as JSON holds it; None if a schedule of its own cannot say how it was made."""
    try:
        return keras.optimizers.serialize(own_optimizer(model))
    except NotImplementedError:
        return None


def decay_of(model: keras.Model) -> str | None:
    """The class of the learning rate schedule that the optimizer follows; None for a plain rate."""
    rate = (optimizer_config(model) or {"config": {"learning_rate": {"class_name": "schedule"}}})["config"]["learning_rate"]
    return str(rate["class_name"]) if isinstance(rate, dict) else None


def decay_over(rate: float, steps: int, cosine: bool, large_batch: int | None = None) -> Any:
    """The learning rate of a phase of so many steps: a number, or a schedule of Keras.

    With `cosine` it falls to 0 as half a period of one does (Loshchilov, Hutter, "SGDR", ICLR 2017, arXiv:1608.03983). For
    a `large_batch` Adam's rate grows as the square root of its images does (Malladi et al., "On the SDEs and scaling rules
    for adaptive gradient algorithms", NeurIPS 2022): it rises from that of batches of 16 through 500 steps, half an epoch
    of AVA in batches of 256, or a half of the phase if that is less.
    """
    schedules = keras.optimizers.schedules
    if not large_batch:
        return schedules.CosineDecay(rate, steps) if cosine else rate
    highest, rising = rate * (large_batch / 16) ** 0.5, max(1, min(500, steps // 2))
    if cosine:
        return schedules.CosineDecay(rate, max(1, steps - rising), warmup_target=highest, warmup_steps=rising)
    return schedules.PolynomialDecay(rate, rising, highest)  # which stays there

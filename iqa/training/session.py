"""A training session at a prompt or by a schedule: phases of falling learning rate that can be stopped at any moment.

    session = Session(model, train_data, test_data, LadderLoss(), ["mse", LCC()], run="runs/first", card={...})
    session.fit(1e-4, epochs=2)                  # from a prompt, or ...
    session.run_schedule(parse_schedule("1@1e-3:frozen,4@1e-4,until-plateau@1e-5"))

What `model.fit` is given by hand is recorded too: the session stands between the call and Keras. `iqa.training.run_folder` tells
what a run leaves behind. Keras's `BackupAndRestore` and `ModelCheckpoint` are not used: they know nothing of phases, nor
of the state of the random generators, without which a resumed run is another run, and they write their files in place.
"""

import dataclasses
import functools
import importlib.util
import inspect
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from iqa.cards import card_of, read_card, sha256
from iqa.errors import CardError, ImageError, WeightsError
from iqa.images.reading import read_image
from iqa.labels.opinions import Prediction
from iqa.models.weight_files import load_weights, save_with_card, without_optimizer
from iqa.training.devices import over_replicas, strategy_of
from iqa.training.interrupts import Interrupt, Interrupted
from iqa.training.run_folder import RunFolder, now
from iqa.training.run_tables import epoch_table, phase_table, welcome

_PHASE = re.compile(r"(?P<epochs>\d+|until-plateau)@(?P<rate>[0-9.]+(e-?\d+)?)(?P<frozen>:frozen)?", re.IGNORECASE)

# A phase until the plateau ends when so many epochs in a row brought nothing better, and after the limit in any case.
PATIENCE, LONGEST = 2, 100


@dataclass(frozen=True)
class Phase:
    """So many epochs at one learning rate, with the backbone frozen or not; `plateau`: at most so many, see `PATIENCE`."""

    learning_rate: float
    epochs: int
    frozen: bool = False
    plateau: bool = False

    def __str__(self):
        epochs = "until-plateau" if self.plateau else self.epochs
        return f"{epochs}@{self.learning_rate:g}{':frozen' if self.frozen else ''}"


def parse_schedule(text, original=None):
    """ "1@1e-3:frozen,4@1e-4,until-plateau@1e-5" -> a list of `Phase`; "original" stands for the text `original`.

    >>> parse_schedule("1@1e-3:frozen,4@1e-4")[1]
    Phase(learning_rate=0.0001, epochs=4, frozen=False, plateau=False)

    Raises:
        ValueError: naming the part that is neither EPOCHS@RATE nor until-plateau@RATE, with or without :frozen.
    """
    phases = []
    for part in (original if original and text == "original" else text).split(","):
        match = _PHASE.fullmatch(part.strip())
        if not match or float(match["rate"]) <= 0 or match["epochs"] == "0":
            raise ValueError(f"a schedule is EPOCHS@RATE[:frozen], until-plateau@RATE, ... and not {part.strip()!r}")
        plateau = not match["epochs"].isdigit()
        epochs = LONGEST if plateau else int(match["epochs"])
        phases.append(Phase(float(match["rate"]), epochs, bool(match["frozen"]), plateau))
    return phases


def _guarded(method):
    """A command of the prompt: Ctrl-C within it waits for a safe point and ends in one line."""

    @functools.wraps(method)
    def guarded(self, *args, **kwargs):
        with self.interrupt:
            try:
                return method(self, *args, **kwargs)
            except Interrupted:
                print("stopped")
                return None

    return guarded


class Session:
    """Trains one model in phases.

    Args:
        model: a flat model of `iqa.models.networks`; layers from `head` on are trained in frozen phases too.
        train_data, test_data: `keras.utils.PyDataset`; `train_data` draws an epoch by its attribute `epoch`.
        loss, metrics: as for `compile`.
        run: folder for the log and the checkpoints, made if it is not there; see `iqa.training.run_folder`.
        card: what the card of the weights says beyond how they were trained and their sha256.
        cut: function (pixels) -> what the model sees of a picture, one patch or several; for `predict`.
        monitor: the figure of `test_data`, higher is better, by which the best epoch is chosen.
        head: name of the head's first layer.
        keep_epochs: keep the checkpoints of all epochs, not of the best and the last alone.
        seed: noted in the run folder.
    """

    def __init__(
        self,
        model,
        train_data,
        test_data,
        loss,
        metrics,
        run,
        card,
        cut=None,
        monitor="val_lcc",
        head="dropout",
        keep_epochs=False,
        seed=None,
    ):
        self.model, self.train_data, self.test_data = model, train_data, test_data
        self.loss, self.metrics, self.monitor, self.head = loss, metrics, monitor, head
        self.card, self.cut, self.seed = card, cut, seed
        self.folder = RunFolder(run, keep_epochs)
        self.interrupt = Interrupt()
        self.past, self.log = [], []  # the phases as dicts, and a row an epoch
        self._begin = self._best = None  # file of the weights before the last phase; {epoch, checkpoint} of the best
        self._checkpoint = None  # the file of the last commit
        self._drawn = 0  # epochs that were begun: each has its own order of the data
        self._figures = None  # of the weights as they are on the test data, if they are known
        self._begin_before = None  # what `_begin` was before the last phase
        self._recorder = None
        # By hand, `model.fit` is what the users of Keras know; recorded all the same.
        model.compile, model.fit, model.evaluate = self._compile_by_hand, self._fit_by_hand, self._evaluate_by_hand
        self._compile(keras.optimizers.Adam(1e-3))

    # --- the commands of the prompt ----------------------------------------------------------------------------------

    def commands(self):
        """The names that a prompt offers: the commands below and the plain Keras objects."""
        names = ("pretrain", "fit", "freeze", "unfreeze", "evaluate", "predict", "save", "load", "undo", "phases", "curve")
        objects = {"model": self.model, "train_data": self.train_data, "test_data": self.test_data}
        return {name: getattr(self, name) for name in names} | objects | {"session": self}

    def pretrain(self, epochs=1, learning_rate=1e-3):
        """Train the head alone, with the backbone frozen."""
        self._phase(Phase(learning_rate, epochs, frozen=True))

    def fit(self, learning_rate, epochs=1, frozen=False):
        """Train a new phase, all layers unless `frozen`; the optimizer starts anew, as after a `compile` by hand.

        Raises:
            ValueError: if the run folder holds another run.
        """
        self._phase(Phase(learning_rate, epochs, frozen))

    @_guarded
    def freeze(self):
        """Freeze the backbone for what `model.fit` trains by hand; compiled again, with the session's loss."""
        self._set_frozen(True)
        self._compile(self._same_optimizer())
        print("backbone frozen for model.fit by hand; fit() trains all layers, pretrain() the head")

    @_guarded
    def unfreeze(self):
        """The opposite of `freeze`."""
        self._set_frozen(False)
        self._compile(self._same_optimizer())
        print("all layers are trained by model.fit")

    @_guarded
    def evaluate(self):
        """The loss and the metrics on the test data, {name: value}."""
        self._figures = None
        return self._evaluated()

    @_guarded
    def predict(self, path):
        """The score of a picture, as the model stands: a float, or a `Score` of mean, deviation and histogram."""
        try:
            patches = self.cut(read_image(path))
        except ImageError as error:
            print(f"{path}: {error}")
            return None
        patches = patches if patches.ndim == 4 else patches[None]
        scored = Prediction(keras.ops.convert_to_numpy(self.model.predict_on_batch(patches)).mean(axis=0))
        return scored.score if len(scored.output) == 1 else scored.distribution

    @_guarded
    def save(self, name):
        """Save the weights alone, with their card, as NAME.weights.h5 in the run folder, or where a path says."""
        path = self._named(name)
        if self.folder.is_own(path):
            print(f"{path.name} is a name of the run's own files: choose another")
            return
        save_with_card(self.model, path, dataclasses.replace(self.card, training={"phases": self.past, "utc": now()}))
        print(f"saved {path}")

    @_guarded
    def load(self, name):
        """Load weights by a name given to `save`, or from a path; the optimizer starts anew."""
        saved = self._named(name)
        path = saved if saved.exists() else Path(name)
        try:
            load_weights(without_optimizer(self.model), path)
        except WeightsError as error:
            print(error)
            return
        self._compile(self._same_optimizer())
        self._figures = None
        if self.past:
            self._commit(f"{self._place()}-step-loaded")
        print(f"loaded {path}")

    def _named(self, name):
        return self.folder.path / f"{str(name).removesuffix('.weights.h5')}.weights.h5"

    @_guarded
    def undo(self):
        """Go back to the weights before the last phase; once, not phase by phase."""
        if not self._begin:
            print("nothing to undo")
            return
        load_weights(without_optimizer(self.model), self.folder.path / self._begin)
        self._compile(self._same_optimizer())
        self.past[-1]["status"] = "undone"
        self._figures, self._begin = self.past[-1]["before"], None
        self._commit(f"phase-{len(self.past):02d}-undone")
        print(f"phase {len(self.past)} is undone: the weights are those before it")
        if self._best and self.log[self._best["epoch"] - 1]["phase"] == len(self.past):
            print(f"best.weights.h5 stays that of epoch {self._best['epoch']}, which is undone")

    @_guarded
    def phases(self):
        """Print what was done: a row a phase."""
        print(phase_table(self.past))

    @_guarded
    def curve(self, file=None):
        """Loss and LCC over all epochs: printed, or drawn into a file."""
        if file is None:
            print(epoch_table(self.log, self.past, self.monitor))
            return
        from iqa.evaluation.plots import draw_training

        draw_training(self.log, file)
        print(f"wrote {file}")

    # --- schedules and resuming --------------------------------------------------------------------------------------

    def begin(self, phases, resume):
        """Go back to the run in the folder if `resume`, and run the phases if there are any; a script's last step.

        Raises:
            KeyboardInterrupt: if Ctrl-C stopped the schedule; all that was done is in the run folder.
        """
        if not resume:
            self._refuse_another_run()
        elif not self.resume():
            print(f"nothing to resume in {self.folder.path}: a new run", file=sys.stderr)
        self.folder.note_start(self.seed)
        if phases and not self.run_schedule(phases) and not sys.flags.interactive:
            raise KeyboardInterrupt

    def run_schedule(self, phases):
        """Run the phases of a schedule that this run has not done yet; returns False if Ctrl-C stopped it.

        Raises:
            ValueError: if the run was begun with another schedule, or the loss is no longer finite.
        """
        kept = [phase for phase in self.past if phase["status"] != "undone"]
        done = [phase["asked"] for phase in kept]
        if done != [str(phase) for phase in phases[: len(done)]]:
            raise ValueError("this run was begun with another schedule")
        with self.interrupt:
            for number, phase in enumerate(phases):
                if number >= len(done):
                    self._phase(phase)
                elif number == len(done) - 1 and kept[-1] is self.past[-1] and kept[-1]["status"] == "interrupted":
                    self._train()
                if self.past[-1]["status"] == "not finite":
                    raise ValueError(
                        f"the loss of phase {len(self.past)} was not finite: {self.folder.path} ends before it"
                    )
                if self.interrupt.asked:
                    return False
        return True

    def resume(self):
        """Go back to the last checkpoint of the run folder; returns False if there is none."""
        if not self.folder.holds_a_run:
            return False
        state = self.folder.read()
        self.past, self.log, self._checkpoint = state["phases"], state["log"], state["checkpoint"]
        self._begin, self._best, self._drawn, self._figures = (state[k] for k in ("begin", "best", "drawn", "figures"))
        self._repair_best()
        for layer, trainable in zip(self.model.layers, state["trainable"]):
            layer.trainable = trainable
        # Compiled again rather than loaded whole: the weights and the optimizer's state are in the file, what they are
        # used for is in the script.
        try:
            optimizer = keras.optimizers.deserialize(state["optimizer"])
        except (TypeError, ValueError):  # one that was written at the prompt
            optimizer = keras.optimizers.Adam(self.past[-1]["learning_rate"])
            print("the optimizer of this run is not known here: Adam takes its place", file=sys.stderr)
        self._compile(getattr(optimizer, "inner_optimizer", optimizer))
        self.model.load_weights(self.folder.path / state["checkpoint"])
        for layer, generator in zip(_random_layers(self.model), state["generators"]):
            layer.seed_generator.state.assign(generator)
        return True

    # --- training ----------------------------------------------------------------------------------------------------

    def _phase(self, phase):
        with self.interrupt:
            self._set_frozen(phase.frozen)
            self._compile(keras.optimizers.Adam(phase.learning_rate))
            self._new_phase(phase)
            self._train()

    def _new_phase(self, phase, by_hand=False):
        if phase.epochs < 1:
            raise ValueError(f"{phase.epochs} epochs are none")
        if not self.past:
            self._refuse_another_run()
        try:
            before = self._evaluated()
        except Interrupted:
            before = None
        number = len(self.past) + 1
        self._begin_before = self._begin
        self._begin = self.folder.write_weights(
            f"phase-{number:02d}-begin", lambda file: without_optimizer(self.model).save_weights(file)
        )
        self.past.append(
            {
                "asked": "by hand" if by_hand else str(phase),
                "learning_rate": phase.learning_rate,
                "frozen": phase.frozen,
                "epochs": phase.epochs,
                "plateau": phase.plateau,
                "done": 0,
                "steps": 0,
                "seconds": 0.0,
                "before": before,
                "after": None,
                "status": "interrupted",  # until it is done
            }
        )

    def _train(self, **by_hand):
        """Train what is left of the last phase; what `model.fit` takes can be given `by_hand`."""
        phase = self.past[-1]
        frozen = ", backbone frozen" if phase["frozen"] else ""
        epochs = "until the plateau" if phase["plateau"] else f"epochs {phase['epochs']}"
        print(f"phase {len(self.past)}: learning rate {phase['learning_rate']:g}, {epochs}{frozen}", flush=True)
        phase["status"] = "interrupted"
        recorder = self._recorder = _Recorder(self)
        recorder.comparable = by_hand.get("validation_data", self.test_data) is self.test_data
        recorder.comparable &= not by_hand.get("validation_steps")
        own = keras.tree.flatten(by_hand.pop("callbacks", None) or [])
        callbacks = [*own, recorder, keras.callbacks.TerminateOnNaN(raise_error=True)]
        events = self._events()
        settings = {
            "x": self.train_data,
            "validation_data": self.test_data,
            "shuffle": False,  # the data set shuffles by its own seed; Keras would do it again by the global one
            "verbose": 1 if sys.stdout.isatty() else 2,
        }
        if not self.model.optimizer.built:  # one that was compiled by hand
            with strategy_of(self.model).scope():
                self.model.optimizer.build(self.model.trainable_variables)
        try:
            self.interrupt.check()
            type(self.model).fit(
                self.model,
                **settings | by_hand,
                initial_epoch=len(self.log),
                epochs=len(self.log) + phase["epochs"] - phase["done"],
                callbacks=[*callbacks, *events],
            )
        except Interrupted:
            self._close(events, recorder)
            self._stopped(recorder)
        except RuntimeError:
            self._close(events, recorder)
            if recorder.loss is None or math.isfinite(recorder.loss):  # not by TerminateOnNaN
                self._failed(recorder)
                raise
            self._not_finite(recorder)
        except BaseException:
            self._close(events, recorder)
            self._failed(recorder)
            raise
        else:
            phase["status"] = "done"
            # Callbacks given by hand can change the weights at the end, EarlyStopping for one.
            if own:
                self._figures = None
            self._commit(f"{self._place()}-step-end" if own else None)
        finally:
            self._recorder = None

    def _events(self):
        # TensorFlow writes its events with TensorBoard's code, which `pip install .[tensorboard]` brings.
        if keras.backend.backend() != "tensorflow" or not importlib.util.find_spec("tensorboard"):
            return []
        return [keras.callbacks.TensorBoard(self.folder.path / "events", write_graph=False)]

    def _close(self, events, recorder):
        # What Keras does at the end of a `fit`, and not if it ends by an exception.
        print()  # the progress bar's line
        for callback in events if recorder.began else []:
            if recorder.validating:
                callback.on_test_end({})
            callback.on_train_end()

    def _epoch_done(self, logs, seconds):
        phase = self.past[-1]
        phase["done"] += 1
        row = {"epoch": len(self.log) + 1, "phase": len(self.past), "learning_rate": phase["learning_rate"]}
        row |= {name: float(value) for name, value in logs.items() if np.ndim(value) == 0} | {"seconds": round(seconds, 1)}
        self.log.append(row)
        phase["seconds"] = round(phase["seconds"] + seconds, 1)
        phase["after"] = {name[4:]: value for name, value in row.items() if name.startswith("val_")} or None
        # What is validated by hand on other data can neither be the best nor the figure to go on from.
        comparable = self._recorder is None or self._recorder.comparable
        self._figures = phase["after"] if comparable else None
        if phase["plateau"] and self._on_plateau():
            phase["epochs"] = phase["done"]
            self.model.stop_training = True
        name = self._place()
        if self.monitor in row:
            name += f"-{self.monitor.removeprefix('val_')}-{row[self.monitor]:.4f}"
        if phase["done"] == phase["epochs"]:
            phase["status"] = "done"
        better = comparable and row.get(self.monitor, -math.inf) > (self._best or {}).get(self.monitor, -math.inf)
        if better:
            self._best = {"epoch": row["epoch"], "checkpoint": f"{name}.weights.h5", self.monitor: row[self.monitor]}
        self._commit(name)
        if better:
            self._write_best()

    def _write_best(self):
        trained = {"phases": self.past, **self._best, "utc": now()}
        save_with_card(self.model, self.folder.path / "best.weights.h5", dataclasses.replace(self.card, training=trained))

    def _repair_best(self):
        """Write `best` again if a kill came between the commit and it."""
        if not self._best:
            return
        weights = self.folder.path / "best.weights.h5"
        try:
            card = read_card(card_of(weights))
            whole = card.training["epoch"] == self._best["epoch"] and card.sha256 == sha256(weights)
        except (CardError, KeyError, OSError):
            whole = False
        if not whole:
            load_weights(without_optimizer(self.model), self.folder.path / self._best["checkpoint"])
            self._write_best()

    def _on_plateau(self):
        # From the log rather than by Keras's EarlyStopping, whose count would begin anew in a resumed run.
        figures = [row.get(self.monitor, -math.inf) for row in self.log if row["phase"] == len(self.past)]
        return len(figures) - 1 - figures.index(max(figures)) >= PATIENCE

    def _place(self):
        return f"phase-{len(self.past):02d}-epoch-{len(self.log):03d}"

    def _stopped(self, recorder):
        """Ctrl-C: the weights of the last step go to a checkpoint, and a line says where it was."""
        epoch = len(self.log) + 1
        if not _is_finite(self.model):
            recorder.loss = math.nan
            self._not_finite(recorder)
            return
        if recorder.validating:  # all steps of the epoch are done; what was seen of the test data is no figure
            self._epoch_done(recorder.logs, time.monotonic() - recorder.started)
            where = f"in the validation of epoch {epoch}"
        elif recorder.step:
            self.past[-1]["after"] = self._figures = None
            self.past[-1]["seconds"] = round(self.past[-1]["seconds"] + time.monotonic() - recorder.started, 1)
            self._commit(f"phase-{len(self.past):02d}-epoch-{epoch:03d}-step-{recorder.step:05d}")
            where = f"in epoch {epoch} after step {recorder.step} of {recorder.params['steps']}"
        else:
            self._commit(f"{self._place()}-step-00000")
            where = f"before the first step of epoch {epoch}"
        print(f"stopped {where}; checkpoint {self.folder.path / self._checkpoint}")

    def _failed(self, recorder):
        """An error in the middle of a `fit`: what was trained is kept; a phase in which nothing was is none."""
        phase = self.past[-1]
        if phase["steps"]:
            self._figures = None
            if _is_finite(self.model):
                self._commit(f"phase-{len(self.past):02d}-epoch-{len(self.log) + 1:03d}-step-{recorder.step:05d}")
        elif phase["done"] == 0:
            self.past.pop()
            self._begin = self._begin_before

    def _not_finite(self, recorder):
        """The loss is NaN or infinite: back to the last checkpoint of this phase, or to the weights before it."""
        phase, epoch = self.past[-1], len(self.log) + 1
        of_this_phase = (self._checkpoint or "").startswith(f"phase-{len(self.past):02d}-")
        last = self._checkpoint if of_this_phase else self._begin
        load_weights(without_optimizer(self.model), self.folder.path / last)
        self._compile(self._same_optimizer())
        phase["status"], self._figures = "not finite", None
        self._commit(f"{self._place()}-step-restored")
        print(f"the loss is {recorder.loss} in epoch {epoch} after step {recorder.step}: back to the weights of {last}")

    def _commit(self, name=None):
        """Write a checkpoint of that name, none if the last one still holds, and make it the state of the run."""
        if name:
            self._checkpoint = self.folder.write_weights(name, self.model.save_weights)
        self.folder.commit(
            {
                "phases": self.past,
                "log": self.log,
                "checkpoint": self._checkpoint,
                "begin": self._begin,
                "best": self._best,
                "figures": self._figures,
                "drawn": self._drawn,
                "keep_all": self.folder.keep_all,
                "optimizer": keras.optimizers.serialize(self.model.optimizer),
                "trainable": [layer.trainable for layer in self.model.layers],
                "generators": [layer.seed_generator.state.numpy().tolist() for layer in _random_layers(self.model)],
            }
        )

    def _refuse_another_run(self):
        if self.folder.holds_a_run:
            raise ValueError(f"{self.folder.path} holds a run: go on with it (--resume) or choose another folder (--run)")

    # --- Keras by hand -----------------------------------------------------------------------------------------------

    def _fit_by_hand(self, *args, **kwargs):
        """`model.fit`, recorded: the same arguments, but that the epochs are counted over the whole run."""
        given = inspect.signature(type(self.model).fit).bind(self.model, *args, **kwargs).arguments
        given.pop("self")
        epochs = given.pop("epochs", 1) - given.pop("initial_epoch", 0)
        given.setdefault("validation_data", None)  # as Keras does: no validation unless asked for
        if given.get("x") is not self.train_data:
            given.setdefault("shuffle", True)
        frozen = not any(layer.trainable and layer.trainable_weights for layer in self.model.layers[: self._head_at()])
        self.model.history = keras.callbacks.History()
        with self.interrupt:
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self._figures = None  # the weights may have been changed by hand too
            self._new_phase(Phase(rate, epochs, frozen), by_hand=True)
            self._train(**given)
        return self.model.history

    def _evaluate_by_hand(self, *args, **kwargs):
        callbacks = kwargs.get("callbacks")
        if isinstance(callbacks, keras.callbacks.CallbackList):  # the validation within a `fit`
            return type(self.model).evaluate(self.model, *args, **kwargs)
        with self.interrupt:
            kwargs["callbacks"] = [*keras.tree.flatten(callbacks or []), _Stopper(self.interrupt)]
            try:
                return type(self.model).evaluate(self.model, *args, **kwargs)
            except Interrupted:
                print("stopped")
                return None

    def _evaluated(self):
        """The figures of the weights as they are on the test data, computed if they are not known."""
        if self._figures is None:
            print(f"evaluating on {len(self.test_data)} batches of test data", flush=True)
            figures = type(self.model).evaluate(
                self.model, self.test_data, verbose=0, return_dict=True, callbacks=[_Stopper(self.interrupt)]
            )
            self._figures = {name: float(value) for name, value in figures.items()}
        return self._figures

    def _head_at(self):
        return [layer.name for layer in self.model.layers].index(self.head)

    def _set_frozen(self, frozen):
        """Freeze or unfreeze the backbone.

        Batch normalisation stays as the backbone was trained: the statistics of a few ladders of a few scenes are worse
        than those of ImageNet, and a step takes half the time. A backbone of random weights (`--backbone none`) has none
        to keep, and nothing normalises it but training.
        """
        pretrained = self.card.backbone.backbone_weights != "none"
        head = self._head_at()
        for number, layer in enumerate(self.model.layers):
            kept = pretrained and isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = not kept and (number >= head or not frozen)

    def _same_optimizer(self):
        """The optimizer that the model was compiled with, without what it has gathered (`_compile` makes it anew)."""
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _compile_by_hand(self, optimizer="rmsprop", loss=None, **kwargs):
        """`model.compile`, in the scope of the strategy."""
        with strategy_of(self.model).scope():
            optimizer = keras.optimizers.get(optimizer)
            optimizer = type(optimizer).from_config(optimizer.get_config())
            type(self.model).compile(self.model, optimizer, loss, **kwargs)
        self._figures = None  # by another loss

    def _compile(self, optimizer):
        """Compile with the session's own loss and metrics."""
        with strategy_of(self.model).scope():
            # Metrics and optimizers belong to the strategy in whose scope they were made.
            optimizer = type(optimizer).from_config(optimizer.get_config())
            metrics = [type(m).from_config(m.get_config()) if isinstance(m, keras.Metric) else m for m in self.metrics]
            type(self.model).compile(self.model, optimizer, loss=over_replicas(self.loss, self.model), metrics=metrics)
            # Interrupted while Keras traces the first step, an optimizer without its variables stays broken. The model's
            # own is not ours in 16 bits, where Keras wraps it to scale the loss.
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)


class _Stopper(keras.callbacks.Callback):
    """Stops an evaluation at the next step after Ctrl-C."""

    def __init__(self, interrupt):
        super().__init__()
        self.interrupt = interrupt

    def on_test_batch_end(self, batch, logs=None):
        self.interrupt.check()


class _Recorder(_Stopper):
    """Knows how far a `fit` has come, and tells the session of every epoch."""

    def __init__(self, session):
        super().__init__(session.interrupt)
        self.session, self.began, self.step, self.validating = session, False, 0, False
        self.loss, self.logs, self.comparable = None, {}, True

    def on_train_begin(self, logs=None):
        self.began = True

    def on_epoch_begin(self, epoch, logs=None):
        # Set, not counted: Keras calls a data set's `on_epoch_end` once more than there are epochs in a `fit`.
        self.session.train_data.epoch = self.session._drawn
        self.session._drawn += 1
        self.started, self.step, self.validating = time.monotonic(), 0, False

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.session.past[-1]["steps"] += 1
        self.logs, self.loss = logs, logs["loss"]
        if math.isfinite(self.loss):
            self.interrupt.check()

    def on_test_begin(self, logs=None):
        self.validating = True

    def on_epoch_end(self, epoch, logs=None):
        # The loss of the last step was that of the weights before it.
        if not _is_finite(self.model):
            self.loss = math.nan
            raise RuntimeError("the weights are not finite")
        self.session._epoch_done(logs, time.monotonic() - self.started)
        self.validating, self.step = False, 0
        self.interrupt.check()


def _is_finite(model):
    return all(np.isfinite(weight).all() for weight in model.get_weights())


def _random_layers(model):
    return [layer for layer in model.layers if hasattr(layer, "seed_generator")]


def open_prompt(session, *facts):
    """Under `python3 -i`: the first screen, and Ctrl-C at the prompt as one line.

    Args:
        facts: lines about the model and the data.
    """
    if not sys.flags.interactive:
        return
    print(welcome(session, facts))
    shown = sys.excepthook

    def hook(kind, error, trace):
        if issubclass(kind, KeyboardInterrupt):
            print("KeyboardInterrupt", file=sys.stderr)
        else:
            shown(kind, error, trace)

    sys.excepthook = hook

"""A training session: phases of falling learning rate, a checkpoint and a line of log after each epoch, resumable.

    session = Session(model, train_data, test_data, LadderLoss(), ["mse", LCC()], run="runs/first", card={...})
    session.fit(1e-3, epochs=1, frozen=True)     # from a prompt, or ...
    session.run_schedule(parse_schedule("1@1e-3:frozen,4@1e-4"))

A run folder holds `session.json` (what was done, from which a killed run goes on), `log.csv` (a row an epoch),
`epoch-NNN.weights.h5` (the last epoch: weights and optimizer) and `best.weights.h5` (the epoch with the best `monitor`,
weights alone) with its card `best.json`, ready for the infer scripts.
"""

import csv
import io
import json
import math
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import keras

from iqa.files import temporary_beside, written_whole
from iqa.scoring import card_of, sha256

_PHASE = re.compile(r"(?P<epochs>\d+)@(?P<rate>[0-9.]+(e-?\d+)?)(?P<frozen>:frozen)?", re.IGNORECASE)


@dataclass(frozen=True)
class Phase:
    """So many epochs at one learning rate, with the backbone frozen or not."""

    learning_rate: float
    epochs: int
    frozen: bool = False


def parse_schedule(text):
    """ "1@1e-3:frozen,4@1e-4" -> a list of `Phase`.

    >>> parse_schedule("1@1e-3:frozen,4@1e-4")[1]
    Phase(learning_rate=0.0001, epochs=4, frozen=False)

    Raises:
        ValueError: naming the part that is not EPOCHS@RATE or EPOCHS@RATE:frozen.
    """
    phases = []
    for part in text.split(","):
        match = _PHASE.fullmatch(part.strip())
        if not match or float(match["rate"]) <= 0:
            raise ValueError(f"a schedule is EPOCHS@RATE[:frozen], ... and not {part.strip()!r}")
        phases.append(Phase(float(match["rate"]), int(match["epochs"]), bool(match["frozen"])))
    return phases


class Session:
    """Trains one model in phases.

    Args:
        model: a flat model of `iqa.models`; layers from `head` on are trained in frozen phases too.
        train_data, test_data: `keras.utils.PyDataset`; `train_data` draws an epoch by its attribute `epoch`.
        loss, metrics: as for `compile`.
        run: folder for the log and the checkpoints, made if it is not there.
        card: what the card of the weights says beyond how they were trained and their sha256.
        monitor: the figure of `test_data`, higher is better, by which `best.weights.h5` is chosen.
        head: name of the head's first layer.
        keep_epochs: keep the checkpoint of every epoch, not of the last alone.
    """

    def __init__(
        self, model, train_data, test_data, loss, metrics, run, card, monitor="val_lcc", head="dropout", keep_epochs=False
    ):
        self.model, self.train_data, self.test_data = model, train_data, test_data
        self.loss, self.metrics, self.monitor, self.head = loss, metrics, monitor, head
        self.run, self.card = Path(run), card
        self.run.mkdir(parents=True, exist_ok=True)
        self.keep_epochs = keep_epochs
        self.phases, self.log = [], []

    def fit(self, learning_rate, epochs, frozen=False):
        """Train a new phase; the optimizer starts anew, as after a `compile` by hand.

        Raises:
            ValueError: if the run folder holds another run, or the loss is no longer finite.
        """
        if not self.log and (self.run / "session.json").exists():
            raise ValueError(f"{self.run} holds a run: go on with it (--resume) or choose another folder (--run)")
        self.set_frozen(frozen)
        self.model.compile(keras.optimizers.Adam(learning_rate), loss=self.loss, metrics=self.metrics)
        self.phases.append({"learning_rate": learning_rate, "epochs": epochs, "frozen": frozen, "done": 0})
        self._train()

    def begin(self, phases, resume):
        """Go back to the run in the folder if `resume`, and run the phases if there are any; a script's last step."""
        if resume and not self.resume():
            print(f"nothing to resume in {self.run}: a new run", file=sys.stderr)
        if phases:
            self.run_schedule(phases)

    def run_schedule(self, phases):
        """Run the phases of a schedule that this run has not done yet."""
        done = [Phase(p["learning_rate"], p["epochs"], p["frozen"]) for p in self.phases]
        if done != phases[: len(done)]:
            raise ValueError("this run was begun with another schedule")
        if self.phases and self.phases[-1]["done"] < self.phases[-1]["epochs"]:
            self._train()
        for phase in phases[len(done) :]:
            self.fit(phase.learning_rate, phase.epochs, phase.frozen)

    def set_frozen(self, frozen):
        """Freeze or unfreeze the backbone.

        Batch normalisation stays as the backbone was trained: the statistics of a few ladders of a few scenes are worse
        than those of ImageNet, and a step takes half the time. A backbone of random weights (`--backbone none`) has none
        to keep, and nothing normalises it but training.
        """
        pretrained = self.card.get("backbone", {}).get("backbone_weights") != "none"
        names = [layer.name for layer in self.model.layers]
        head = names.index(self.head)
        for number, layer in enumerate(self.model.layers):
            kept = pretrained and isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = not kept and (number >= head or not frozen)

    def resume(self):
        """Go back to the last checkpoint of the run folder; returns False if there is none."""
        state_file = self.run / "session.json"
        if not state_file.exists():
            return False
        state = json.loads(state_file.read_text())
        self.phases, self.log = state["phases"], state["log"]
        # Compiled again rather than loaded whole: the weights and the optimizer's state are in the file, what they are
        # used for is in the script.
        self.set_frozen(self.phases[-1]["frozen"])
        self.model.compile(keras.optimizers.Adam(self.phases[-1]["learning_rate"]), loss=self.loss, metrics=self.metrics)
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self.run / state["checkpoint"])
        for layer, generator in zip(_random_layers(self.model), state["generators"]):
            layer.seed_generator.state.assign(generator)
        return True

    def _train(self):
        phase = self.phases[-1]
        self.model.optimizer.build(self.model.trainable_variables)
        print(f"phase {len(self.phases)}: learning rate {phase['learning_rate']:g}, epochs {phase['epochs']}", end="")
        print(", backbone frozen" if phase["frozen"] else "", flush=True)
        self.model.fit(
            self.train_data,
            validation_data=self.test_data,
            initial_epoch=phase["done"],
            epochs=phase["epochs"],
            shuffle=False,  # the data set shuffles by its own seed; Keras would do it again by the global one
            callbacks=[_EpochKeeper(self), keras.callbacks.TerminateOnNaN()],
            verbose=2,
        )

    def _keep(self, logs, seconds):
        if not math.isfinite(logs["loss"]):
            raise ValueError(
                f"the loss of epoch {len(self.log) + 1} is {logs['loss']}; {self.run} holds the epoch before it"
            )
        phase = self.phases[-1]
        phase["done"] += 1
        row = {"epoch": len(self.log) + 1, "phase": len(self.phases), "learning_rate": phase["learning_rate"]}
        row |= {name: float(value) for name, value in logs.items()} | {"seconds": round(seconds, 1)}
        best = max((r[self.monitor] for r in self.log if self.monitor in r), default=-float("inf"))
        self.log.append(row)
        # The checkpoint has the epoch in its name and session.json names the checkpoint, so that the rename of
        # session.json is the one moment at which the epoch becomes part of the run.
        checkpoint = f"epoch-{row['epoch']:03d}.weights.h5"
        with temporary_beside(self.run / checkpoint) as file:
            self.model.save_weights(file)
        if row.get(self.monitor, -float("inf")) > best:
            trained = {"phases": self.phases, self.monitor: row[self.monitor], "utc": _now()}
            save_with_card(self.model, self.run / "best.weights.h5", self.card | {"training": trained})
        generators = [layer.seed_generator.state.numpy().tolist() for layer in _random_layers(self.model)]
        state = {"phases": self.phases, "log": self.log, "checkpoint": checkpoint, "generators": generators}
        with written_whole(self.run / "session.json") as file:
            file.write(json.dumps(state, indent=1).encode())
        with written_whole(self.run / "log.csv") as file:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.log)
            file.write(text.getvalue().encode())
        if not self.keep_epochs:
            for older in self.run.glob("epoch-*.weights.h5"):
                if older.name != checkpoint:
                    older.unlink()


class _EpochKeeper(keras.callbacks.Callback):
    def __init__(self, session):
        super().__init__()
        self.session = session

    def on_epoch_begin(self, epoch, logs=None):
        # Set, not counted: Keras calls a data set's `on_epoch_end` once more than there are epochs in a `fit`.
        self.session.train_data.epoch = len(self.session.log)
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self.session._keep(logs or {}, time.monotonic() - self.started)


def _random_layers(model):
    return [layer for layer in model.layers if hasattr(layer, "seed_generator")]


def save_with_card(model, path, card):
    """Save the weights of a model alone, without its optimizer's state (three times the size), and their card."""
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with temporary_beside(path) as file:
        bare.save_weights(file)
    with written_whole(card_of(path)) as file:
        file.write(json.dumps(card | {"sha256": sha256(path)}, indent=1).encode())


def _now():
    return datetime.now(UTC).isoformat(timespec="seconds")

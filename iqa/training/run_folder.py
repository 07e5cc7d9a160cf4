"""The folder of a training run: what a person reads about it, and what a killed run goes on from.

| file | what it holds |
|---|---|
| `log.csv` | a row an epoch |
| `phases.json` | what was done, phase by phase, and the state from which `--resume` goes on |
| `phase-02-epoch-005-lcc-0.8123.weights.h5` | a checkpoint, weights and optimizer: of the last epoch and of the best |
| `phase-02-begin.weights.h5` | the weights before the last phase, for `undo` |
| `best.weights.h5`, `best.json` | the best epoch's weights alone with their card, ready for the infer scripts |
| `run.json` | every start of this run: command line, versions, seed, time |
| `events/` | the same figures for TensorBoard, if it is installed |
"""

import csv
import io
import json
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from iqa.files import remove_leftovers, temporary_beside, written_whole

# Checkpoints; whatever else lies in the folder is the user's.
_CHECKPOINT = re.compile(r"phase-\d{2,}-(begin|undone|epoch-\d{3,}.*)\.weights\.h5")
_OWN = ("phases", "run", "best", "log", "events")

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "image-quality-assessment")


class RunFolder:
    """Reads and writes the files of one run; see the table above.

    A checkpoint has its place in the run in its name, and `phases.json` names the checkpoint that belongs to it: the rename
    of `phases.json` is the one moment at which an epoch becomes part of the run. Whatever is killed before it is as if it
    had not happened, and what is killed after it is made up for by the next `commit` or `read`.

    Args:
        path: made if it is not there.
        keep_all: keep the checkpoints of all epochs, not of the best and the last alone.
    """

    def __init__(self, path, keep_all=False):
        self.path, self.keep_all = Path(path), keep_all
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def holds_a_run(self):
        return (self.path / "phases.json").exists()

    def is_own(self, path):
        """Whether weights saved at `path` would be mistaken for the run's own files, or lie over them."""
        name = path.name.removesuffix(".weights.h5")
        return path.parent == self.path and (name in _OWN or bool(_CHECKPOINT.fullmatch(path.name)))

    def read(self):
        """The state of the last `commit`; what a kill left behind is tidied up.

        Raises:
            ValueError: if `phases.json` is not one.
        """
        file = self.path / "phases.json"
        try:
            state = json.loads(file.read_text())
            state["phases"], state["log"], state["checkpoint"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: not the state of a run ({type(error).__name__}: {error})") from None
        self.keep_all = self.keep_all or state.get("keep_all", False)
        remove_leftovers(self.path)
        self._write_log(state["log"])
        self._prune(state)
        return state

    def note_start(self, seed):
        """Add the command line, the versions of what matters and the seed to `run.json`."""
        file = self.path / "run.json"
        starts = json.loads(file.read_text()) if file.exists() else []
        starts.append({"command": sys.argv, "seed": seed, "utc": now(), "python": sys.version.split()[0], **_versions()})
        self._write_json(file, starts)

    def write_weights(self, name, save):
        """Write `NAME.weights.h5`, whole or not at all; `save` is given the path to write to. Returns the file's name."""
        file = self.path / f"{name}.weights.h5"
        with temporary_beside(file, durable=True) as temporary:
            save(temporary)
        return file.name

    def commit(self, state):
        """Make `state` (phases, log, checkpoint, best, begin ...) the state of the run, and prune what it does not name."""
        self._write_json(self.path / "phases.json", state)
        self._write_log(state["log"])
        self._prune(state)

    def _write_json(self, file, value):
        with written_whole(file, durable=True) as stream:
            stream.write(json.dumps(value, indent=1).encode())

    def _write_log(self, log):
        # Whole each time and after the commit, where Keras's CSVLogger appends as the epoch ends: killed between the row
        # and the checkpoint, that would leave an epoch twice in the log.
        names = list(dict.fromkeys(name for row in log for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)
        with written_whole(self.path / "log.csv") as file:
            file.write(text.getvalue().encode())

    def _prune(self, state):
        named = {state["checkpoint"], state.get("begin"), (state.get("best") or {}).get("checkpoint")}
        for file in self.path.iterdir():
            if not _CHECKPOINT.fullmatch(file.name):
                continue
            superseded = file.name.endswith(("-begin.weights.h5", "-undone.weights.h5")) or "-step-" in file.name
            if file.name not in named and (superseded or not self.keep_all):
                file.unlink()


def _versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def now():
    """The time, UTC, to the second, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")

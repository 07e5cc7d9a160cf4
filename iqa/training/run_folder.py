"""The folder of a training run: what a person reads about it, and what `--resume` needs.

| file | what it holds |
|---|---|
| `log.csv` | a row an epoch |
| `phases.json` | what was done, phase by phase, and the state from which `--resume` goes on: a `RunState` |
| `phase-02-epoch-005-lcc-0.8123.weights.h5` | a checkpoint, weights and optimizer: of the last epoch and of the best |
| `phase-02-begin.weights.h5` | the weights before the last phase, for `undo` |
| `best.weights.h5`, `best.json` | the best epoch's weights alone with their card, ready for the infer scripts |
| `run.json` | every start of this run: command line, versions, seed, time |
| `events/` | the same figures for TensorBoard, if it is installed |
| `session.lock` | the process whose session is open; it may stay when the process is gone |
"""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iqa.cards import card_of, read_card, sha256
from iqa.environment import now, versions
from iqa.errors import CardError, RunError
from iqa.files import read_json, remove_leftovers, temporary_beside, write_json, written_whole
from iqa.training.folder_lock import lock_folder
from iqa.training.run_state import CHECKPOINT, RunState

# These and the checkpoints; all other files in the folder are the user's.
_OWN = ("phases", "run", "best", "log", "events")

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "image-quality-assessment")


class RunFolder:
    """Reads and writes the files of one run; see the table above.

    A checkpoint has its place in the run in its name, and `phases.json` names the checkpoint that belongs to it: an epoch
    becomes part of the run at the moment when `phases.json` is renamed. If the process is killed before that, the epoch
    did not happen; if it is killed after it, the next `commit` or `read` does what is left to do.

    Args:
        path: made if it is not there.
        keep_all: keep the checkpoints of all epochs, not only of the best and the last.
    """

    def __init__(self, path: Path | str, keep_all: bool = False) -> None:
        self.path, self.keep_all = Path(path), keep_all
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def holds_a_run(self) -> bool:
        """Whether an epoch was ever committed here."""
        return (self.path / "phases.json").exists()

    def lock(self) -> None:
        """Keep other processes out; whatever writes here does it first.

        Raises:
            RunError: if another process has a session open on the folder.
        """
        lock_folder(self.path)

    def is_own(self, path: Path) -> bool:
        """Whether weights saved at `path` would be mistaken for the run's own files, or lie over them."""
        name = path.name.removesuffix(".weights.h5")
        return path.parent == self.path and (name in _OWN or bool(CHECKPOINT.fullmatch(path.name)))

    def read(self) -> RunState:
        """The state of the last `commit`; tidies up what a kill left behind.

        Raises:
            RunError: if `phases.json` is not the state of a run, or another process has a session open on the folder.
        """
        self.lock()
        state = read_state(self.path)
        self.keep_all = self.keep_all or state.keep_all
        remove_leftovers(self.path)
        self._write_log(state.log)
        self._prune(state)
        return state

    def note_start(self, seed: int | None) -> None:
        """Add the command line, the versions of what matters and the seed to `run.json`.

        Raises:
            RunError: if there is a `run.json` that holds something else; see `lock` too.
        """
        self.lock()
        remove_leftovers(self.path)
        file = self.path / "run.json"
        starts = read_record(file) if file.exists() else []
        if not isinstance(starts, list):
            raise RunError(f"{file}: not a list of starts; move it away to go on")
        start = {"command": sys.argv, "seed": seed, "utc": now(), "python": sys.version.split()[0]}
        write_json(file, [*starts, start | versions(PACKAGES)], durable=True)

    def write_weights(self, name: str, save: Callable[[Path], Any]) -> str:
        """Write `NAME.weights.h5`, whole or not at all; `save` is given the path to write to. Returns the file's name."""
        self.lock()
        file = self.path / f"{name}.weights.h5"
        with temporary_beside(file, durable=True) as temporary:
            save(temporary)
        return file.name

    def commit(self, state: RunState) -> None:
        """Make `state` the state of the run, and remove the checkpoints that it does not name."""
        self.lock()
        state.keep_all = self.keep_all
        write_json(self.path / "phases.json", state.to_json(), durable=True)
        self._write_log(state.log)
        self._prune(state)

    def holds_best_of(self, epoch: int) -> bool:
        """Whether `best.weights.h5` is whole, and that of this epoch."""
        weights = self.path / "best.weights.h5"
        try:
            card = read_card(card_of(weights))
            return bool(card.training["epoch"] == epoch and card.sha256 == sha256(weights))
        except (CardError, KeyError, OSError):
            return False

    def _write_log(self, log: list[dict[str, Any]]) -> None:
        # Whole each time and after the commit, where Keras's CSVLogger appends as the epoch ends: killed between the row
        # and the checkpoint, that would leave an epoch twice in the log.
        names = list(dict.fromkeys(name for row in log for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)
        with written_whole(self.path / "log.csv") as file:
            file.write(text.getvalue().encode())

    def _prune(self, state: RunState) -> None:
        named = {state.checkpoint, state.begin, (state.best or {}).get("checkpoint")}
        for file in self.path.iterdir():
            if not CHECKPOINT.fullmatch(file.name):
                continue
            superseded = file.name.endswith(("-begin.weights.h5", "-undone.weights.h5")) or "-step-" in file.name
            if file.name not in named and (superseded or not self.keep_all):
                file.unlink()


def read_state(folder: Path | str) -> RunState:
    """The state of the run in a folder, read and nothing more.

    Raises:
        RunError: if its `phases.json` is missing or not the state of a run; the message names the file.
    """
    file = Path(folder) / "phases.json"
    try:
        return RunState.from_json(read_record(file))
    except RunError as error:
        raise RunError(str(error) if str(error).startswith(str(file)) else f"{file}: {error}") from None


def read_record(file: Path) -> Any:
    """What a file of JSON holds.

    Raises:
        RunError: if it is missing or no JSON; the message names the file.
    """
    try:
        return read_json(file)
    except FileNotFoundError:
        raise RunError(f"{file}: there is no such file") from None
    except ValueError as error:
        raise RunError(f"{file}: not JSON that can be read here ({error})") from None

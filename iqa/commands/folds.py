"""Cross-validation: a training for each fold of the images and for each seed, and what they reach, with its spread.

Each training is a run of its own, `RUN/seed-S-fold-F`. The figures are those of its last epoch, on pictures that it did not
learn from. Those of its best epoch would flatter it: they are chosen by the very pictures that test it.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from iqa.commands.run_options import FOLDS_NAME, options_of
from iqa.commands.terminal import quiet_start
from iqa.errors import RunError
from iqa.evaluation.tables import align_columns
from iqa.files import write_json
from iqa.labels.ratings import RatedImage
from iqa.labels.splits import split_into_folds
from iqa.training.run_folder import read_state
from iqa.training.run_state import RunState
from iqa.training.schedule import Phase
from iqa.training.usable import fingerprint

if TYPE_CHECKING:
    from iqa.training.prompt import Prompt

#: The figures of the printed table, those that a training has; `folds.json` has all.
SHOWN = ("mse", "emd", "lcc", "srcc")

Prepare = Callable[[argparse.Namespace, Sequence[Any], Sequence[Any]], "Prompt"]


@dataclass(frozen=True)
class Fold:
    """What one training reached.

    Attributes:
        seed, fold: the seed, and the number of the fold, from 1.
        trained_on, tested_on: numbers of images.
        before, after: {figure: value} on the test images, before the first phase and after the last epoch.
    """

    seed: int
    fold: int
    trained_on: int
    tested_on: int
    before: dict[str, float]
    after: dict[str, float]


def cross_validate(
    arguments: argparse.Namespace, phases: Sequence[Phase], images: Sequence[RatedImage], prepare: Prepare
) -> int:
    """Train on all folds but one, for each fold and seed in turn, and print what that reaches; returns the exit code.

    Args:
        arguments: with `folds` and `seeds`; a run of one fold has its own `run` and `seed`.
        phases: at least one.
        images: usable ones, with paths.
        prepare: function (arguments of one fold, images to train on, images to test on) -> a prompt with a new session.

    Raises:
        LabelError: if the images cannot be split so.
        RunError: if the folder holds a cross-validation or run that is not to be resumed.
        KeyboardInterrupt: after Ctrl-C; the same command with --resume goes on.
    """
    record, seeds = arguments.run / FOLDS_NAME, range(arguments.seed, arguments.seed + (arguments.seeds or 1))
    splits = [
        (seed, number, *pair)
        for seed in seeds
        for number, pair in enumerate(split_into_folds(images, arguments.folds, seed), start=1)
    ]
    if (record.exists() or (arguments.run / "phases.json").exists()) and not arguments.resume:
        raise RunError(f"{arguments.run} holds a run: resume it (--resume) or choose another folder (--run)")
    arguments.run.mkdir(parents=True, exist_ok=True)
    options = options_of(arguments) | {"schedule": ",".join(map(str, phases))}
    done: list[Fold] = []
    write_json(record, {"options": options, "folds": []})
    for seed, number, training, testing in splits:
        place = f"seed {seed}, fold {number} of {arguments.folds}"
        print(f"{place}: {len(training)} images to train on, {len(testing)} to test on", flush=True)
        of_fold = {"run": arguments.run / f"seed-{seed}-fold-{number}", "seed": seed, "folds": None, "seeds": None}
        own = argparse.Namespace(**vars(arguments) | of_fold)
        state = _train_fold(own, phases, training, testing, prepare)
        before, after = state.kept[0].before or {}, state.kept[-1].after or {}
        done.append(Fold(seed, number, len(training), len(testing), before, after))
        write_json(record, {"options": options, "folds": [asdict(fold) for fold in done], **summarise(done)})
    print(f"\n{len(images)} images in {arguments.folds} folds; figures on the test images, before > after the last epoch")
    print(format_folds(done))
    return 0


def _train_fold(
    arguments: argparse.Namespace,
    phases: Sequence[Phase],
    training: Sequence[Any],
    testing: Sequence[Any],
    prepare: Prepare,
) -> RunState:
    """The state of the run of one fold at its end; one that was finished earlier is only read."""
    begun = (arguments.run / "phases.json").exists()
    if begun and arguments.resume and _is_finished(arguments.run, phases, training):
        return read_state(arguments.run)
    session = prepare(arguments, training, testing).session
    session.begin(phases, resume=begun and arguments.resume)
    if len(session.state.kept) < len(phases) or session.state.kept[-1].status != "done":
        raise KeyboardInterrupt  # under python3 -i
    with quiet_start():
        import keras
    keras.backend.clear_session()
    return session.state


def _is_finished(run: Path, phases: Sequence[Phase], training: Sequence[Any]) -> bool:
    state = read_state(run)
    same = state.settings.get("training set") == fingerprint(training) and state.schedule == [str(p) for p in phases]
    return same and len(state.kept) == len(phases) and state.kept[-1].status == "done"


# --- what they reach -------------------------------------------------------------------------------------------------


def summarise(folds: Sequence[Fold]) -> dict[str, dict[str, float | None]]:
    """Means and spreads of the figures of folds: {"before" or "after": {"lcc": value, "lcc over folds": value ...}}.

    "over folds" is the standard deviation between the folds of one seed, "over seeds" that between the means of the seeds;
    None where there is but one.
    """
    return {
        side: {
            label: value
            for name in folds[0].after
            for label, value in _spread([(fold.seed, getattr(fold, side).get(name)) for fold in folds], name).items()
        }
        for side in ("before", "after")
    }


def _spread(values: Sequence[tuple[int, float | None]], name: str) -> dict[str, float | None]:
    by_seed: dict[int, list[float]] = {}
    for seed, value in values:
        if value is not None:
            by_seed.setdefault(seed, []).append(value)
    means = [mean(of) for of in by_seed.values()]
    variances = [stdev(of) ** 2 for of in by_seed.values() if len(of) > 1]
    return {
        name: mean(means) if means else None,
        f"{name} over folds": mean(variances) ** 0.5 if variances else None,
        f"{name} over seeds": stdev(means) if len(means) > 1 else None,
    }


def format_folds(folds: Sequence[Fold]) -> str:
    """The table of `cross_validate`: a row for each fold, then the means and the spreads."""
    names = [name for name in SHOWN if name in folds[0].after]
    rows = [["seed", "fold", "images", *names]]
    for fold in folds:
        cells = [_pair(fold.before.get(name), fold.after.get(name)) for name in names]
        rows.append([str(fold.seed), str(fold.fold), str(fold.tested_on), *cells])
    found = summarise(folds)
    rows.append(["", "", "mean", *(_pair(found["before"][name], found["after"][name]) for name in names)])
    for kind in ("over folds", "over seeds"):
        spreads = [(found["before"][f"{name} {kind}"], found["after"][f"{name} {kind}"]) for name in names]
        if any(after is not None for _, after in spreads):
            rows.append(["", "", f"+- {kind}", *(_pair(*pair) for pair in spreads)])
    return align_columns(rows)


def _pair(before: float | None, after: float | None) -> str:
    return " > ".join("-" if value is None else f"{value:.3f}" for value in (before, after))

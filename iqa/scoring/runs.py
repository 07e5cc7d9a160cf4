"""Scoring a collection, in its order. A run that was killed can be resumed: what is done is noted in a journal.

outcome = score_collection(models, lambda: named_results(["holiday/"]), Path("scores.csv.journal"), write)
"""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from iqa.environment import now, versions
from iqa.files import printable
from iqa.images.finding import LeftOut, named_images
from iqa.images.stored import StoredFile, is_there
from iqa.images.thumbnails import Thumbnails
from iqa.scoring.journal import Journal
from iqa.scoring.many import score_all
from iqa.scoring.results import Result
from iqa.scoring.runtimes import tolerance_of
from iqa.scoring.scorer import Scorer
from iqa.scoring.workers import TIMEOUT


@dataclass(frozen=True)
class RunOptions:
    """How a collection is scored.

    Attributes:
        workers, timeout, batch_size, thumbnails, features: see `iqa.scoring.many.score_all`.
        ray: whether the Ray cluster that this process is connected to scores, instead of this machine's workers.
        keep: keep the journal of a finished run, so that a later one takes over what has not changed.
        again: list the pictures again when all are scored, for those that came or changed meanwhile.
        resumable: whether the journal will be there when the command is repeated.
    """

    workers: int = 0
    timeout: float | None = None
    batch_size: int = 1
    thumbnails: Thumbnails | None = None
    features: str | None = None
    ray: bool = False
    keep: bool = False
    again: bool = True
    resumable: bool = True


@dataclass(frozen=True)
class Outcome:
    """How many pictures of a run were scored and skipped; `written` is False if nothing that was named exists."""

    scored: int
    skipped: int
    written: bool = True


def complain(line: str) -> None:
    """Print a line on stderr, and no more than a line."""
    print(printable(line), file=sys.stderr)


def named_results(
    named: Sequence[str | os.PathLike[str]],
    lists: Sequence[str] = (),
    null: bool = False,
    left_out: LeftOut | None = None,
    stored: bool = False,
) -> Iterator[Result]:
    """What was named, still without scores; see `iqa.images.finding.named_images`. `left_out` is emptied first."""
    left_out = LeftOut() if left_out is None else left_out
    left_out.clear()
    for path, reason in named_images(named, lists, null, left_out, stored):
        yield Result(path, error=reason)


def score_collection(
    models: Mapping[str, Scorer],
    list_pictures: Callable[[], Iterable[Result]],
    place: Path,
    write: Callable[[Journal], None],
    options: RunOptions = RunOptions(),
    tell: Callable[[str], None] = complain,
) -> Outcome:
    """Score pictures, noting each in a journal, and write what came out. To resume a run that was killed, call this again.

    Args:
        models: {name: model}.
        list_pictures: function that lists what is to be scored; see `named_results`.
        place: of the journal, which is removed when all is written, unless it is to be kept.
        write: function that writes what the journal holds; it is not called if nothing that was named exists.
        tell: function that gets a line for whatever is unusual and for each skipped picture.

    Raises:
        JournalError: if the journal cannot be written.
        WorkerError: if the workers cannot be started.
    """
    head: dict[str, Any] = {name: identify(model) for name, model in models.items()} | {"features": options.features}
    with Journal(place, head, provenance(models)["runtime"]) as journal:
        for note in journal.notes:
            tell(note)
        for look in range(2 if options.again else 1):
            # What was scored a moment ago is not forgotten, whatever the second listing finds: a list may be a pipe.
            for path, what in journal.enter(list_pictures(), forget=look == 0):
                tell(f"{printable(path)}: {what}")
            try:
                _score_waiting(models, journal, options)
            except KeyboardInterrupt:
                total, done = journal.count()
                how = ": the same command resumes the run" if options.resumable else ""
                tell(f"stopped after {done} of {total} images{how}")
                raise
        total, skipped, exists = journal.count()[0], 0, False
        for result in journal.results():
            if not result.scores:
                skipped += 1
                exists = exists or is_there(result.path)
                tell(f"{printable(result.path)}: {result.error}")
        outcome = Outcome(total - skipped, skipped, written=exists or total > skipped)
        if outcome.written:
            write(journal)
        journal.finish(options.keep and outcome.written)
    return outcome


def _score_waiting(models: Mapping[str, Scorer], journal: Journal, options: RunOptions) -> None:
    """Score what waits in the journal, with a progress bar on stderr."""
    total, done = journal.count()
    if total == done:
        return
    with (
        tqdm(total=total, initial=done, unit="image", file=sys.stderr, smoothing=0.05) as bar,
        closing(_score(models, journal, options)) as results,
    ):
        for position, result in results:
            journal.record(position, result)
            bar.update()


def _score(
    models: Mapping[str, Scorer], journal: Journal, options: RunOptions
) -> Generator[tuple[int, Result], None, None]:
    """(position, result) of all that waits, on this machine in order, or on a Ray cluster in any."""
    # A single picture that is left over from a killed run is decoded by a worker too: it may be what killed it.
    timeout = options.timeout or TIMEOUT
    if options.ray:
        from iqa.scoring.ray_engine import score_on_ray

        recipes = {name: model.recipe for name, model in models.items()}
        yield from score_on_ray(recipes, journal.waiting(), timeout, options.features)
        return
    positions: dict[Path | StoredFile, int] = {}

    def paths() -> Iterator[Path | StoredFile]:
        for position, path in journal.waiting():
            positions[path] = position
            yield path

    results = score_all(models, paths(), options.workers, timeout, options.batch_size, options.thumbnails, options.features)
    with closing(results):
        for result in results:
            yield positions.pop(result.path), result


def identify(model: Scorer) -> dict[str, Any]:
    """What its scores depend on, by which a journal of the same is resumed.

    That is the weights, what the card says of the network, the geometry, this project's version, which may read pictures in
    another way, and how exactly the runtime computes. Which of the exact ones it is does not matter, nor does its version:
    their scores differ by some 0.000001.
    """
    facts = model.card.to_json()
    return {
        "weights": model.sha256,
        "backbone": facts["backbone"],
        "head": facts["head"],
        "faults": model.card.faults,
        "geometry": str(model.geometry),
        "tolerance": tolerance_of(model.network.name),
        "reader": versions(["image-quality-assessment"]),
    }


def provenance(models: Mapping[str, Scorer]) -> dict[str, str]:
    """Where predictions come from, as text: model, weights, geometry, scale, runtime, versions, time.

    What differs between several models is joined by "; ".
    """
    found: list[dict[str, str]] = []
    for model in models.values():
        packages = (*model.network.packages, "numpy", "pillow")
        # A package may be installed under another name, such as tensorflow-cpu.
        installed = dict.fromkeys(packages, "of unknown version") | versions(packages)
        facts = {
            "model": model.name,
            "weights_sha256": model.sha256,
            "geometry": str(model.geometry),
            "scale": model.card.scale.name,
            "runtime": model.network.description,
            "versions": ", ".join(f"{name} {number}" for name, number in installed.items()),
            "utc": now(),
        }
        found.append(facts)
    return {name: "; ".join(dict.fromkeys(facts[name] for facts in found)) for name in found[0]}

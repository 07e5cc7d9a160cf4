"""Scoring a collection, in its order. A run that was killed can be resumed: what is done is noted in a journal."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from iqa.environment import now, versions
from iqa.files import printable
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
    """Print a line on stderr."""
    print(printable(line), file=sys.stderr)


@contextmanager
def progress(total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show how many images are done: a bar on a terminal, and a line every 10 % in a log. Call what it gives for each."""
    if sys.stderr.isatty():
        with tqdm(total=total, initial=done, unit="image", file=sys.stderr, smoothing=0.05) as bar:
            yield lambda: bar.update() and None
        return

    def step() -> None:
        nonlocal done
        done += 1
        if 10 * done // total > 10 * (done - 1) // total:
            complain(f"{done} of {total} images ({100 * done // total} %)")

    yield step


def score_collection(
    models: Mapping[str, Scorer],
    list_pictures: Callable[[], Iterable[Result]],
    place: Path,
    write: Callable[[Journal], None],
    options: RunOptions = RunOptions(),
) -> Outcome:
    """Score pictures, noting each in a journal, and write what came out. To resume a run that was killed, call this again.

    Args:
        list_pictures: function that lists what is to be scored.
        place: of the journal, which is removed when all is written, unless it is to be kept.
        write: function that writes what the journal holds; it is not called if nothing that was named exists.

    Raises:
        JournalError, WorkerError: if the journal cannot be written, or the workers cannot be started.
    """
    head: dict[str, Any] = {name: identify(model) for name, model in models.items()} | {"features": options.features}
    with Journal(place, head, provenance(models)["runtime"]) as journal:
        for note in journal.notes:
            complain(note)
        for look in range(2):
            away = (
                of for of in journal.results() if of.error and isinstance(of.path, Path) and not of.path.parent.is_dir()
            )
            if look and any(away):
                time.sleep(3)  # a share or a disk may be away for a moment
            # What was scored a moment ago is not forgotten, whatever the second listing finds: a list may be a pipe.
            for path, what in journal.enter(list_pictures() if options.again or not look else (), forget=not look):
                complain(f"{printable(path)}: {what}")
            total, done = journal.count()
            if total == done:
                continue
            try:
                with progress(total, done) as step, closing(_score(models, journal, options)) as results:
                    for position, result in results:
                        journal.record(position, result)
                        step()
            except KeyboardInterrupt:
                total, done = journal.count()
                how = ": the same command resumes the run" if options.resumable else ""
                complain(f"stopped after {done} of {total} images{how}")
                raise
        total, skipped, exists = journal.count()[0], 0, False
        for result in journal.results():
            if result.error:  # of one model or of all
                complain(f"{printable(result.path)}: {result.error}")
            if not result.scores:
                skipped += 1
                exists = exists or is_there(result.path)
        outcome = Outcome(total - skipped, skipped, written=exists or total > skipped)
        if outcome.written:
            write(journal)
        journal.finish(options.keep and outcome.written)
    return outcome


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

    Which of the exact runtimes computes does not matter, nor does its version: their scores differ by some 0.000001.
    """
    facts = model.card.to_json()
    return {
        "weights": model.sha256,
        "network": [facts.get(part) for part in ("backbone", "head", "stands_on")],
        "faults": model.card.faults,
        "geometry": model.sees,
        "tolerance": tolerance_of(model.network.name),
        "reader": versions(["image-quality-assessment"]),
    }


def provenance(models: Mapping[str, Scorer]) -> dict[str, str]:
    """Where predictions come from, as text: of several models what differs is joined by "; "."""
    found: list[dict[str, str]] = []
    for model in models.values():
        packages = (*model.network.packages, "numpy", "pillow")
        # A package may be installed under another name, such as tensorflow-cpu.
        installed = dict.fromkeys(packages, "of unknown version") | versions(packages)
        found.append(
            {
                "model": model.name,
                "weights_sha256": model.sha256,
                "geometry": model.sees,
                "scale": model.card.scale.name,
                "runtime": model.network.description,
                "versions": ", ".join(f"{name} {number}" for name, number in installed.items()),
                "utc": now(),
            }
        )
    return {name: "; ".join(dict.fromkeys(facts[name] for facts in found)) for name in found[0]}

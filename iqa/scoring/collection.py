"""Scoring a collection to a file, in its order. A run that was killed can be resumed.

    outcome = score_to_file(scorer, lambda: named_entries(["holiday/"]), Path("scores.csv"))

What is done is noted in a journal beside the file, which becomes the file when all of it is done.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.environment import now, versions
from iqa.errors import ImageError
from iqa.files import name_to_text, printable, remove_leftovers, written_whole
from iqa.images.finding import LeftOut, images_below, in_words, named_images
from iqa.images.stored import StoredFile, is_there
from iqa.labels.opinions import Prediction
from iqa.scoring.journal import Entry, Journal
from iqa.scoring.pool import TIMEOUT, Workers
from iqa.scoring.report import write_report
from iqa.scoring.runtimes import tolerance_of
from iqa.scoring.scorer import Scorer
from iqa.scoring.writers import name_model, write_scores

#: (position, path) of what waits in a journal -> (position, `Prediction`) for each, in any order.
Engine = Callable[[Iterator[tuple[int, Path | StoredFile]]], Iterator[tuple[int, Prediction]]]


@dataclass(frozen=True)
class RunOptions:
    """How a collection is scored.

    Attributes:
        batch_size, workers: see `Scorer.score_all`.
        timeout: seconds that a picture may take in a worker, `iqa.scoring.pool.TIMEOUT` for None.
        report: a page to write as well, or None; see `iqa.scoring.report`.
        keep: keep the journal of a finished run, so that a later one takes over what has not changed.
        engine: what scores instead of this machine's workers, such as `iqa.scoring.distributed.score_on_ray`.
    """

    batch_size: int = 1
    workers: int | Workers = 0
    timeout: float | None = None
    report: Path | None = None
    keep: bool = False
    engine: Engine | None = None

    @property
    def worker_count(self) -> int:
        """How many processes may make thumbnails."""
        return self.workers if isinstance(self.workers, int) else 0


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        scored, skipped: numbers of pictures.
        written: whether there is a file: not if nothing that was named exists.
    """

    scored: int
    skipped: int
    written: bool = True


#: `Scorer.score_all` and its like: (paths, batch size, workers) -> (path, `Prediction`) for each.
ScoreAll = Callable[..., Iterator[tuple[Any, Prediction]]]


class Labelled(Protocol):
    """A picture of a labelled set, such as `iqa.labels.tid2013.LabelledImage`."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> Any: ...

    @property
    def path(self) -> Path | None: ...


def complain(line: str) -> None:
    """Print a line on stderr, and no more than a line: what the functions of this module do by default."""
    print(printable(line), file=sys.stderr)


def named_entries(
    named: Sequence[str | os.PathLike[str]],
    lists: Sequence[str] = (),
    null: bool = False,
    left_out: LeftOut | None = None,
    stored: bool = False,
) -> Iterator[Entry]:
    """The entries of what was named; see `iqa.images.finding.named_images`. `left_out` is emptied first."""
    left_out = LeftOut() if left_out is None else left_out
    left_out.clear()
    for path, reason in named_images(named, lists, null, left_out, stored):
        yield Entry(str(path), path, prediction=Prediction(reason=reason) if reason else None)


def score_to_file(
    scorer: Scorer,
    list_entries: Callable[[], Iterable[Entry]],
    out: Path,
    options: RunOptions = RunOptions(),
    again: bool = True,
    tell: Callable[[str], None] = complain,
) -> Outcome:
    """Score pictures and write them to a file in their order. To resume a run that was killed, call this again.

    Args:
        scorer: the model.
        list_entries, options, again, tell: see `score_with_journal`.
        out: file to write, of a suffix in `iqa.scoring.writers.SUFFIXES`.

    Raises:
        JournalError: if the journal beside the file cannot be written.
    """

    def write(journal: Journal) -> None:
        origin = provenance(scorer) | {"runtime": ", then ".join(journal.runtimes)}
        remove_leftovers(out.parent, out.name)
        write_scores(out, journal, scorer.card, origin)
        if options.report:
            remove_leftovers(options.report.parent, options.report.name)
            write_report(options.report, journal.entries, origin, scorer.card.scale, options.worker_count)

    place = out.with_name(f"{out.name}.journal")
    head, runtime = identify(scorer), scorer.network.description
    return score_with_journal(scorer.score_all, list_entries, head, place, write, options, again, tell, runtime=runtime)


def score_with_journal(
    score_all: ScoreAll,
    list_entries: Callable[[], Iterable[Entry]],
    head: dict[str, Any],
    place: Path,
    write: Callable[[Journal], None],
    options: RunOptions = RunOptions(),
    again: bool = True,
    tell: Callable[[str], None] = complain,
    resumable: bool = True,
    runtime: str = "",
) -> Outcome:
    """Score pictures, noting each in a journal, and write what came out. To resume a run that was killed, call this again.

    Args:
        score_all: such as `Scorer.score_all`.
        list_entries: function that lists what is to be scored.
        head: what the scores depend on apart from the pictures; see `identify`.
        place: of the journal, which is removed when all is written, unless it is to be kept.
        write: function that writes what the journal holds; it is not called if nothing that was named exists.
        options: see `RunOptions`.
        again: call `list_entries` again when all are scored, for those that came or changed meanwhile.
        tell: function that gets a line for whatever is unusual and for each skipped picture.
        resumable: whether the journal will be there when this is called again.
        runtime: what computes, with its version.

    Raises:
        JournalError: if the journal cannot be written.
    """
    with Journal(place, head, runtime) as journal:
        for note in journal.notes:
            tell(note)
        for look in range(2 if again else 1):
            # What was scored a moment ago is not forgotten, whatever the second look finds: a list may be a pipe.
            for key, what in journal.enter(list_entries(), forget=look == 0):
                tell(f"{printable(key)}: {what}")
            try:
                _score_waiting(score_all, journal, options)
            except KeyboardInterrupt:
                total, done = journal.count()
                tell(f"stopped after {done} of {total} images" + resumable * ": the same command goes on from there")
                raise
        total, skipped, exists = journal.count()[0], 0, False
        for entry in journal.entries(scored=False):
            skipped += 1
            exists = exists or bool(entry.path and is_there(entry.path))
            tell(f"{printable(entry.path or entry.key)}: {entry.reason}")
        outcome = Outcome(total - skipped, skipped, written=exists or total > skipped)
        if outcome.written:
            write(journal)
        journal.finish(options.keep and outcome.written)
    return outcome


def identify(scorer: Scorer) -> dict[str, Any]:
    """What its scores depend on: a journal of the same is gone on with.

    That is the weights, what the card says of the network, the geometry, this project's version, which may read pictures in
    another way, and how exactly the runtime computes. Which of the exact ones it is does not matter, nor does its version:
    their scores differ by some 0.000001.
    """
    facts = scorer.card.to_json()
    return {
        "weights": scorer.sha256,
        "backbone": facts["backbone"],
        "head": facts["head"],
        "geometry": str(scorer.geometry),
        "tolerance": tolerance_of(scorer.network.name),
        "reader": versions(["image-quality-assessment"]),
    }


def _score_waiting(score_all: ScoreAll, journal: Journal, options: RunOptions) -> None:
    """Score what waits in the journal, with a progress bar on stderr."""
    total, done = journal.count()
    if total == done:
        return
    engine = options.engine or partial(_score_here, score_all, options)
    with (
        tqdm(total=total, initial=done, unit="image", file=sys.stderr, smoothing=0.05) as bar,
        closing(engine(journal.waiting())) as results,  # type: ignore[type-var]
    ):
        for position, prediction in results:
            journal.record(position, prediction)
            bar.update()


def _score_here(
    score_all: ScoreAll, options: RunOptions, waiting: Iterator[tuple[int, Path | StoredFile]]
) -> Iterator[tuple[int, Prediction]]:
    """The `Engine` that is this machine."""
    positions: deque[int] = deque()

    def paths() -> Iterator[Path | StoredFile]:
        for position, path in waiting:
            positions.append(position)
            yield path

    # With a timeout workers decode the picture that is left over from a killed run as well: it may be what killed it.
    timeout = options.timeout or TIMEOUT
    with closing(score_all(paths(), options.batch_size, options.workers, timeout)) as results:  # type: ignore[type-var]
        for _, prediction in results:
            yield positions.popleft(), prediction


def score_labelled(
    scorer: Scorer,
    images: Sequence[Labelled],
    missing: str,
    out: Path,
    options: RunOptions = RunOptions(),
    tell: Callable[[str], None] = complain,
) -> Outcome:
    """Score a labelled set in the order of its labels; see `score_to_file`.

    Args:
        images: in the order of the label file; those without a path are skipped.
        missing: the reason to give for them.
    """

    def list_entries() -> Iterator[Entry]:
        for image in images:
            reason = None if image.path else Prediction(reason=missing)
            yield Entry(image.name, image.path, np.atleast_1d(np.asarray(image.label, np.float64)), reason)

    return score_to_file(scorer, list_entries, out, options, tell=tell)


def write_labels(
    scorer: Scorer,
    folder: Path,
    out: Path,
    options: RunOptions = RunOptions(),
    tell: Callable[[str], None] = complain,
    features: Path | None = None,
) -> Outcome:
    """Write a model's histograms of the pictures below a folder as labels in AVA's form.

    The `image_id` is the path below the folder, so that `read_ratings` and `locate_ratings` find the files again. Each
    entry names the model, which sets the file apart from what people said.

    Args:
        features: `.npy` to write as well: the features behind the histograms, float16 (N, n) in their order. Workers do
            not send features, so all of it is done in this process.

    Raises:
        ImageError: if the folder holds no picture.
    """
    paths, rows, skipped, model = [], [], 0, name_model(provenance(scorer))
    seen: list[NDArray[np.float16]] = []
    left_out = LeftOut()
    for path, reason in images_below(folder, left_out):
        if reason is None:
            paths.append(path)
        else:
            skipped += 1
            tell(f"{printable(path)}: {reason}")
    if left_out:
        tell(in_words(left_out))
    if not paths:
        raise ImageError(f"{folder}: a folder without images")
    predictions = scorer.score_all(paths, options.batch_size, 0 if features else options.workers, options.timeout)
    for path, prediction in tqdm(predictions, total=len(paths), unit="image", file=sys.stderr):
        if prediction.output is None:
            skipped += 1
            tell(f"{printable(path)}: {prediction.reason}")
        else:
            name = name_to_text(path.relative_to(folder).as_posix())
            rows.append({"image_id": name, "label": prediction.output.tolist(), "model": model})
            if features and prediction.features is not None:
                seen.append(prediction.features.astype(np.float16))
    if features:
        with written_whole(features) as file:
            np.save(file, np.stack(seen) if seen else np.empty((0, 0), np.float16))
    with written_whole(out) as file:
        file.write(json.dumps(rows, allow_nan=False).encode())
    return Outcome(len(rows), skipped)


def is_labels_of(path: Path, scorer: Scorer) -> bool:
    """Whether `write_labels` wrote a file with the same model; may raise anything over any other file."""
    with open(path, encoding="utf-8") as text:
        beginning = text.read(_FIRST_ENTRY)
    if beginning == "[]":
        return True
    entry, _ = json.JSONDecoder().raw_decode(beginning.removeprefix("["))
    return bool(entry["model"] == name_model(provenance(scorer)))


def is_features(path: Path) -> bool:
    """Whether `write_labels` may have written a file of features; may raise anything over any other file."""
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    return found.dtype == np.float16 and found.ndim == 2


#: More characters than an entry of labels has.
_FIRST_ENTRY = 1 << 16


def provenance(scorer: Scorer) -> dict[str, str]:
    """Where predictions come from, as text: model, weights, geometry, scale, runtime, versions, time."""
    packages = (*scorer.network.packages, "numpy", "pillow")
    # A package may be installed under another name, such as onnxruntime-gpu.
    installed = dict.fromkeys(packages, "of unknown version") | versions(packages)
    return {
        "model": scorer.weights.name.removesuffix(".h5").removesuffix(".weights"),
        "weights_sha256": scorer.sha256,
        "geometry": str(scorer.geometry),
        "scale": scorer.card.scale.name,
        "runtime": scorer.network.description,
        "versions": ", ".join(f"{name} {number}" for name, number in installed.items()),
        "utc": now(),
    }

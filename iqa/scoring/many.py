"""Many pictures, scored with some models, each decoded once -> `Result`s."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.images.reading import Picture, as_image, read_time
from iqa.images.stored import StoredFile
from iqa.images.thumbnails import Thumbnails
from iqa.labels.faults import main_fault
from iqa.scoring.layer import load_layer, scorers_of
from iqa.scoring.ranking import STRUCTURE, structure_of
from iqa.scoring.results import Result
from iqa.scoring.scorer import Judgement, Scorer, check_seconds, load_scorer
from iqa.scoring.workers import TIMEOUT, Workers

#: For `features`: what a `Layer` sees of the networks of all models.
SEEN = "seen"

#: Pictures handed at once to a worker, since waking it costs as much as a tenth of a picture; one at a time where they may
#: take so few seconds that four could be too slow together.
CHUNK, HURRY = 4, 20.0


def score_all(
    models: Mapping[str, Scorer],
    paths: Iterable[Path | StoredFile],
    workers: int = 0,
    timeout: float | None = None,
    batch_size: int = 1,
    thumbnails: Thumbnails | None = None,
    features: str | None = None,
) -> Generator[Result, None, None]:
    """Score any number of pictures with some models, each decoded once; one that fails does not stop the others.

    Args:
        paths: taken as they are needed, a little ahead.
        workers: how many processes decode and score, so that a picture that crashes its decoder is an error like others; 0
            does everything in this process. Keras takes one process, since it uses all processors.
        timeout: seconds that a picture may take in a worker, `TIMEOUT` for None; without it a single one needs no worker.
        batch_size: pictures that go through Keras at once.
        thumbnails: where to keep one of each picture.
        features: what `Result.features` holds: those of the model of this name, or `STRUCTURE`, or `SEEN`; None for none.

    Yields:
        The `Result`s in the order of the paths.
    """
    paths = iter(paths)
    first = list(islice(paths, 2 if workers else 0))
    every = chain(first, paths)
    on_keras = any(model.network.name == "keras" for model in models.values())
    if len(first) < 2 and (timeout is None or not first):
        while batch := list(islice(every, batch_size if on_keras else 1)):
            yield from score_pictures(batch, models, thumbnails, features)
        return
    seconds = timeout or TIMEOUT
    chunk = batch_size if on_keras else CHUNK if seconds >= HURRY else 1
    recipes = {name: model.recipe for name, model in models.items()}
    prepare = partial(open_models, recipes, thumbnails.recipe if thumbnails else None, features)
    with Workers(
        prepare, lambda path, reason: Result(path, error=reason), 1 if on_keras else workers, seconds, chunk
    ) as pool:
        yield from pool.map(every)


def open_models(
    recipes: Mapping[str, Mapping[str, Any]], thumbnails: Mapping[str, Any] | None = None, features: str | None = None
) -> Callable[[list[Any]], list[Result]]:
    """What a worker does: open the models of {name: `Scorer.recipe`}; returns the function that scores paths.

    `thumbnails` is a `Thumbnails.recipe`; for `features` see `score_all`.
    """
    keras = any(recipe["runtime"] == "keras" for recipe in recipes.values())
    models = scorers_of(recipes, None if keras else 1)
    kept = Thumbnails(**thumbnails) if thumbnails else None
    return lambda paths: score_pictures(paths, models, kept, features)


def score_pictures(
    paths: Sequence[Path | StoredFile],
    models: Mapping[str, Scorer],
    thumbnails: Thumbnails | None = None,
    features: str | None = None,
) -> list[Result]:
    """Score some pictures here and now; see `score_all`.

    On Keras they go through together. With one model of whole pictures all are decoded, then all are scored: switching
    between the two empties the processor's caches. Otherwise it is one after the other, as each is held in memory whole.
    """
    light = len(models) == 1 and not thumbnails and not any(model.needs_whole for model in models.values())
    if len(paths) > 1 and not light and all(model.network.name != "keras" for model in models.values()):
        return [result for path in paths for result in score_pictures([path], models, thumbnails, features)]
    pictures = [Picture(path, once=len(models) > 1) for path in paths]
    # Models of patches first: they need whole pictures, which the others may then use.
    order = sorted(models, key=lambda name: not models[name].needs_whole)
    judged = {name: models[name].judge(pictures) for name in order}
    return [
        _combine(path, picture, models, {name: judged[name][number] for name in models}, thumbnails, features)
        for number, (path, picture) in enumerate(zip(paths, pictures, strict=True))
    ]


def _combine(
    path: Path | StoredFile,
    picture: Picture,
    models: Mapping[str, Scorer],
    judged: Mapping[str, Judgement | ImageError],
    thumbnails: Thumbnails | None,
    features: str | None,
) -> Result:
    """One `Result` of the answers of all models."""
    good = {name: answer for name, answer in judged.items() if isinstance(answer, Judgement)}
    errors = [line for answer in judged.values() if isinstance(answer, ImageError) for line in str(answer).split("; ")]
    notes = list(dict.fromkeys(note for answer in good.values() for note in answer.notes))  # several may say the same
    if not good:
        return Result(path, error="; ".join(dict.fromkeys(errors)))
    whole, all_of_it = None, len(models) > 1 or bool(thumbnails) or features == STRUCTURE  # one model may need less
    with suppress(ImageError, MemoryError):  # it was read in a smaller size, and cannot be read whole
        whole = picture.whole([]) if all_of_it else None
    if thumbnails and whole is not None:
        thumbnails.keep(path, whole)
    kept = {features: good[features].features} if features in good else {}
    if features == SEEN:
        kept = {name: answer.seen for name, answer in good.items()}
    if features == STRUCTURE and whole is not None:
        kept = {STRUCTURE: structure_of(whole)}
    faults = next((answer.faults for answer in good.values() if answer.faults is not None), None)
    return Result(
        path,
        {name: models[name].score_of(answer.output) for name, answer in good.items()},
        *((0, 0) if whole is None else as_image(whole).size),
        read_time(path) if all_of_it else None,
        None if faults is None else main_fault(faults),
        None if errors else "; ".join(notes) or None,
        "; ".join(dict.fromkeys(errors + notes)) if errors else None,
        kept,
    )


#: {name of its score: weights}, as `iqa` and `score_many` use them; `quality` is a layer on the other two.
SHIPPED = {"quality": "biq2021_quality", "beauty": "ava_vanilla", "technical": "tid2013_regression"}


def load_shipped(runtime: str = "auto") -> dict[str, Scorer]:
    """The models of `SHIPPED`."""
    return {name: (load_layer if name == "quality" else load_scorer)(of, runtime=runtime) for name, of in SHIPPED.items()}


def score_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    workers: int | None = None,
    runtime: str = "auto",
    timeout: float | None = None,
) -> Iterator[Result]:
    """Score any number of pictures with the models that ship, each decoded once.

        for result in score_many(paths):
            print(result.path, result.error or (result.quality.mean, result.beauty.mean, result.technical))

    The models are loaded when the function is called. A picture that cannot be scored is a result with an `error`.

    Args:
        workers: how many processes decode and score; None for one per processor, 0 to do it in this process. They start
            with the second picture, and end with the iterator.
        runtime: inference backend, one of `iqa.scoring.runtimes.RUNTIMES`.
        timeout: seconds that a picture may take in a worker, 60 for None.

    Returns:
        An iterator of the `Result` of each picture, in their order.

    Raises:
        TypeError, UsageError: if `paths` is a single path, or an argument has a value that it cannot have.
        RuntimeUnavailable: if the runtime is not installed or disagrees with Keras.
        WorkerError: while results are taken, if worker processes cannot be started.
    """
    if isinstance(paths, str | bytes | os.PathLike):
        raise TypeError(f"paths must be an iterable of paths, such as [path], not a {type(paths).__name__}")
    count = processors() if workers is None else workers
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(f"workers must be a number of processes, 0 or more, got {workers!r}")
    check_seconds(timeout)
    if timeout is not None and not count:
        raise UsageError("a timeout is for workers, and workers is 0")
    return score_all(load_shipped(runtime), map(Path, paths), count, timeout)

"""Many pictures, scored with some models, each decoded once -> `Result`s.

models = {"beauty": load_scorer("ava_vanilla"), "technical": load_scorer("tid2013_regression")}
for result in score_all(models, paths, workers=2): ...
"""

import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image

from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.images.capture import read_time
from iqa.images.picture import Picture
from iqa.images.reading import ImageLike, in_memory
from iqa.images.stored import StoredFile
from iqa.images.thumbnails import Thumbnails
from iqa.labels.faults import main_fault
from iqa.labels.histograms import Score
from iqa.scoring.ranking import STRUCTURE, structure_of
from iqa.scoring.results import Result
from iqa.scoring.scorer import Judgement, Scorer, check_seconds, load_scorer
from iqa.scoring.workers import TIMEOUT, Workers

#: Pictures handed at once to a worker that scores them with one model of whole pictures: waking it costs as much as a
#: tenth of a picture. Where pictures are held whole in memory, it is one at a time.
CHUNK = 4


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
        models: {name: model}.
        paths: taken as they are needed, a little ahead.
        workers: how many processes decode and score, so that a picture that crashes its decoder is an error like others; 0
            does everything in this process. Keras takes one process, since it uses all processors.
        timeout: seconds that a picture may take in a worker, `TIMEOUT` for None. Without it a single picture is scored in
            this process: it is not worth a worker.
        batch_size: pictures that go through Keras at once.
        thumbnails: where to keep one of each picture.
        features: what `Result.features` holds: those of the model of this name, or `STRUCTURE`; None for none.

    Yields:
        The `Result`s in the order of the paths.
    """
    paths = iter(paths)
    first = list(islice(paths, 2 if workers else 0))
    every = chain(first, paths)
    on_keras = any(model.network.name == "keras" for model in models.values())
    size = batch_size if on_keras else CHUNK if _is_light(models) else 1
    if not first or (len(first) < 2 and timeout is None):
        while batch := list(islice(every, size if on_keras else 1)):
            yield from score_pictures(batch, models, thumbnails, features)
        return
    recipes = {name: model.recipe for name, model in models.items()}
    prepare = partial(open_models, recipes, thumbnails.recipe if thumbnails else None, features)
    with Workers(prepare, _lost, 1 if on_keras else workers, timeout or TIMEOUT, size) as pool:
        yield from pool.map(every)


def _is_light(models: Mapping[str, Scorer]) -> bool:
    """Whether pictures are decoded in a reduced size, and no patches are cut from all of their pixels."""
    return len(models) == 1 and all(model.geometry.crop is None for model in models.values())


def _lost(path: Path | StoredFile, reason: str) -> Result:
    return Result(path, error=reason)


def open_models(
    recipes: Mapping[str, Mapping[str, Any]], thumbnails: Mapping[str, Any] | None = None, features: str | None = None
) -> Callable[[list[Any]], list[Result]]:
    """What a worker process does: open the models of {name: `Scorer.recipe`}; returns the function that scores paths.

    Args:
        thumbnails: `Thumbnails.recipe`, or None.
        features: see `score_all`.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # LibRaw's threads would find no free processor
    keras = any(recipe["runtime"] == "keras" for recipe in recipes.values())
    models = {name: Scorer.of(recipe, None if keras else 1) for name, recipe in recipes.items()}
    kept = Thumbnails(**thumbnails) if thumbnails else None
    return lambda paths: score_pictures(paths, models, kept, features)


def score_pictures(
    paths: Sequence[Path | StoredFile],
    models: Mapping[str, Scorer],
    thumbnails: Thumbnails | None = None,
    features: str | None = None,
) -> list[Result]:
    """Score some pictures here and now; see `score_all`."""
    pictures = [Picture(path, once=len(models) > 1) for path in paths]
    # Models of patches first: they need whole pictures, which the others may then use.
    order = sorted(models, key=lambda name: models[name].geometry.crop is None)
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
    try:
        whole = picture.whole([])
    except (ImageError, MemoryError):  # it was read in a smaller size, and cannot be read whole
        whole = None
    if thumbnails and whole is not None:
        thumbnails.keep(path, whole)
    kept = {features: good[features].features} if features in good else {}
    if features == STRUCTURE and whole is not None:
        kept = {STRUCTURE: structure_of(whole)}
    faults = next((answer.faults for answer in good.values() if answer.faults is not None), None)
    return Result(
        path,
        {name: models[name].score_of(answer.output) for name, answer in good.items()},
        *_size_of(whole),
        read_time(path),
        None if faults is None else main_fault(faults),
        None if errors else "; ".join(notes) or None,
        "; ".join(dict.fromkeys(errors + notes)) if errors else None,
        kept,
    )


def _size_of(whole: Any) -> tuple[int, int]:
    """(width, height) of an image or its pixels; (0, 0) if there are none."""
    return (0, 0) if whole is None else whole.size if isinstance(whole, Image.Image) else whole.shape[1::-1]


# --- a single picture that may take so long ----------------------------------------------------------------------------

_pools: "weakref.WeakKeyDictionary[Scorer, dict[int, Workers[Any, Result]]]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def score_in_worker(scorer: Scorer, image: ImageLike | Picture, timeout: float) -> Score | float:
    """`Scorer.score` by a worker process, which stays for the next picture."""
    with _lock:
        pools = _pools.setdefault(scorer, {})
        if os.getpid() not in pools:
            pool = Workers(partial(open_models, {"score": scorer.recipe}), _lost, processors())
            weakref.finalize(scorer, pool.close)
            pools[os.getpid()] = pool
        pool = pools[os.getpid()]
    with _as_file(image) as path:
        result = pool.ask(path, timeout)
    if result.error:
        raise ImageError(result.error)
    return result.scores["score"]


@contextmanager
def _as_file(image: ImageLike | Picture) -> Iterator[Path]:
    """The path of an image, for a worker; the bytes of a file are written to a temporary one."""
    content = image if isinstance(image, Picture) else in_memory(image)
    if isinstance(content, str | os.PathLike):
        yield Path(content)
        return
    if not isinstance(content, bytes):
        raise UsageError("a timeout is for a path, the bytes of a file or a binary file, which a worker can decode")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        path.write_bytes(content)
        yield path


# --- the models that ship ----------------------------------------------------------------------------------------------

#: {name of its score: weights}, as `iqa` and `score_many` use them.
SHIPPED = {"beauty": "ava_vanilla", "technical": "tid2013_regression"}


def load_shipped(runtime: str = "auto") -> dict[str, Scorer]:
    """The models of `SHIPPED`; see `load_scorer`."""
    return {name: load_scorer(weights, runtime=runtime) for name, weights in SHIPPED.items()}


def score_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    workers: int | None = None,
    runtime: str = "auto",
    timeout: float | None = None,
) -> Iterator[Result]:
    """Score any number of pictures with the models that ship, each decoded once.

        for result in score_many(paths):
            print(result.path, result.error or (result.beauty.mean, result.technical))

    The models are loaded when the function is called. A picture that cannot be scored is a result with an `error`.

    Args:
        paths: of pictures, an iterable of any length.
        workers: how many processes decode and score; None for one per processor, 0 to do it in this process. They start
            with the second picture, and end with the iterator.
        runtime: inference backend, one of `iqa.scoring.runtimes.RUNTIMES`.
        timeout: seconds that a picture may take in a worker, 60 for None.

    Returns:
        An iterator of the `Result` of each picture, in their order.

    Raises:
        TypeError: if `paths` is a single path.
        UsageError: if an argument has a value that it cannot have.
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

"""Both answers for many pictures, from one reading of each: `score_many`, for other programs.

    for result in score_many(paths):
        print(result.path, result.error or result.technical)

The command `iqa` writes tables and pages of the same.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.labels.faults import Fault
from iqa.labels.histograms import Score
from iqa.scoring.pair import Opinion, Pair
from iqa.scoring.scorer import check_timeout, load_scorer

#: The weights that ship, for each of the two questions.
BEAUTY, TECHNICAL = "ava_vanilla", "tid2013_regression"


@dataclass(frozen=True)
class PictureScores:
    """What both models say of a picture.

    Attributes:
        path: of the picture, as it was given.
        beauty: the distribution of the votes 1-10, a `Score`; None if the model cannot judge the picture.
        technical: the technical quality, 0-9; None if the model cannot judge the picture.
        fault: what is wrong with it most of all, a `Fault(kind, share)`; None if nothing is, as far as the model can tell.
        width, height: pixels of the picture when it stands upright; 0 if they are not known.
        error: why one of them or both cannot judge it; None if both can. It is there to be looked at or raised.
        warning: one line, why the scores say little; None if nothing is amiss.
    """

    path: Path
    beauty: Score | None = None
    technical: float | None = None
    fault: Fault | None = None
    width: int = 0
    height: int = 0
    error: ImageError | None = None
    warning: str | None = None


def load_pair(runtime: str = "auto", features: bool = False) -> Pair:
    """Both models that ship.

    Args:
        runtime: see `iqa.scoring.scorer.Scorer`.
        features: see `Pair`.

    Raises:
        UsageError, RuntimeUnavailable: see `iqa.scoring.scorer.Scorer`.
    """
    return Pair(
        load_scorer(BEAUTY, head="histogram", runtime=runtime),
        load_scorer(TECHNICAL, runtime=runtime),
        features,
    )


def score_many(
    paths: Iterable[str | os.PathLike[str]],
    *,
    workers: int | None = None,
    runtime: str = "auto",
    timeout: float | None = None,
) -> Iterator[PictureScores]:
    """Score any number of pictures, beauty and technical quality, each decoded once.

    The models are loaded when the function is called, and then `paths` are taken as results are asked for, a little ahead
    of them. A picture that cannot be scored is a result with an `error`, and the others go on.

    Args:
        paths: of pictures, an iterable of any length.
        workers: how many processes decode and score; None for one per processor, 0 to do it in this process. They start
            with the second picture, and end with the iterator.
        runtime: what computes, one of `iqa.scoring.runtimes.RUNTIMES`. On Keras this process computes.
        timeout: seconds that a picture may take in a worker, 60 for None.

    Returns:
        An iterator of the `PictureScores` of each picture, in their order.

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
    check_timeout(timeout)
    if timeout is not None and not count:
        raise UsageError("a timeout is for workers, and workers is 0")
    return _score(load_pair(runtime), map(Path, paths), count, timeout)


def _score(pair: Pair, paths: Iterator[Path], workers: int, timeout: float | None) -> Iterator[PictureScores]:
    population = pair.beauty.card.scale.population
    for path, prediction in pair.score_all(paths, workers=workers, timeout=timeout):
        if prediction.output is None:
            yield PictureScores(path, error=ImageError(prediction.reason))
            continue
        said = Opinion.of(prediction, population)
        whole = said.beauty is not None and said.technical is not None
        yield PictureScores(
            path,
            said.beauty,
            said.technical,
            said.fault,
            said.width,
            said.height,
            error=None if whole else ImageError(prediction.warning),
            warning=prediction.warning if whole else None,
        )

"""A score of one's own ratings: a ridge regression on what the shipped networks see, which falls back on their scores.

Hoerl, Kennard, "Ridge Regression", Technometrics 12(1), 1970. The penalty is chosen by cross-validation, and what the score
is worth is measured on pictures that neither the fit nor the choice has used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from iqa.errors import LabelError
from iqa.evaluation.uncertainty import estimate_interval, group_scenes, resample_metrics
from iqa.scoring.layer import FURTHEST, Weights
from iqa.scoring.results import Result

Floats = NDArray[np.float64]

FEWEST = 30  # ratings: with fewer, no figure means anything
FOLDS = 5
PENALTIES = np.logspace(-2, 3, 11)
COMPONENTS = 300  # principal components of what is seen, found in at most so many pictures:
_LOOKED_AT = 1500
#: Pictures taken within so many seconds of one another are kept in one fold, and so are those that look as much alike.
MOMENT, ALIKE = 60.0, 0.9
#: Folders are kept in one fold if there are so many, and none holds more than this share of the pictures.
FOLDERS, LARGEST = 10, 0.4
PARTS = (0.25, 0.5, 1.0)  # of the ratings, for the learning curve


@dataclass(frozen=True)
class Rated:
    """N pictures with their ratings, ready to fit.

    Attributes:
        ratings: float64 (N,).
        shipped: {name: float64 (N,)}, their scores by the models that ship.
        seen: float64 (N, n), what a layer that stands on `quality` sees, standardised by `centre` and `spread` (n,).
        groups: int (N,), pictures of one number are kept in one fold.
    """

    ratings: Floats
    shipped: dict[str, Floats]
    seen: Floats
    centre: Floats
    spread: Floats
    groups: NDArray[np.intp]


@dataclass(frozen=True)
class Learned:
    """A score that was fitted, and what it is worth.

    Attributes:
        weights: of the layer; `penalty` of its ridge.
        best: name of the best of the shipped scores; before, after: SRCC of it and of the new score, out of fold.
        before_95, after_95, gain_95: 95 % intervals of both and of their difference; `drawn` says what was resampled.
        curve: {how many ratings: SRCC out of fold}.
    """

    weights: Weights
    penalty: float
    best: str
    before: float
    after: float
    before_95: tuple[float, float]
    after_95: tuple[float, float]
    gain_95: tuple[float, float]
    drawn: str
    curve: dict[int, float]

    @property
    def next_gain(self) -> float:
        """The SRCC that as many ratings again may add, if each doubling adds less than the one before as it did so far."""
        first, second, third = self.curve.values()
        latest = max(third - second, 0.0)
        return latest * float(np.clip(latest / max(second - first, 1e-9), 0.25, 0.7))


def prepare(
    results: Sequence[Result], ratings: Sequence[float], given: Sequence[str | None], quality: Weights, names: Sequence[str]
) -> Rated:
    """What is needed to fit, of rated pictures whose `Result.features` have what the layer `quality`, of `names`, sees.

    Args:
        given: the group of each picture, if its rating came with one.
    """
    shipped = {name: np.array([result.mean(name) for result in results], np.float64) for name in names}
    first = shipped["quality"]
    seen = np.column_stack([first, np.stack([result.features["quality"] for result in results])])
    centre, spread = (
        np.r_[of(quality.quantiles), own] for of, own in ((np.mean, quality.centre), (np.std, quality.spread))
    )
    standard = np.clip((seen - centre) / spread, -FURTHEST, FURTHEST)
    return Rated(np.array(ratings, np.float64), shipped, standard, centre, spread, group(results, standard, given))


def group(results: Sequence[Result], seen: Floats, given: Sequence[str | None]) -> NDArray[np.intp]:
    """Numbers (N,) of what a fold keeps together: given groups, folders, pictures of one moment, and those that look alike."""
    pairs: list[tuple[int, int]] = []

    def join(keys: Sequence[object]) -> None:
        last: dict[object, int] = {}
        for number, key in enumerate(keys):
            if key is not None:
                pairs.append((last.setdefault(key, number), number))

    join(given)
    folders = [str(result.path).rpartition(result.path.name)[0] for result in results]
    counts = np.unique(folders, return_counts=True)[1]
    if len(counts) >= FOLDERS and counts.max() <= LARGEST * len(folders):
        join(folders)
    timed = sorted((result.taken, number) for number, result in enumerate(results) if result.taken and result.taken.second)
    for (before, one), (after, two) in zip(timed, timed[1:], strict=False):
        pairs += [(one, two)] if (after - before).total_seconds() <= MOMENT else []
    lengths = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    for start in range(0, len(seen), 256):
        found = np.argwhere(lengths[start : start + 256] @ lengths.T >= ALIKE)
        pairs += [(one + start, two) for one, two in found.tolist()]
    ends = np.array(pairs, int).T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(seen), len(seen)))
    numbers: NDArray[np.intp] = connected_components(graph, directed=False)[1]
    return numbers


def deal(groups: NDArray[np.intp], seed: int = 0) -> NDArray[np.intp]:
    """The fold, 0 to `FOLDS` - 1, of each picture (N,): the largest groups first, each to the smallest fold.

    Raises:
        LabelError: if there are fewer groups than folds.
    """
    names, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < FOLDS:
        raise LabelError(f"all pictures belong to {len(names)} bursts or groups: {FOLDS} are needed, rate others too")
    order = np.random.default_rng(seed).permutation(len(names))
    fold, sizes = np.zeros(len(names), int), np.zeros(FOLDS, int)
    for name in order[np.argsort(-counts[order], kind="stable")]:
        fold[name] = sizes.argmin()
        sizes[fold[name]] += counts[name]
    return fold[member]


class _Ridge:
    """The ridge of some pictures for any penalty: three scores and a constant are free, the components pay."""

    def __init__(self, scores: Floats, components: Floats, ratings: Floats) -> None:
        self._inverse = np.linalg.pinv(scores)
        self._components, self._ratings = components, ratings
        free = [side - scores @ (self._inverse @ side) for side in (components, ratings)]
        self._values, self._vectors = np.linalg.eigh(free[0].T @ free[0])
        self._onto = self._vectors.T @ (free[0].T @ free[1])

    def solve(self, penalty: float) -> tuple[Floats, Floats]:
        """The coefficients of the scores and of the components."""
        kernel = self._vectors @ (self._onto / (self._values + penalty))
        return self._inverse @ (self._ratings - self._components @ kernel), kernel


def learn(rated: Rated) -> Learned:
    """Fit a score to ratings, and measure it."""
    ratings, groups = rated.ratings, rated.groups
    columns = [
        int(np.abs(rated.seen * rated.spread + rated.centre - of[:, None]).max(axis=0).argmin())
        for of in rated.shipped.values()
    ]
    scores = np.column_stack([np.ones(len(ratings)), rated.seen[:, columns]])
    some = np.random.default_rng(0).permutation(len(ratings))[:_LOOKED_AT]
    flat = rated.seen / np.sqrt(rated.seen.shape[1])
    values, vectors = np.linalg.eigh(flat[some] @ flat[some].T)
    kept = np.flatnonzero(values > 1e-9 * values[-1])[-COMPONENTS:]
    axes = flat[some].T @ (vectors[:, kept] / np.sqrt(values[kept]))
    components = flat @ axes

    def fit(rows: NDArray[np.intp]) -> _Ridge:
        return _Ridge(scores[rows], components[rows], ratings[rows])

    def predict(rows: NDArray[np.intp], beta: Floats, kernel: Floats) -> Floats:
        found: Floats = scores[rows] @ beta + components[rows] @ kernel
        return found

    def choose(rows: NDArray[np.intp]) -> float:
        """The penalty with the smallest error out of fold."""
        errors = np.zeros(len(PENALTIES))
        for inside, outside in _split(rows, groups):
            ridge = fit(inside)
            errors += [np.sum((predict(outside, *ridge.solve(of)) - ratings[outside]) ** 2) for of in PENALTIES]
        return float(PENALTIES[errors.argmin()])

    everything, rng = np.arange(len(ratings)), np.random.default_rng(0)
    predicted = {part: np.zeros(len(ratings)) for part in PARTS}
    for inside, outside in _split(everything, groups):
        penalty = choose(inside)
        mixed = rng.permutation(inside)
        for part, found in predicted.items():
            found[outside] = predict(outside, *fit(mixed[: round(part * len(mixed))]).solve(penalty))
    penalty = choose(everything)
    beta, kernel = fit(everything).solve(penalty)
    full = axes @ kernel / np.sqrt(rated.seen.shape[1])
    np.add.at(full, columns, beta[1:])
    return _measure(rated, predicted, _weights(rated, full, beta[0], predicted[1.0]), penalty)


def _split(rows: NDArray[np.intp], groups: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(the other pictures, those of a fold) for each fold of some pictures."""
    folds = deal(groups[rows])
    for fold in range(FOLDS):
        yield rows[folds != fold], rows[folds == fold]


def _weights(rated: Rated, kernel: Floats, bias: float, predicted: Floats) -> Weights:
    """Those of the layer, with how far ratings lie from scores out of fold, by fifths of the scores."""
    fifths = np.array_split(np.argsort(predicted), 5)
    errors = [(predicted[of].mean(), np.sqrt(np.mean((predicted[of] - rated.ratings[of]) ** 2))) for of in fifths]
    arrays = (rated.centre, rated.spread, kernel[:, None], [bias], [1.0], np.array(errors).T, [])
    return Weights(*(np.asarray(array, np.float32) for array in arrays))


def _measure(rated: Rated, predicted: dict[float, Floats], weights: Weights, penalty: float) -> Learned:
    def srcc(scores: Floats) -> float:
        return float(spearmanr(scores, rated.ratings)[0])

    best = max(rated.shipped, key=lambda name: srcc(rated.shipped[name]))
    groups, drawn = group_scenes([str(number) for number in rated.groups])
    before, after = (
        resample_metrics(rated.ratings, scores, 1000, groups)["srcc"] for scores in (rated.shipped[best], predicted[1.0])
    )
    return Learned(
        weights,
        penalty,
        best,
        srcc(rated.shipped[best]),
        srcc(predicted[1.0]),
        *map(estimate_interval, (before, after, after - before)),
        drawn,
        {round(part * len(rated.ratings) * (1 - 1 / FOLDS)): srcc(found) for part, found in predicted.items()},
    )

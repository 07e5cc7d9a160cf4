"""A score of one's own ratings: a ridge regression on what the shipped networks see, which falls back on their scores.

Hoerl, Kennard, "Ridge Regression", Technometrics 12(1), 1970. The penalty is chosen by cross-validation, and what the score
is worth is measured on pictures that neither the fit nor the choice has used.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from iqa.errors import LabelError
from iqa.evaluation.metrics import estimate_interval, group_scenes, resample_metrics
from iqa.scoring.layer import FURTHEST, Weights
from iqa.scoring.results import Result

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

FEWEST = 30  # ratings: with fewer, no figure means anything
FOLDS, FOLDS_TO_CHOOSE = 10, 5
PENALTIES = np.logspace(-1, 3, 9)
FREE = 4  # columns that pay none: a constant and the three scores that ship
#: Principal components of what is seen, found in at most so many pictures.
COMPONENTS, LOOKED_AT = 300, 1500
#: Pictures taken within so many seconds of one another are kept in one fold, and so are those that look so much alike.
MOMENT, ALIKE = 60.0, 0.9
#: Folders are kept in one fold if there are so many, and none holds more than this share of the pictures.
FOLDERS, LARGEST = 10, 0.4


def learn(
    results: Sequence[Result], ratings: Sequence[float], given: Sequence[str | None], quality: Weights, names: Sequence[str]
) -> tuple[Weights, dict[str, Any]]:
    """Fit a score to the ratings of N pictures, and measure it.

    Args:
        results: their `features` have what the layer `quality` sees.
        given: the group of each picture, if its rating came with one.
        names: of the shipped scores, `quality` first.

    Returns:
        The weights of a layer that stands on `quality`, and figures: `best`, the best of the shipped scores; its SRCC with
        the ratings, `before`, and that of the new score out of fold, `after`, with 95 % intervals of both and the `gain`;
        `curve`, the SRCC with a quarter, half and all of the ratings to learn from; `penalty`.

    Raises:
        LabelError: if nearly all pictures belong together.
    """
    shipped = {name: np.array([result.mean(name) for result in results], np.float64) for name in names}
    seen = np.column_stack([shipped["quality"], np.stack([result.features["quality"] for result in results])])
    centre, spread = (
        np.r_[of(quality.quantiles), own] for of, own in ((np.mean, quality.centre), (np.std, quality.spread))
    )
    # The shipped scores are among what is seen.
    columns = [np.abs(seen - scores[:, None]).max(axis=0).argmin() for scores in shipped.values()]
    seen = np.clip((seen - centre) / spread, -FURTHEST, FURTHEST)
    groups, scores = group(results, seen, given), np.column_stack([np.ones(len(seen)), seen[:, columns]])
    some = seen[np.random.default_rng(0).permutation(len(seen))[:LOOKED_AT]]
    values, vectors = np.linalg.eigh(some @ some.T)
    kept = np.flatnonzero(values > 1e-9 * values[-1])[-COMPONENTS:]
    axes = some.T @ (vectors[:, kept] / np.sqrt(values[kept] * seen.shape[1]))
    design, known = np.column_stack([scores, seen @ axes]), np.array(ratings, np.float64)
    predicted = {part: np.zeros(len(seen)) for part in (0.25, 0.5, 1.0)}
    everything, rng = np.arange(len(seen)), np.random.default_rng(0)
    for inside, outside in split(everything, groups, FOLDS):
        penalty, mixed = choose(design, known, inside, groups), rng.permutation(inside)
        for part, found in predicted.items():
            rows = mixed[: round(part * len(mixed))]
            found[outside] = design[outside] @ solve(design[rows], known[rows])[:, penalty]
    penalty = choose(design, known, everything, groups)
    bias, *free_and_paying = solve(design, known)[:, penalty]
    kernel = axes @ free_and_paying[len(columns) :]
    np.add.at(kernel, columns, free_and_paying[: len(columns)])
    fifths = np.array_split(np.argsort(predicted[1.0]), 5)
    errors = [(predicted[1.0][of].mean(), np.sqrt(np.mean((predicted[1.0][of] - known[of]) ** 2))) for of in fifths]
    arrays: tuple[Any, ...] = (centre, spread, kernel[:, None], [bias], [1.0], np.array(errors).T, [])
    figures = measure(known, shipped, predicted, groups) | {"penalty": float(PENALTIES[penalty])}
    return Weights(*(np.asarray(array, np.float32) for array in arrays)), figures


def group(results: Sequence[Result], seen: Floats, given: Sequence[str | None]) -> Rows:
    """Numbers (N,), equal for what a fold keeps together: given groups, folders, what was taken at once or looks alike."""
    folders: list[Any] = [str(result.path).removesuffix(result.path.name) for result in results]
    counts = np.unique(folders, return_counts=True)[1]
    pairs, first = [], dict[Any, int]()
    for keys in (given, folders if len(counts) >= FOLDERS and counts.max() <= LARGEST * len(folders) else ()):
        pairs += [(first.setdefault(key, number), number) for number, key in enumerate(keys) if key is not None]
    # Times without seconds say too little.
    timed = sorted((result.taken, number) for number, result in enumerate(results) if result.taken and result.taken.second)
    pairs += [(one, two) for (start, one), (end, two) in pairwise(timed) if (end - start).total_seconds() <= MOMENT]
    lengths = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    for start in range(0, len(seen), 256):
        alike = np.argwhere(lengths[start : start + 256] @ lengths.T >= ALIKE)
        pairs += [(one + start, two) for one, two in alike.tolist()]
    ends = np.array(pairs, int).T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(seen), len(seen)))
    numbers: Rows = connected_components(graph, directed=False)[1]
    return numbers


def split(rows: Rows, groups: Rows, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """(the other pictures, those of a fold) for each fold: the largest groups first, each to the smallest fold."""
    names, member, counts = np.unique(groups[rows], return_inverse=True, return_counts=True)
    if len(names) < FOLDS_TO_CHOOSE:
        raise LabelError(f"the pictures are of {len(names)} bursts or groups only: rate others too")
    order = np.random.default_rng(0).permutation(len(names))
    fold, sizes = np.zeros(len(names), int), np.zeros(min(folds, len(names)), int)
    for name in order[np.argsort(-counts[order], kind="stable")]:
        fold[name] = sizes.argmin()
        sizes[fold[name]] += counts[name]
    for number in range(len(sizes)):
        yield rows[fold[member] != number], rows[fold[member] == number]


def solve(design: Floats, ratings: Floats) -> Floats:
    """The coefficients (n, one for each of `PENALTIES`) of a design (N, n) whose first columns pay no penalty."""
    scores, paying = design[:, :FREE], design[:, FREE:]
    inverse = np.linalg.pinv(scores)
    rest, left = paying - scores @ (inverse @ paying), ratings - scores @ (inverse @ ratings)
    values, vectors = np.linalg.eigh(rest.T @ rest)
    kernels = vectors @ ((vectors.T @ (rest.T @ left))[:, None] / (values[:, None] + PENALTIES))
    return np.vstack([inverse @ (ratings[:, None] - paying @ kernels), kernels])


def choose(design: Floats, ratings: Floats, rows: Rows, groups: Rows) -> int:
    """The number of the penalty with the smallest error out of fold."""
    errors = np.zeros(len(PENALTIES))
    for inside, outside in split(rows, groups, FOLDS_TO_CHOOSE):
        coefficients = solve(design[inside], ratings[inside])
        errors += np.sum((design[outside] @ coefficients - ratings[outside, None]) ** 2, axis=0)
    return int(errors.argmin())


def measure(ratings: Floats, shipped: dict[str, Floats], predicted: dict[float, Floats], groups: Rows) -> dict[str, Any]:
    """The figures of `learn` but the penalty; `drawn` says what was resampled for the intervals."""

    def srcc(scores: Floats) -> float:
        return float(spearmanr(scores, ratings)[0])

    best = max(shipped, key=lambda name: srcc(shipped[name]))
    scenes, drawn = group_scenes([str(number) for number in groups])
    pair = {"before": shipped[best], "after": predicted[1.0]}
    of = {what: resample_metrics(ratings, scores, 1000, scenes)["srcc"] for what, scores in pair.items()}
    figures: dict[str, Any] = {"n": len(ratings), "best": best, "drawn": drawn.replace("scenes", "groups")}
    figures |= {what: srcc(scores) for what, scores in pair.items()}
    figures["gain"] = figures["after"] - figures["before"]
    of["gain"] = of["after"] - of["before"]
    figures |= {f"{what}_95": estimate_interval(values) for what, values in of.items()}
    curve = {str(round(part * len(ratings) * (1 - 1 / FOLDS))): srcc(scores) for part, scores in predicted.items()}
    return figures | {"curve": curve}

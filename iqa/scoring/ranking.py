"""Where each picture stands among those that were scored with it: its place, its stars, its shelf."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: What pictures can be ranked by. "both" is the mean of the two places.
ORDERS = ("both", "beauty", "technical")

#: Shares of a set: the lowest 10 % get one star, the next 20 % two, and so on; the highest 10 % get five.
STARS = (0.1, 0.3, 0.7, 0.9)

#: Shares of a set, from below, and the shelves between them.
SHELF_BOUNDS = (0.1, 0.7, 0.9)
SHELVES = ("worst", "rest", "good", "best")


def rank(values: ArrayLike) -> NDArray[np.float64]:
    """The place of each value among all, 0-1, higher is better; equal values share a place, NaN has none.

    >>> rank([5.0, 7.0, float("nan"), 5.0]).round(3).tolist()
    [0.333, 0.833, nan, 0.333]
    """
    found = np.asarray(values, np.float64)
    known = np.sort(found[np.isfinite(found)])
    below, upto = np.searchsorted(known, found, "left"), np.searchsorted(known, found, "right")
    return np.where(np.isfinite(found), (below + upto) / 2 / max(1, len(known)), np.nan)


def rank_pairs(beauty: ArrayLike, technical: ArrayLike, order: str = "both") -> NDArray[np.float64]:
    """The places of pictures that have two scores, float64 (N,), 0-1.

    Args:
        beauty, technical: float (N,), NaN where there is no score.
        order: one of `ORDERS`. With "both", a picture that lacks one of the two scores is ranked by the other.
    """
    if order != "both":
        return rank(beauty if order == "beauty" else technical)
    places = np.stack([rank(beauty), rank(technical)])
    known = np.isfinite(places)
    mean = np.where(known, places, 0).sum(0) / np.maximum(1, known.sum(0))
    return rank(np.where(known.any(0), mean, np.nan))


def best_first(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """The numbers of the pictures that have a place, the best first."""
    return np.argsort(-places, kind="stable")[: int(np.isfinite(places).sum())]


def stars_of(place: float) -> int:
    """The stars for a place, 1-5.

    >>> [stars_of(place) for place in (0.05, 0.2, 0.5, 0.8, 0.95)]
    [1, 2, 3, 4, 5]
    """
    return 1 + int(np.searchsorted(STARS, place, "right"))


def shelf_of(place: float) -> str:
    """The shelf for a place.

    >>> [shelf_of(place) for place in (0.05, 0.2, 0.5, 0.8, 0.95)]
    ['worst', 'rest', 'rest', 'good', 'best']
    """
    return SHELVES[int(np.searchsorted(SHELF_BOUNDS, place, "right"))]


def best_of(numbers: Sequence[int], places: NDArray[np.float64]) -> int:
    """Which of some pictures has the highest place; the first of them if none has one."""
    return max(numbers, key=lambda number: -np.inf if np.isnan(places[number]) else places[number])

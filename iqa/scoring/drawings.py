"""The drawings of the page, as paths for SVG: the votes of a picture, the scores of a set."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Of a distribution: its box, and the part of it between the axes.
_WIDTH, _HEIGHT = 420, 190
_LEFT, _RIGHT, _TOP, _FLOOR = 40, 410, 24, 146


def draw_votes(name: str, shares: ArrayLike) -> dict[str, str]:
    """A histogram of somebody's votes 1-10, shares (10,), as a path in a box of 100x30, and what a reader is told of it."""
    found = np.asarray(shares, np.float64)
    heights = 28 * found / max(found.max(), 1e-9)
    said = ", ".join(f"{share:.0%} vote {vote}" for vote, share in enumerate(found, start=1) if share >= 0.005)
    return {"name": name, "path": _bars(heights, 0, 100, 30), "label": f"{name}: {said}"}


def draw_distribution(name: str, scores: NDArray[np.float64]) -> dict[str, Any]:
    """The scores of a set, float64 (N,), at least one, as a histogram with axes, and a text that sums them up."""
    # Between two ticks: 1, 2, 5, 10, 20 ..., so that there are at most a dozen.
    steps = (factor * 10**power for power in range(7) for factor in (1, 2, 5))
    step = next(step for step in steps if np.ptp(scores) <= 10 * step)
    lowest = step * np.floor(scores.min() / step)
    highest = max(step * np.ceil(scores.max() / step), lowest + step)
    ticks = np.arange(lowest, highest + step / 2, step)
    places = np.linspace(_LEFT, _RIGHT, len(ticks)).round(1).tolist()
    bins = (len(ticks) - 1) * (10 if len(scores) >= 400 else 5 if len(scores) >= 60 else 2)
    counts, _ = np.histogram(scores, bins, (lowest, highest))
    most = int(counts.max())
    return {
        "name": name,
        "box": f"0 0 {_WIDTH} {_HEIGHT}",
        "bars": _bars((_FLOOR - _TOP) * counts / most, _LEFT, _RIGHT, _FLOOR),
        "axes": f"M{_LEFT} {_TOP}V{_FLOOR}H{_RIGHT}",
        "across": [{"at": place, "text": f"{tick:g}"} for place, tick in zip(places, ticks, strict=True)],
        "up": [{"at": _FLOOR, "text": "0"}, {"at": _TOP, "text": f"{most:,}"}],
        "label": f"{len(scores):,} scores from {scores.min():.2f} to {scores.max():.2f}, mean {scores.mean():.2f}, "
        f"median {np.median(scores):.2f}, standard deviation {scores.std():.2f}.",
    }


def _bars(heights: NDArray[np.float64], left: float, right: float, floor: float) -> str:
    """Bars between two places, which stand on the floor and have a gap of a fifth of their width."""
    width = (right - left) / len(heights)
    return "".join(
        f"M{left + (place + 0.1) * width:.1f} {floor}v{-height:.1f}h{0.8 * width:.1f}v{height:.1f}z"
        for place, height in enumerate(heights)
        if height > 0.05
    )

"""Bursts: pictures that were taken within seconds and look alike.

Looking alike is a matter of the features behind the score of beauty: the angle between those of two moments of a scene is
small, and between those of two scenes it is not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Seconds between one picture of a burst and the next, at most.
SECONDS = 3.0

#: Cosine distance between the features of two pictures that look alike, at most. 95 % of 80 photographs stay within 0.06 if
#: they are shifted, turned by 3 degrees or made brighter, and within 0.15 if they are blurred. So do 9 % of all pairs of
#: different photographs, which is why time counts as well.
ALIKE = 0.15


def find_bursts(
    times: Sequence[float | None],
    features: Sequence[NDArray[np.floating] | None],
    seconds: float = SECONDS,
    alike: float = ALIKE,
) -> list[list[int]]:
    """The bursts among pictures.

    A picture belongs to the burst of any earlier picture that was taken at most `seconds` before it and looks alike.

    Args:
        times: in seconds; None where it is not known.
        features: float (n,); None for a picture that has no score. Neither is in a burst.

    Returns:
        For each burst the numbers of its pictures, two or more, in the order in which they were taken.
    """
    known = [number for number, time in enumerate(times) if time is not None and features[number] is not None]
    order = sorted(known, key=lambda number: (times[number], number))
    leader = {number: number for number in order}

    def lead(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first = 0
    for place, number in enumerate(order):
        while _between(times, order[first], number) > seconds:
            first += 1
        for other in reversed(order[first:place]):  # it may lie between two bursts and join them
            if lead(other) != lead(number) and _distance(features[other], features[number]) <= alike:
                leader[lead(number)] = lead(other)
    bursts: dict[int, list[int]] = {}
    for number in order:
        bursts.setdefault(lead(number), []).append(number)
    return [burst for burst in bursts.values() if len(burst) > 1]


def _between(times: Sequence[float | None], first: int, second: int) -> float:
    earlier, later = times[first], times[second]
    assert earlier is not None and later is not None
    return later - earlier


def _distance(first: NDArray[np.floating] | None, second: NDArray[np.floating] | None) -> float:
    """The cosine distance of two vectors, 0-2; 1 if one of them is zero."""
    assert first is not None and second is not None
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return 1.0 - float(a @ b) / length if length else 1.0

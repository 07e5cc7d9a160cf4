"""Bursts: pictures that were taken within seconds and look alike.

Only what blur leaves of them is compared, 8 by 8 pixels, so that the shaken frame of a burst belongs to it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Seconds between one picture of a burst and the next, at most.
SECONDS = 3.0

#: Correlation of the structures of two pictures that look alike, at least. Of 400 photographs, 98 % reach it if they are
#: shifted by 5 % of their size, turned by 3 degrees, made brighter or blurred, and 0.14 % of the pairs of different ones.
ALIKE = 0.7

#: The same where the times say only the day or the minute: no pair of 400 different photographs reaches it.
ALIKE_WITHOUT_SECONDS = 0.9

_SIDE = 8  # pixels of a structure
_OPEN = 100  # bursts that may be interleaved


def structure_of(image: Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
    """The coarse structure of an RGB picture, float32 (192,) of mean 0 and length 1; zeros if it is of one colour."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0), np.float32)
    small = small - small.mean(axis=(0, 1))
    return (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()


def find_bursts(
    times: Sequence[datetime | None], structures: Sequence[NDArray[np.floating] | None], seconds: float = SECONDS
) -> list[list[int]]:
    """The bursts among pictures.

    A picture belongs to a burst if it was taken at most `seconds` after its last picture and looks like its first.

    Args:
        times: local times of the captures; None where it is not known.
        structures: of `structure_of`; None for a picture that has none. Neither is in a burst.

    Returns:
        For each burst the numbers of its pictures, two or more, in the order in which they were taken.
    """
    known = [
        (time.replace(tzinfo=UTC).timestamp(), number)
        for number, time in enumerate(times)
        if time is not None and structures[number] is not None
    ]
    has_no_seconds = sum(second % 60 == 0 for second, _ in known) > len(known) / 2
    bursts: list[list[int]] = []
    waiting: list[tuple[float, list[int]]] = []  # the time of its last picture, and a burst
    for second, number in sorted(known):
        waiting = [(last, burst) for last, burst in waiting if second - last <= seconds][-_OPEN:]
        vague = second % 86_400 == 0 or (has_no_seconds and second % 60 == 0)
        needed = ALIKE_WITHOUT_SECONDS if vague else ALIKE
        found = next((one for one in reversed(waiting) if _likeness(structures, one[1][0], number) >= needed), None)
        if found:
            waiting.remove(found)
            found[1].append(number)
        else:
            bursts.append([number])
        waiting.append((second, found[1] if found else bursts[-1]))
    return [burst for burst in bursts if len(burst) > 1]


def _likeness(structures: Sequence[NDArray[np.floating] | None], first: int, second: int) -> float:
    one, other = structures[first], structures[second]
    assert one is not None and other is not None
    return float(np.dot(one.astype(np.float32), other.astype(np.float32)))

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


def find_bursts(times: Sequence[datetime | None], structures: Sequence[NDArray[np.floating] | None]) -> list[list[int]]:
    """The numbers of the pictures in each burst, two or more, in the order in which they were taken.

    A picture belongs to a burst if it was taken at most `SECONDS` after its last picture and looks like its first.

    Args:
        times: local times of the captures; None where it is not known, and then the picture is in no burst.
        structures: of `structure_of`; None as in `times`.
    """
    known = [
        (time.replace(tzinfo=UTC).timestamp(), number, structure)
        for number, (time, structure) in enumerate(zip(times, structures, strict=True))
        if time is not None and structure is not None
    ]
    has_no_seconds = sum(second % 60 == 0 for second, *_ in known) > len(known) / 2
    bursts: list[list[int]] = []
    waiting: list[tuple[float, NDArray[np.floating], list[int]]] = []  # the last time and the first structure of a burst
    for second, number, structure in sorted(known, key=lambda picture: picture[:2]):
        structure = structure.astype(np.float32)
        waiting = [burst for burst in waiting if second - burst[0] <= SECONDS][-_OPEN:]
        vague = second % 86_400 == 0 or (has_no_seconds and second % 60 == 0)
        needed = ALIKE_WITHOUT_SECONDS if vague else ALIKE
        place = next((n for n in reversed(range(len(waiting))) if np.dot(waiting[n][1], structure) >= needed), None)
        if place is None:
            bursts.append([])
        first, burst = (structure, bursts[-1]) if place is None else waiting.pop(place)[1:]
        burst.append(number)
        waiting.append((second, first, burst))
    return [burst for burst in bursts if len(burst) > 1]

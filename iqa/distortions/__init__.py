"""The 24 distortions of TID2013, and what people would say of the pictures that they are applied to.

- `table`: `DISTORTIONS`, `distort`, `ladder`, `everyday_ladders`: the distortions by number and level.
- `noise`, `codecs`, `appearance`: the distortions themselves, by kind; `signal`: what they share.
- `references`: `read_reference`, the undistorted pictures of TID2013.
- `judge`: `Judge`, scores estimated for other photographs.

The names of `table` are offered here too.
"""

from iqa.distortions.table import (
    DISTORTIONS,
    EVERYDAY,
    Distortion,
    distort,
    everyday_ladders,
    ladder,
    random_levels,
    strength,
)

__all__ = [
    "DISTORTIONS",
    "EVERYDAY",
    "Distortion",
    "distort",
    "everyday_ladders",
    "ladder",
    "random_levels",
    "strength",
]

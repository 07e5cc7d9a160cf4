"""What a mean score of 5.3 means: the share of AVA's photographs that score lower.

Means crowd between 4.5 and 6, for people (who gave half of AVA's photographs 4.9 to 5.9) and more so for models. The table
`ava_quantiles.json` sums up both over the 25,548 photographs of AVA's test set: what people gave, and what was predicted by
idealo's model, the teacher of the weights that ship. AVA is a contest of photographers: snapshots score lower.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@cache
def quantiles(of: str) -> NDArray[np.float64]:
    """The quantiles 0, 1 ... 100 % of AVA's mean scores, float64 (101,); `of` as for `percentile`."""
    return np.array(json.loads(Path(__file__).with_name("ava_quantiles.json").read_text(encoding="utf-8"))[of])


def percentile(mean: float, of: str = "predicted") -> float:
    """The percentage of AVA's photographs whose mean score is lower.

    Args:
        mean: a mean score, 1-10.
        of: "predicted" compares with the scores that a model gave them, "rated" with those that people gave.

    Returns:
        0-100, interpolated between the quantiles 0, 1 ... 100 %.

    >>> round(percentile(5.4295))
    50
    """
    return float(np.interp(mean, quantiles(of), np.arange(101)))

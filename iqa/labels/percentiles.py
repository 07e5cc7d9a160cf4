"""What a mean score of 5.3 means: the share of the 25,548 photographs of AVA's test set that score lower.

`ava_quantiles.json` has the scores that people gave, and those of idealo's model, the teacher of the weights that ship.
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
    """The percentage of AVA's photographs whose mean score, "predicted" or "rated" by people, is lower: 0-100.

    >>> round(percentile(5.4295))
    50
    """
    return float(np.interp(mean, quantiles(of), np.arange(101)))

"""What is said of one picture: a distribution of votes, and a model's prediction on its way from the network to a file."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.labels.histograms import mean, std


class Score(NamedTuple):
    """An opinion-score distribution: mean (1-10), standard deviation, and the shares of the votes 1-10, float32 (10,)."""

    mean: float
    std: float
    histogram: NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image, or the reason why it says nothing.

    Attributes:
        output: float32 (1,), a score, or (10,), a histogram of votes.
        features: float32 (n,), what the head saw: the pooled features, or the dense layer of that name; None where they
            were not asked for.
        reason: one line, why there is no output.
        warning: one line, why the output says little.
    """

    output: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    reason: str | None = None
    warning: str | None = None

    @property
    def score(self) -> float:
        """The (mean) score."""
        assert self.output is not None, self.reason
        return float(self.output[0]) if len(self.output) == 1 else self.distribution.mean

    @property
    def distribution(self) -> Score:
        """The `Score` of a histogram."""
        assert self.output is not None, self.reason
        histogram = self.output.astype(np.float64)
        return Score(float(mean(histogram)), float(std(histogram)), self.output)

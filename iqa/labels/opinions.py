"""What is said of one picture: a distribution of votes, and a model's prediction on its way from the network to a file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqa.labels.histograms import Score


@dataclass(frozen=True)
class Prediction:
    """What a model says of an image, or the reason why it says nothing.

    Attributes:
        output: float32 (1,), a score, or (10,), a histogram of votes.
        features: float32 (n,), what the head saw: the pooled features, or the dense layer of that name; None where they
            were not asked for.
        faults: float32 (n,), a logit for each of `iqa.labels.faults.KINDS`; None where the model knows none, or they were
            not asked for.
        reason: one line, why there is no output.
        warning: one line, why the output says little.
    """

    output: NDArray[np.float32] | None = None
    features: NDArray[np.float32] | None = None
    faults: NDArray[np.float32] | None = None
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
        return self.distribution_among(None)

    def distribution_among(self, population: str | None) -> Score:
        """The `Score` of a histogram, with percentiles among a population; see `iqa.cards.Scale`."""
        assert self.output is not None, self.reason
        return Score.of(self.output, population)

"""One picture, one row: what the models say of it, made once where the networks have answered and carried unchanged."""

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqa.images.stored import StoredFile, path_of
from iqa.labels.faults import Fault
from iqa.labels.histograms import Score


class Grade(NamedTuple):
    """A mean grade that people would give, how far theirs lie from it (a standard deviation), and its percentile, 0-100."""

    mean: float
    std: float
    percentile: float | None


@dataclass(frozen=True)
class Result:
    """What the models say of a picture, or why they cannot.

    Attributes:
        path: of the picture, as it was given.
        scores: {name of the model: a `Score` of a histogram of votes, a `Grade`, or a number}, without those that failed.
        width, height: pixels of the picture when it stands upright; 0 if one model alone did not need to know.
        taken: local time of the capture, if the file says it; None as well where one model scores alone.
        fault: the main technical fault, if a model tells faults apart and finds one.
        warning: one line, why the scores say little; None if nothing is amiss.
        error: one line, why a model or all of them cannot judge the picture; None if all can.
        features: {name: float32 (n,)}, of a model or for finding bursts, where they were asked for.
    """

    path: Path | StoredFile
    scores: dict[str, Score | Grade | float] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    taken: datetime | None = None
    fault: Fault | None = None
    warning: str | None = None
    error: str | None = None
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    def mean(self, name: str) -> float | None:
        """The (mean) score by a model; None if it has none."""
        score = self.scores.get(name)
        return score.mean if isinstance(score, Score | Grade) else score

    @property
    def quality(self) -> Grade | None:
        """The grade, 1-5, that people would give, predicted by `biq2021_quality`."""
        score = self.scores.get("quality")
        return score if isinstance(score, Grade) else None

    @property
    def beauty(self) -> Score | None:
        """The votes, 1-10, predicted by `ava_vanilla`."""
        score = self.scores.get("beauty")
        return score if isinstance(score, Score) else None

    @property
    def technical(self) -> float | None:
        """The technical quality, 0-9, predicted by `tid2013_regression`."""
        return self.mean("technical")

    def to_json(self) -> dict[str, Any]:
        """All but the path and the features, as JSON holds it; `from_json` reads it back, to the last bit."""
        scores: dict[str, Any] = dict(self.scores)
        for name, score in self.scores.items():
            if isinstance(score, Score):
                scores[name] = {"histogram": score.histogram.tolist(), "population": score.population}
            elif isinstance(score, Grade):
                scores[name] = list(score)
        facts = {
            "scores": scores,
            "width": self.width,
            "height": self.height,
            "taken": self.taken.isoformat() if self.taken else None,
            "fault": list(self.fault) if self.fault else None,
            "warning": self.warning,
            "error": self.error,
        }
        return {name: value for name, value in facts.items() if value}

    @classmethod
    def from_json(cls, path: str | os.PathLike[str], facts: dict[str, Any]) -> "Result":
        """The result that `to_json` wrote, for the picture at `path`."""
        scores = dict(facts.get("scores", {}))
        for name, value in scores.items():
            if isinstance(value, dict):
                scores[name] = Score.of(np.array(value["histogram"], np.float32), value["population"])
            elif isinstance(value, list):
                scores[name] = Grade(*value)
        more: dict[str, Any] = {"scores": scores}
        if "taken" in facts:
            more["taken"] = datetime.fromisoformat(facts["taken"])
        if "fault" in facts:
            more["fault"] = Fault(*facts["fault"])
        return cls(path_of(os.fspath(path)), **facts | more)

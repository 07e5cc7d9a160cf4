"""The phases of a training run, and the text that names them: "1@1e-3:frozen,4@1e-4:cosine,until-plateau@1e-5"."""

import re
from dataclasses import dataclass

from iqa.errors import UsageError

_PHASE = re.compile(r"(?P<epochs>\d+|until-plateau)@(?P<rate>[0-9.]+(e-?\d+)?)(?P<words>(:(frozen|cosine))*)", re.I)

#: A phase until the plateau ends after PATIENCE epochs in a row without improvement, and after LONGEST in any case.
PATIENCE, LONGEST = 2, 100


@dataclass(frozen=True)
class Phase:
    """Some epochs at one learning rate: of the head alone, until a plateau (see `PATIENCE`), or with a cosine to 0."""

    learning_rate: float
    epochs: int
    frozen: bool = False
    plateau: bool = False
    cosine: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, got {self.epochs}")
        if not self.learning_rate > 0:
            raise UsageError(f"the learning rate must be above 0, got {self.learning_rate:g}")
        if self.plateau and self.cosine:
            raise UsageError("a phase until the plateau has no length, so its learning rate cannot fall on a cosine")

    def __str__(self) -> str:
        epochs = "until-plateau" if self.plateau else self.epochs
        return f"{epochs}@{self.learning_rate:g}{':frozen' if self.frozen else ''}{':cosine' if self.cosine else ''}"


def parse_schedule(text: str, original: str | None = None) -> list[Phase]:
    """ "1@1e-3:frozen,4@1e-4,until-plateau@1e-5" -> a list of `Phase`; "original" stands for the text `original`.

    Raises a `UsageError` that names the part that is neither EPOCHS@RATE nor until-plateau@RATE.
    """
    phases = []
    for part in (original if original and text == "original" else text).split(","):
        try:
            match = _PHASE.fullmatch(part.strip())
            epochs, rate, words = match["epochs"], float(match["rate"]), match["words"].lower()  # type: ignore[index]
            plateau = not epochs.isdigit()
            length = LONGEST if plateau else int(epochs)
            if rate <= 0 or length == 0 or max(words.count("frozen"), words.count("cosine")) > 1:
                raise ValueError
        except (TypeError, ValueError):  # no match, or a number with more than one point
            raise UsageError(
                f"schedule: expected EPOCHS@RATE[:frozen][:cosine] or until-plateau@RATE[:frozen], separated by commas, "
                f"got {part.strip()!r}"
            ) from None
        phases.append(Phase(rate, length, "frozen" in words, plateau, "cosine" in words))
    return phases

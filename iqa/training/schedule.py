"""The phases of a training run, and the text that names them: "1@1e-3:frozen,4@1e-4:cosine,until-plateau@1e-5"."""

import re
from dataclasses import dataclass

from iqa.errors import UsageError

_PHASE = re.compile(r"(?P<epochs>\d+|until-plateau)@(?P<rate>[0-9.]+(e-?\d+)?)(?P<words>(:\w+)*)", re.IGNORECASE)

#: What may follow the rate of a phase, each at most once.
_WORDS = ("frozen", "cosine")

#: A phase until the plateau ends after PATIENCE epochs in a row without improvement, and after LONGEST in any case.
PATIENCE, LONGEST = 2, 100


@dataclass(frozen=True)
class Phase:
    """Some epochs at one learning rate.

    Attributes:
        learning_rate: above 0.
        epochs: at least 1.
        frozen: train the head alone.
        plateau: end at a plateau, see `PATIENCE`.
        cosine: let the learning rate fall to 0 over the phase, as half a period of a cosine does (Loshchilov, Hutter,
            "SGDR", ICLR 2017, arXiv:1608.03983, without restarts).
    """

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
        words = f"{':frozen' if self.frozen else ''}{':cosine' if self.cosine else ''}"
        return f"{epochs}@{self.learning_rate:g}{words}"


def parse_schedule(text: str, original: str | None = None) -> list[Phase]:
    """ "1@1e-3:frozen,4@1e-4,until-plateau@1e-5" -> a list of `Phase`; "original" stands for the text `original`.

    >>> parse_schedule("1@1e-3:frozen,4@1e-4")[1]
    Phase(learning_rate=0.0001, epochs=4, frozen=False, plateau=False, cosine=False)

    Raises:
        UsageError: naming the part that is neither EPOCHS@RATE nor until-plateau@RATE, with or without :frozen and :cosine.
    """
    phases = []
    for part in (original if original and text == "original" else text).split(","):
        match = _PHASE.fullmatch(part.strip())
        try:
            rate = float(match["rate"]) if match else 0
        except ValueError:  # more than one point
            rate = 0
        words = match["words"].lower().split(":")[1:] if match else []
        known = len(set(words)) == len(words) and set(words) <= set(_WORDS)
        if not match or not known or rate <= 0 or match["epochs"].strip("0") == "":
            raise UsageError(
                f"schedule: expected EPOCHS@RATE[:frozen][:cosine] or until-plateau@RATE[:frozen], separated by commas, "
                f"got {part.strip()!r}"
            )
        plateau = not match["epochs"].isdigit()
        epochs = LONGEST if plateau else int(match["epochs"])
        phases.append(Phase(rate, epochs, "frozen" in words, plateau, "cosine" in words))
    return phases

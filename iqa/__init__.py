"""Predict how people would score a picture: its quality, its beauty, and how sound it is technically.

    from iqa import score_many

    for result in score_many(paths):
        print(result.path, result.error or (result.quality.mean, result.beauty.mean, result.technical))

One model alone, and pictures that are no files: `infer` of an infer script. What is refused raises an `IqaError`. Importing
this package loads nothing: what it offers is loaded when it is first used.
"""

import os
import sys

TYPE_CHECKING = False  # what type checkers take for true; `typing` must not be imported before `forget_working_folder`
if TYPE_CHECKING:
    from iqa.errors import ImageError, IqaError
    from iqa.labels.histograms import Score
    from iqa.scoring.many import score_many
    from iqa.scoring.results import Result

__all__ = ["ImageError", "IqaError", "Result", "Score", "score_many"]

#: Where what this package offers is defined.
_HOMES = {
    "ImageError": "iqa.errors",
    "IqaError": "iqa.errors",
    "Result": "iqa.scoring.results",
    "Score": "iqa.labels.histograms",
    "score_many": "iqa.scoring.many",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)


def forget_working_folder() -> None:
    """Import nothing from the folder in which `python -m` was started: it may hold a stranger's `numpy.py`."""
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

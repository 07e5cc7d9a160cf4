"""What the scripts share: from scores and images at the bottom to the training session at the top."""

import os
import sys


def forget_working_folder() -> None:
    """Import nothing from the folder in which `python -m` was started: it may hold a stranger's `numpy.py`.

    Call it before anything else is imported.
    """
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]

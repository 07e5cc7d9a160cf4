"""Workers end with their parent. It is the first thing that they see to, so this module imports next to nothing."""

import os
import signal
import threading
import time

#: PR_SET_PDEATHSIG of <linux/prctl.h>: which signal this process gets when its parent ends.
_SET_SIGNAL = 1


def end_with_parent(parent: int) -> None:
    """See to it that this process ends when its parent does, even in the middle of a picture.

    Linux sends a signal. Elsewhere a thread looks once a second; on Windows, which gives an orphan no new parent, the
    process ends at its next question.

    Args:
        parent: the number of the process that started this one.
    """
    try:
        import ctypes

        asked = ctypes.CDLL(None).prctl(_SET_SIGNAL, int(signal.SIGKILL), 0, 0, 0) == 0
    except (ImportError, OSError, AttributeError, TypeError):
        asked = False
    if not asked and os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.name == "posix" and os.getppid() != parent:  # it ended before
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

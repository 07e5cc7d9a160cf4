"""What stands in for what is large: for scoring pictures in workers, which import this module, and for training."""

import ctypes
import gc
import os
import signal
import sys
import time
from pathlib import Path

from iqa.errors import UsageError


def lost(item, reason):
    return item, reason


def answer(item):
    """The item, unless it is (what to do before, what to do it with)."""
    match item:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "memory":
            bytearray(3 << 30)
        case "bug":
            raise ZeroDivisionError("a bug")
        case ("once", what, marker) if first_time(marker):
            answer(what)
    return item


def first_time(marker):
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def answer_all(items):
    return [answer(item) for item in items]


def prepare():
    return answer_all


def prepare_at_the_second_try(marker):
    if first_time(marker):
        os.kill(os.getpid(), signal.SIGKILL)
    return answer_all


def refuse():
    raise UsageError("no such model")


def never_start():
    time.sleep(600)


def enliven(model, pixels):
    """Give batch normalisation the statistics of pictures: with those that it is born with, random features vanish."""
    import keras
    import numpy as np

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.linspace(0.2, 1, layer.gamma.shape[0]))
    model(pixels.astype(np.float32), training=True)
    return model


def free_memory():
    """Give back to the system what networks that are needed no more have taken."""
    if scorer := sys.modules.get("iqa.scoring.scorer"):
        scorer._loaded.clear()
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # of glibc

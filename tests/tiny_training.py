"""A training that takes a second: tiny pictures, a tiny network, the real session.

python [-i] tests/tiny_training.py FOLDER RUN [SCHEDULE [resume]]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import run
from iqa.images.geometry import centre_patch
from iqa.labels.tid2013 import LabelledImage

SIZE = 8


def centre(pixels):
    return centre_patch(pixels, SIZE)


def make_ladders(folder, scenes=6):
    """Ladders whose pictures become brighter by 30 grey levels a step and their scores lower by 1."""
    rng, groups = np.random.default_rng(0), []
    for scene in range(scenes):
        base = rng.integers(0, 100, (12, 14, 3))
        group = []
        for level in range(1, 6):
            path = Path(folder) / f"s{scene}_01_{level}.png"
            if not path.exists():
                Image.fromarray((base + 30 * level).astype(np.uint8)).save(path)
            group.append(LabelledImage(f"s{scene}", 1, level, 7.0 - level, path))
        groups.append(group)
    return groups


def network(dropout=0.2, noise=0.01):
    import keras

    keras.utils.set_random_seed(5)
    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(pixels)
    x = keras.layers.GaussianNoise(noise)(x)
    x = keras.layers.Conv2D(4, 3, name="backbone")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(pixels, keras.layers.Dense(1, dtype="float32", name="score")(x))


def tiny_session(ladders, run, model=None, **settings):
    from iqa.training.batches import Evaluation, Ladders
    from iqa.training.losses import LCC, LadderLoss
    from iqa.training.session import Session

    return Session(
        model or network(),
        Ladders(ladders, 10, SIZE, seed=2),
        Evaluation([image for ladder in ladders[:2] for image in ladder], 10, centre),
        LadderLoss(),
        ["mse", LCC()],
        **{"run": run, "card": {"head": {"kind": "regression"}}, "cut": centre, "seed": 2, **settings},
    )


def main():
    from iqa.training.session import open_prompt, parse_schedule

    folder, run_folder, schedule, resume = (*sys.argv[1:], "", "")[:4]
    session = tiny_session(make_ladders(folder, scenes=40), run_folder)
    session.begin(parse_schedule(schedule) if schedule else [], bool(resume))
    open_prompt(session, "a tiny network")
    return session


if __name__ == "__main__":
    session = run(main)
    globals().update(session.commands() if session else {})

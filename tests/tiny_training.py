"""A training that takes a second: tiny pictures, a tiny network, the real session.

python [-i] tests/tiny_training.py FOLDER RUN [SCHEDULE [resume]]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.cards import TID2013_SCALE, Backbone, Card, Head, Preprocessing
from iqa.commands.terminal import run
from iqa.images.geometry import patch, place_in_centre, random_patch
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LabelledImage

SIZE = 8

# Its backbone counts as trained, so that batch normalisation is left alone.
CARD = Card(
    Backbone("mobilenet_v2", "imagenet", "keras", 1e-3, backbone_weights="imagenet"),
    Head("regression", 0.2),
    Preprocessing("patch"),
    TID2013_SCALE,
)


def see(path):
    picture = read_image(path)
    ((top, left),) = place_in_centre(*picture.shape[:2], SIZE)
    return patch(picture, top, left, SIZE)[None]


def cut_of(size, multiple=1):
    # Workers get a function of a function whole; for one of this module they would load it, and Keras.
    return lambda pixels, rng: random_patch(pixels, size, rng, multiple)


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


def tiny_prompt(ladders, run, model=None, card=CARD, settings=None, options=None):
    from iqa.training.batches import Evaluation, Ladders
    from iqa.training.losses import LCC, SRCC, ImageMean, LadderLoss, squared_mean_difference
    from iqa.training.prompt import Prompt
    from iqa.training.session import Session

    train_data = Ladders(ladders, 10, cut_of(SIZE), seed=2)
    test_data = Evaluation([image for ladder in ladders[:2] for image in ladder], 10, see)
    model, metrics = model or network(), [ImageMean(squared_mean_difference, "mse"), LCC(), SRCC()]
    session = Session(
        model, train_data, test_data, LadderLoss(), metrics, card, run, see=see, settings=settings, options=options
    )
    return Prompt(session)


def main():
    from iqa.training.prompt import open_prompt
    from iqa.training.run_folder import parse_schedule

    folder, run_folder, schedule, resume = (*sys.argv[1:], "", "")[:4]
    prompt = tiny_prompt(make_ladders(folder, scenes=40), run_folder)
    prompt.session.begin(parse_schedule(schedule) if schedule else [], bool(resume))
    open_prompt(prompt, "a tiny network")
    return prompt


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})

"""Train the AVA vanilla model: votes on a photograph, 1-10, from the whole of it.

    python AVA/ava_vanilla.py --images data/ava --schedule original
    python3 -i AVA/ava_vanilla.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)
    python AVA/ava_vanilla.py --images my_pictures --train-labels train.csv --test-labels test.csv --schedule "4@1e-4"

Images are resized to 256x256; the network sees a random 224x224 crop, mirrored or not (NIMA: Talebi, Milanfar 2018). The
schedule above is the original's: one epoch with the backbone frozen, then falling rates.
"""

from iqa.cards import Preprocessing
from iqa.commands.terminal import run
from iqa.commands.train import Experiment, train
from iqa.images.geometry import random_view

# Averaging, where the original took the nearest pixel: that made scores jump from one crop to the next.
GEOMETRY = Preprocessing("resize", 224, "bilinear", training="whole image to 8/7 of the size, random crop, mirrored or not")


def cut(pixels, rng, geometry):
    return random_view(pixels, geometry.size, rng, geometry.interpolation)


def main():
    return train(Experiment(__doc__, "runs/ava_vanilla", "emd_and_moments", GEOMETRY, cut))


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})

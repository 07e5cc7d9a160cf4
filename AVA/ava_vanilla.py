"""Train the AVA vanilla model: votes on a photograph, 1-10, from the whole of it.

    python AVA/ava_vanilla.py --images data/ava --schedule original
    python3 -i AVA/ava_vanilla.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)
    python AVA/ava_vanilla.py --images my_pictures --train-labels train.csv --test-labels test.csv --schedule "4@1e-4"

Images are resized to 256x256; the network sees a random 224x224 crop, mirrored or not (NIMA: Talebi, Milanfar 2018). The
schedule above is the original's: one epoch with the backbone frozen, then falling rates.
"""

from iqa.cards import Sight
from iqa.commands.terminal import run
from iqa.commands.train import train
from iqa.images.geometry import random_patch, resize

SIZE, RESIZED = 224, 256

# Averaging, where the original took the nearest pixel: that made scores jump from one crop to the next.
INTERPOLATION = "bilinear"

GEOMETRY = Sight(
    "resize", SIZE, INTERPOLATION, training=f"whole image to {RESIZED}x{RESIZED}, random crop, mirrored or not"
)


def cut(pixels, rng):
    return random_patch(resize(pixels, RESIZED, INTERPOLATION), SIZE, rng)


def cut_to_score(pixels):
    return resize(pixels, SIZE, INTERPOLATION)


def main():
    return train(__doc__, "runs/ava_vanilla", "emd_and_moments", cut, cut_to_score, GEOMETRY)


if __name__ == "__main__":
    session = run(main)
    globals().update(session.commands() if session else {})

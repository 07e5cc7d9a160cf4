"""Train the AVA patches model: votes on a photograph, 1-10, from 224x224 pixels of it at their own size.

    python AVA/ava_patches.py --images data/ava --schedule original
    python3 -i AVA/ava_patches.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)

The network sees a random patch of the full image, mirrored or not, and is tested on the centre. To the loss of the vanilla
model comes the correlation of the means in the batch. Images smaller than the patch are named and left out.
"""

from iqa.cards import Sight
from iqa.commands.terminal import run
from iqa.commands.train import train
from iqa.images.geometry import centre_patch, random_patch

SIZE = 224

GEOMETRY = Sight("patch", SIZE, training="random patch, mirrored or not")


def cut(pixels, rng):
    return random_patch(pixels, SIZE, rng)


def cut_to_score(pixels):
    return centre_patch(pixels, SIZE)


def main():
    return train(__doc__, "runs/ava_patches", "emd_moments_and_pearson", cut, cut_to_score, GEOMETRY, smallest=SIZE)


if __name__ == "__main__":
    session = run(main)
    globals().update(session.commands() if session else {})

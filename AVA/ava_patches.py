"""Train the AVA patches model: votes on a photograph, 1-10, from 224x224 pixels of it at their own size.

    python AVA/ava_patches.py --images data/ava --schedule original
    python3 -i AVA/ava_patches.py --images data/ava                   # a prompt: pretrain(), then fit(1e-4, 4)

The network sees a random patch of the full image, mirrored or not, and is tested on the centre. To the loss of the vanilla
model this one adds the correlation of the means in the batch. Images smaller than the patch are named and left out.
"""

from iqa.cards import Preprocessing
from iqa.commands.terminal import run
from iqa.commands.train import Experiment, train
from iqa.images.geometry import random_patch

GEOMETRY = Preprocessing("patch", 224, training="random patch, mirrored or not")


def cut(pixels, rng, geometry):
    return random_patch(pixels, geometry.size, rng, geometry.multiple)


def main():
    return train(Experiment(__doc__, "runs/ava_patches", "emd_moments_and_pearson", GEOMETRY, cut))


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})

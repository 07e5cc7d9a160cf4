"""Fitting the head of a regression network alone, on features that are computed once.

What people scored are whole pictures. The backbone sees several patches of a picture, and the head the mean of their
features.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.cards import Head
from iqa.errors import ImageError, LabelError
from iqa.files import printable
from iqa.images.geometry import grid_patches, left_top_patch, random_patches
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LabelledImage
from iqa.models.heads import LEVELS, STANDARDISED, add_head
from iqa.training.losses import LadderLoss

BATCH = 12  # ladders a step

# Patches begin on multiples of this, in fitting and in scoring: on the units of a JPEG with halved chroma, counted from the
# picture's upper left corner, so that the edges of its blocks always fall on the same places of a patch.
MULTIPLE = 16

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Cut = Callable[[Sequence[Pixels], int, np.random.Generator], Pixels]

# --- what the head sees ----------------------------------------------------------------------------------------------


def compute_features(
    backbone: keras.Model, ladders: Sequence[Sequence[LabelledImage]], cut: Cut, seed: int
) -> tuple[list[Sequence[LabelledImage]], Floats, Floats]:
    """What a backbone sees of the patches that `cut` cuts from ladders; those of bad files are left out, and named.

    Returns:
        (ladders, features, scores): those that could be read, float32 (ladders, 5, patches, n) and (ladders, 5).

    Raises:
        LabelError: if none could be read.
    """
    size = backbone.input_shape[1]
    usable: list[Sequence[LabelledImage]] = []
    features: list[Floats] = []
    for number, ladder in enumerate(tqdm(ladders, unit="ladder", file=sys.stderr)):
        try:
            pictures = [_read_named(image.path, size) for image in ladder if image.path]
            patches = cut(pictures, size, np.random.default_rng((seed, number)))
            if features and patches.shape[1] != features[0].shape[1]:
                raise ImageError(f"{ladder[0].path}: its size differs from that of the pictures before it")
        except ImageError as error:
            print(printable(f"ladder left out: {error}"), file=sys.stderr)
            continue
        seen = np.asarray(backbone.predict_on_batch(patches.reshape(-1, *patches.shape[2:])))
        features.append(seen.reshape(*patches.shape[:2], -1))
        usable.append(ladder)
    if not features:
        raise LabelError(f"no ladder of {len(ladders)} can be used")
    return usable, np.stack(features), np.array([[image.mos for image in ladder] for ladder in usable], np.float32)


def _read_named(path: Path, size: int) -> Pixels:
    """`read_image` of pictures large enough for a patch, whose error names the file."""
    try:
        image = read_image(path)
        left_top_patch(image, size)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    return image


def cut_one(pictures: Sequence[Pixels], size: int, rng: np.random.Generator) -> Pixels:
    """A random patch of the pictures of a ladder: uint8 (5, 1, size, size, 3)."""
    return np.stack(random_patches(pictures, size, rng, MULTIPLE))[:, None]


def cut_grid(pictures: Sequence[Pixels], size: int, rng: np.random.Generator) -> Pixels:
    """The grid that covers the pictures of a ladder: uint8 (5, patches, size, size, 3)."""
    return np.stack([grid_patches(picture, size, MULTIPLE) for picture in pictures])


def cut_many(pictures: Sequence[Pixels], size: int, rng: np.random.Generator) -> Pixels:
    """The grid that covers the pictures of a ladder, and as many random patches: uint8 (5, patches, size, size, 3)."""
    grid = cut_grid(pictures, size, rng)
    return np.concatenate([grid, *(cut_one(pictures, size, rng) for _ in range(grid.shape[1]))], axis=1)


def draw_batches(features: Floats, scores: Floats, seed: int) -> Iterator[tuple[Floats, Floats]]:
    """Endless batches of `BATCH` ladders in random order: for each picture the mean features of a half of its patches."""
    rng = np.random.default_rng(seed)
    patches = features.shape[2]
    while True:
        order = rng.permutation(len(features))
        for start in range(0, max(1, len(order) - BATCH + 1), BATCH):
            chosen = order[start : start + BATCH]
            halves = [rng.permutation(patches)[: max(1, patches // 2)] for _ in chosen]
            pairs = zip(chosen, halves, strict=True)
            seen = np.concatenate([features[ladder][:, half].mean(axis=1) for ladder, half in pairs])
            yield seen, scores[chosen].reshape(-1, 1)


# --- fitting ---------------------------------------------------------------------------------------------------------


def with_new_head(model: keras.Model, features: Floats, scores: Floats, dropout: float) -> keras.Model:
    """A network with the backbone of `model` and a new head, which sees several levels and says the mean score at first.

    Args:
        features, scores: of `compute_features`, to learn from: the head standardises what it sees by them.
        dropout: for the head.
    """
    backbone = keras.Model(model.input, model.get_layer("pooling").output)
    new = add_head(backbone, Head("regression", dropout, LEVELS))
    standardised, score = new.get_layer(STANDARDISED), new.get_layer("score")
    everything = features.reshape(-1, features.shape[-1])
    scale, shift, _, _ = standardised.get_weights()
    standardised.set_weights([scale, shift, everything.mean(axis=0), everything.var(axis=0)])
    kernel, bias = score.get_weights()
    score.set_weights([kernel, np.full_like(bias, scores.mean())])
    return new


class HeadFit:
    """The head of a network, from what it sees to the score; its layers are the network's.

    Args:
        model: with a head that sees several levels; its standardisation stays as it is.
        dropout: share of its inputs that the head drops.
    """

    def __init__(self, model: keras.Model, dropout: float) -> None:
        standardised = model.get_layer(STANDARDISED)
        standardised.trainable = False  # its statistics are set once
        self._seen = keras.Input(standardised.input.shape[1:])
        kept = keras.layers.Dropout(dropout)(standardised(self._seen))
        self._score = model.get_layer("score")(model.get_layer("features")(kept))
        self._tasks: dict[str, tuple[keras.Model, Iterator[tuple[Floats, Floats]]]] = {}

    def learn(
        self, name: str, features: Floats, scores: Floats, rate: float, steps: int, ranking: float, seed: int
    ) -> None:
        """Add a set to learn from, with an optimizer of its own, whose rate falls to a hundredth.

        Args:
            name: to print.
            features, scores: of `compute_features`.
            rate: the learning rate.
            steps: that will be taken.
            ranking: weight of the order within ladders.
            seed: of the batches.
        """
        head = keras.Model(self._seen, self._score)
        falling = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
        head.compile(keras.optimizers.Adam(falling), LadderLoss(weight=ranking))
        self._tasks[name] = head, draw_batches(features, scores, seed)

    def fit(self, steps: int) -> None:
        """Take a step with each set in turn, `steps` times, and print how the losses fell."""
        losses: Mapping[str, list[float]] = {name: [] for name in self._tasks}
        for _ in tqdm(range(steps), unit="step", file=sys.stderr):
            for name, (head, batches) in self._tasks.items():
                losses[name].append(float(head.train_on_batch(*next(batches))))
        tenth = max(1, steps // 10)
        for name, noted in losses.items():
            first, last = np.mean(noted[:tenth]), np.mean(noted[-tenth:])
            print(f"{name}: loss {first:.3f} in the first tenth, {last:.3f} in the last")

    def predict(self, features: Floats) -> Floats:
        """The scores of pictures, float32 (N,), from the features of their patches, (N, patches, n)."""
        head = keras.Model(self._seen, self._score)
        return np.asarray(head.predict(features.mean(axis=1), verbose=0), np.float32)[:, 0]

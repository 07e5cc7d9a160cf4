"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Images are decoded by `iqa.images`, the same code that scores them later, in threads: Pillow lets go of Python's lock
while it decodes. The threads are ours and work on the images of one batch; Keras's own, which work on a batch each
(`workers=2`), live on when a `fit` is interrupted.
"""

import functools
import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from iqa.files import written_whole
from iqa.images import ImageError, random_patches, read_image


@functools.cache
def _threads():
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


class Ladders(keras.utils.PyDataset):
    """Batches of whole ladders: the levels of one scene and distortion, cut and mirrored alike.

    What varies within a ladder is then the distortion alone, so that the network cannot explain it by the scene. Order,
    patches and mirroring depend on the seed and the number of the epoch and on nothing else: the same on every run, and
    the same after a resumed one (set `epoch`).

    Args:
        ladders: lists of `LabelledImage`, all of one length.
        batch_size: images a batch; rounded down to whole ladders, at least one.
        patch_size: pixels in a side.
        seed: an integer.
        patches: of each picture, one after the other in the batch and with the same label.

    Yields:
        (pixels, labels): uint8 (N, patch_size, patch_size, 3) and float32 (N, 1).
    """

    def __init__(self, ladders, batch_size, patch_size, seed=0, patches=1, **kwargs):
        super().__init__(**kwargs)
        self.ladders, self.patch_size, self.seed, self.patches = ladders, patch_size, seed, patches
        self.ladders_a_batch = max(1, batch_size // (len(ladders[0]) * patches))
        self.epoch = 0

    def __len__(self):
        # The remainder waits for another epoch: a last batch of one ladder would make a poor correlation.
        return max(1, len(self.ladders) // self.ladders_a_batch)

    def __getitem__(self, index):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.ladders))
        chosen = order[index * self.ladders_a_batch : (index + 1) * self.ladders_a_batch]
        decoded = _threads().map(lambda image: read_image(image.path), [i for n in chosen for i in self.ladders[n]])
        pixels, images = [], []
        for position, number in enumerate(chosen, start=index * self.ladders_a_batch):
            rng = np.random.default_rng((self.seed, self.epoch, position))
            ladder = self.ladders[number]
            pictures = list(itertools.islice(decoded, len(ladder)))
            cuts = [random_patches(pictures, self.patch_size, rng) for _ in range(self.patches)]
            pixels += [cut[level] for level in range(len(ladder)) for cut in cuts]
            images += [image for image in ladder for _ in cuts]
        return np.stack(pixels), labels_of(images)

    def on_epoch_end(self):
        self.epoch += 1


class Photographs(keras.utils.PyDataset):
    """Batches of single images for training, cut and mirrored at random; order and places as in `Ladders`.

    Args:
        images: `LabelledImage` or `RatedImage` with paths.
        batch_size: images a batch; the last of an epoch is smaller.
        cut: function (pixels, rng) -> uint8 (size, size, 3).
        seed: an integer.

    Yields:
        (pixels, labels): uint8 (N, size, size, 3) and float32 (N, 1) or (N, 10).
    """

    def __init__(self, images, batch_size, cut, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.images, self.batch_size, self.cut, self.seed = images, batch_size, cut, seed
        self.epoch = 0

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))
        chosen = range(index * self.batch_size, min((index + 1) * self.batch_size, len(order)))
        images = [self.images[order[position]] for position in chosen]
        rngs = [np.random.default_rng((self.seed, self.epoch, position)) for position in chosen]
        cuts = _threads().map(lambda image, rng: self.cut(read_image(image.path), rng), images, rngs)
        return np.stack(list(cuts)), labels_of(images)

    def on_epoch_end(self):
        self.epoch += 1


class Evaluation(keras.utils.PyDataset):
    """Batches of all images, in the order given and cut by `cut(pixels)`; see `Photographs`.

    Where `cut` gives several patches of a picture, (K, size, size, 3), they come one after the other with the same label.
    """

    def __init__(self, images, batch_size, cut, **kwargs):
        super().__init__(**kwargs)
        self.images, self.batch_size, self.cut = images, batch_size, cut

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        images = self.images[index * self.batch_size : (index + 1) * self.batch_size]
        cuts = np.stack(list(_threads().map(lambda image: self.cut(read_image(image.path)), images)))
        patches = cuts.shape[1] if cuts.ndim == 5 else 1
        return cuts.reshape(-1, *cuts.shape[-3:]), np.repeat(labels_of(images), patches, axis=0)


def labels_of(images):
    """The labels of images as a network's output: float32 (N, 1) of scores or (N, 10) of histograms."""
    return np.array([image.label for image in images], np.float32).reshape(len(images), -1)


def usable(images, smallest=1, memory=None):
    """Decode every image once, in threads, and sort out those that cannot be trained on.

    Args:
        images: with paths, or with None where no file was found.
        smallest: pixels that the shorter side must have.
        memory: a JSON file that remembers the verdict on each file, by its size and time of change.

    Returns:
        (good, refused): a list of images, and a list of (name, reason).
    """
    known = json.loads(Path(memory).read_text()) if memory and Path(memory).exists() else {}

    def verdict(image):
        if image.path is None:
            return None, "there is no such file"
        state = image.path.stat()
        stamp = [str(image.path), state.st_size, state.st_mtime_ns]
        entry = known.get(image.name)
        if not entry or entry["stamp"] != stamp:
            try:
                entry = {"stamp": stamp, "side": min(read_image(image.path).shape[:2]), "reason": None}
            except ImageError as error:
                entry = {"stamp": stamp, "side": 0, "reason": str(error)}
        small = f"{entry['side']} pixels in a side are fewer than the {smallest} needed"
        return entry, entry["reason"] or (small if entry["side"] < smallest else None)

    with ThreadPoolExecutor() as pool:
        verdicts = list(tqdm(pool.map(verdict, images), total=len(images), unit="image", file=sys.stderr))
    if memory:
        with written_whole(memory) as file:
            file.write(json.dumps({i.name: entry for i, (entry, _) in zip(images, verdicts) if entry}).encode())
    good = [image for image, (_, reason) in zip(images, verdicts) if reason is None]
    return good, [(image.name, reason) for image, (_, reason) in zip(images, verdicts) if reason]

"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Images are decoded by `iqa.images.reading`, the same code that scores them later, in threads: Pillow lets go of Python's lock
while it decodes. The threads are ours and work on single images; Keras's own, which work on a batch each (`workers=2`),
live on when a `fit` is interrupted.
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

from iqa.errors import ImageError
from iqa.files import written_whole
from iqa.images.geometry import random_patches
from iqa.images.reading import read_image


@functools.cache
def _threads():
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


class _Batches(keras.utils.PyDataset):
    """Decodes the pictures of a batch in threads, and those of the next one while the network is busy with this one.

    Without the second the threads would wait for the slowest picture of every batch, and for the network.
    """

    seed, epoch = 0, 0
    _last, _ahead, _shuffled = -1, (None, ()), (None, None)

    def _tasks(self, index):
        """What is to be done for the batch `index`: a list of functions without arguments, a picture each."""
        raise NotImplementedError

    def _done(self, index):
        """The results of `_tasks`, in their order."""
        begun_for, tasks = self._ahead
        if begun_for != (self.epoch, index):
            tasks = self._begun(index)
        # Whoever asks for batches in another order, as `fit(shuffle=True)` does, gets nothing decoded in vain.
        in_order, self._last = index in (0, self._last + 1), index
        following = index + 1
        ahead = in_order and following < len(self)
        self._ahead = ((self.epoch, following), self._begun(following)) if ahead else (None, ())
        return [task.result() for task in tasks]

    def _order(self, count):
        """The order of `count` things in this epoch, drawn once: of 250,000 it takes some milliseconds."""
        if self._shuffled[0] != (self.seed, self.epoch):
            order = np.random.default_rng((self.seed, self.epoch)).permutation(count)
            self._shuffled = ((self.seed, self.epoch), order)
        return self._shuffled[1]

    def _begun(self, index):
        return [_threads().submit(task) for task in self._tasks(index)]


class Ladders(_Batches):
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
        multiple: see `iqa.images.reading.random_patches`.

    Yields:
        (pixels, labels): uint8 (N, patch_size, patch_size, 3) and float32 (N, 1).
    """

    def __init__(self, ladders, batch_size, patch_size, seed=0, patches=1, multiple=1, **kwargs):
        super().__init__(**kwargs)
        self.ladders, self.patch_size, self.seed, self.patches = ladders, patch_size, seed, patches
        self.multiple = multiple
        self.ladders_a_batch = max(1, batch_size // (len(ladders[0]) * patches))
        self.epoch = 0

    def __len__(self):
        # The remainder waits for another epoch: a last batch of one ladder would make a poor correlation.
        return max(1, len(self.ladders) // self.ladders_a_batch)

    def _chosen(self, index):
        order = self._order(len(self.ladders))
        return order[index * self.ladders_a_batch : (index + 1) * self.ladders_a_batch]

    def _tasks(self, index):
        images = [image for number in self._chosen(index) for image in self.ladders[number]]
        return [functools.partial(read_image, image.path) for image in images]

    def __getitem__(self, index):
        decoded = iter(self._done(index))
        pixels, images = [], []
        for position, number in enumerate(self._chosen(index), start=index * self.ladders_a_batch):
            rng = np.random.default_rng((self.seed, self.epoch, position))
            ladder = self.ladders[number]
            pictures = list(itertools.islice(decoded, len(ladder)))
            cuts = [random_patches(pictures, self.patch_size, rng, self.multiple) for _ in range(self.patches)]
            pixels += [cut[level] for level in range(len(ladder)) for cut in cuts]
            images += [image for image in ladder for _ in cuts]
        return np.stack(pixels), labels_of(images)

    def on_epoch_end(self):
        self.epoch += 1


class Photographs(_Batches):
    """Batches of single images for training, cut and mirrored at random; order and places as in `Ladders`.

    Args:
        images: `LabelledImage` or `RatedImage` with paths.
        batch_size: images a batch; the last of an epoch is smaller.
        cut: function (pixels, rng) -> uint8 (size, size, 3).
        seed: an integer.
        mirrored: every picture is followed by its mirror image, within the same `batch_size`.

    Yields:
        (pixels, labels): uint8 (N, size, size, 3) and float32 (N, 1) or (N, 10).
    """

    def __init__(self, images, batch_size, cut, seed=0, mirrored=False, **kwargs):
        super().__init__(**kwargs)
        self.images, self.cut, self.seed, self.mirrored = images, cut, seed, mirrored
        self.batch_size = max(1, batch_size // 2) if mirrored else batch_size
        self.epoch = 0

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def _chosen(self, index):
        order = self._order(len(self.images))
        start = index * self.batch_size
        return [(place, self.images[order[place]]) for place in range(start, min(start + self.batch_size, len(order)))]

    def _tasks(self, index):
        epoch = self.epoch  # that of now: when the task is done it may be another

        def cut(place, image):
            return self.cut(read_image(image.path), np.random.default_rng((self.seed, epoch, place)))

        return [functools.partial(cut, place, image) for place, image in self._chosen(index)]

    def __getitem__(self, index):
        pixels, labels = np.stack(self._done(index)), labels_of([image for _, image in self._chosen(index)])
        if self.mirrored:
            pairs = np.stack([pixels, pixels[:, :, ::-1]], axis=1)
            pixels, labels = pairs.reshape(-1, *pixels.shape[1:]), np.repeat(labels, 2, axis=0)
        return pixels, labels

    def on_epoch_end(self):
        self.epoch += 1


class Evaluation(_Batches):
    """Batches of all images, in the order given and cut by `cut(pixels)`; see `Photographs`.

    Where `cut` gives several patches of a picture, (K, size, size, 3), they come one after the other with the same label.
    """

    def __init__(self, images, batch_size, cut, **kwargs):
        super().__init__(**kwargs)
        self.images, self.batch_size, self.cut = images, batch_size, cut

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def _chosen(self, index):
        return self.images[index * self.batch_size : (index + 1) * self.batch_size]

    def _tasks(self, index):
        return [functools.partial(self._cut, image) for image in self._chosen(index)]

    def _cut(self, image):
        return self.cut(read_image(image.path))

    def __getitem__(self, index):
        cuts = np.stack(self._done(index))
        patches = cuts.shape[1] if cuts.ndim == 5 else 1
        return cuts.reshape(-1, *cuts.shape[-3:]), np.repeat(labels_of(self._chosen(index)), patches, axis=0)


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

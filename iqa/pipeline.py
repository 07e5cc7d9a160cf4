"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Images are decoded by `iqa.images`, the same code that scores them later, in threads: Pillow lets go of Python's lock
while it decodes.
"""

import keras
import numpy as np

from iqa.images import centre_patch, random_patches, read_image


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

    Yields:
        (pixels, mos): uint8 (N, patch_size, patch_size, 3) and float32 (N, 1).
    """

    def __init__(self, ladders, batch_size, patch_size, seed=0, **kwargs):
        super().__init__(**{"workers": 2, "max_queue_size": 8, **kwargs})
        self.ladders, self.patch_size, self.seed = ladders, patch_size, seed
        self.ladders_a_batch = max(1, batch_size // len(ladders[0]))
        self.epoch = 0

    def __len__(self):
        # The remainder waits for another epoch: a last batch of one ladder would make a poor correlation.
        return max(1, len(self.ladders) // self.ladders_a_batch)

    def __getitem__(self, index):
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.ladders))
        chosen = order[index * self.ladders_a_batch : (index + 1) * self.ladders_a_batch]
        pixels, mos = [], []
        for position, number in enumerate(chosen, start=index * self.ladders_a_batch):
            rng = np.random.default_rng((self.seed, self.epoch, position))
            ladder = self.ladders[number]
            pixels += random_patches([read_image(image.path) for image in ladder], self.patch_size, rng)
            mos += [[image.mos] for image in ladder]
        return np.stack(pixels), np.array(mos, np.float32)

    def on_epoch_end(self):
        self.epoch += 1


class CentrePatches(keras.utils.PyDataset):
    """Batches for evaluation: the centre patch of each image, in the order given; see `Ladders` for the arguments."""

    def __init__(self, images, batch_size, patch_size, **kwargs):
        super().__init__(**{"workers": 2, "max_queue_size": 8, **kwargs})
        self.images, self.batch_size, self.patch_size = images, batch_size, patch_size

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, index):
        images = self.images[index * self.batch_size : (index + 1) * self.batch_size]
        pixels = np.stack([centre_patch(read_image(image.path), self.patch_size) for image in images])
        return pixels, np.array([[image.mos] for image in images], np.float32)

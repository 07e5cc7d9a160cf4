"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Grain computes them. Keras fits on Grain's data sets too, but knows no number of steps then and starts workers each epoch.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import keras
import numpy as np

from iqa.errors import ImageError
from iqa.images.reading import read_image
from iqa.training.cache import Ahead, Batch, Cut, Draw, Pictures, Pixels


class Batches(keras.utils.PyDataset):
    """Batches that are computed ahead where they are asked for in order, in worker processes or in threads.

    Order and chance depend on the seed, the epoch and the place alone, with any number of workers.

    Args:
        count, a_batch: numbers that are drawn in an epoch, and in a batch.
        seed: of order and chance; None for all in order.
        whole: leave out the last batch of an epoch if it is smaller.
        workers: processes; 0 for threads.
    """

    epoch = first = 0  # the current epoch, and the batch that it begins at; to be set
    failure: ImageError | None = None  # that ended an epoch: TensorFlow hides it behind an error of its own

    def __init__(
        self, draw: Draw, count: int, a_batch: int, seed: int | None = None, whole: bool = False, workers: int = 0
    ) -> None:
        super().__init__()
        order, chance = (int(word) for word in np.random.SeedSequence(seed or 0).generate_state(2))
        numbers = grain.MapDataset.range(count)
        numbers = numbers if seed is None else numbers.shuffle(seed=order)
        batches = numbers.batch(min(count, a_batch), drop_remainder=whole).random_map(draw, seed=chance)
        # `steps` are those of a whole epoch.
        self.steps, self._epochs, self.data_workers = len(batches), batches.repeat(), workers
        self._ahead: Ahead | None = None
        self._alone: deque[tuple[int, Batch]] = deque(maxlen=2)
        self._lock = threading.Lock()  # Keras's thread lives on for a batch where a fit is interrupted

    def __len__(self) -> int:
        return self.steps - self.first

    def __getitem__(self, index: int) -> Batch:
        try:
            with self._lock:
                return self._batch(self.epoch * self.steps + self.first + index)
        except ImageError as error:
            self.failure = error
            self.close()
            raise

    def _batch(self, place: int) -> Batch:
        known = dict(self._alone)  # of the first two: Keras asks twice for them, and maybe of another epoch first
        if list(known) == [place - 2, place - 1] and not (self._ahead and self._ahead.place == place):
            self.close()
            self._ahead = Ahead(self._epochs, place, self.data_workers)
        if self._ahead and self._ahead.place == place:
            pixels, labels = next(self._ahead)
            # Copied out of the memory that a worker shares: Grain may miss to give that back at the end of the program.
            return (np.array(pixels), np.array(labels)) if self.data_workers else (pixels, labels)
        if place not in known:
            self._alone.append((place, self._epochs[place]))
        return dict(self._alone)[place]

    def close(self) -> None:
        """End the worker processes; they start again when they are needed."""
        if self._ahead:
            self._ahead.close()
        self._ahead = None

    def on_epoch_end(self) -> None:
        self.epoch += 1


@contextlib.contextmanager
def naming_broken_images(*datasets: Any) -> Iterator[None]:
    """Raise the `ImageError` that names the file instead of the error that TensorFlow makes of it."""
    ours = [data for data in datasets if isinstance(data, Batches)]
    for data in ours:
        data.failure = None
    try:
        yield
    except Exception:
        for data in ours:
            if data.failure:
                raise data.failure from None
        raise


class Ladders(Batches):
    """Batches of whole ladders in random order: the levels of one scene and distortion, cut and mirrored alike.

    What varies within a ladder is then the distortion alone. A batch has `batch_size` images or fewer, but one ladder at
    least. What is left in an epoch waits for another: a batch of one ladder would make a poor correlation. See also
    `Photographs`.
    """

    def __init__(
        self, ladders: Sequence[Sequence[Any]], batch_size: int, cut: Cut, seed: int = 0, patches: int = 1, workers: int = 0
    ) -> None:
        levels, pictures = len(ladders[0]), Pictures([image for ladder in ladders for image in ladder])
        a_batch = max(1, batch_size // (levels * patches))
        super().__init__(Draw(pictures, cut, levels, patches), len(ladders), a_batch, seed, True, workers)


class Photographs(Batches):
    """Batches of single images in random order, cut at random: uint8 (N, size, size, 3), and labels float32 (N, 1) or (N,
    10).

    Args:
        batch_size: images a batch; the last of an epoch is smaller.
        cut: function (pixels, rng) -> uint8 (size, size, 3).
        patches: cuts of each picture, one after the other and with the same label, all within `batch_size`.
        read: what comes before chance, (path) -> the pixels that are cut; `Resized` for a model of whole pictures.
        cache, cache_size: a folder in which what was read is kept, and how many GB at most; see `Pictures.keep`.
    """

    def __init__(
        self,
        images: Sequence[Any],
        batch_size: int,
        cut: Cut,
        seed: int = 0,
        patches: int = 1,
        read: Callable[[Path], Pixels] = read_image,
        workers: int = 0,
        cache: Path | None = None,
        cache_size: float | None = None,
    ) -> None:
        pictures = Pictures(images, read)
        if cache and pictures.keep(cache, cache_size, workers):
            workers = 0  # to copy a picture is quicker than to send it to another process
        a_batch = max(1, batch_size // patches)
        super().__init__(Draw(pictures, cut, 1, patches), len(images), a_batch, seed, workers=workers)


class Evaluation(Batches):
    """Batches of all images in the order given, each as all patches of `see`: (path) -> uint8 (K, size, size, 3)."""

    def __init__(self, images: Sequence[Any], batch_size: int, see: Callable[[Path], Pixels], workers: int = 0) -> None:
        self.images = images
        super().__init__(Draw(Pictures(images, see)), len(images), batch_size, workers=workers)

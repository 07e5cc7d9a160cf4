"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Grain computes them: order and chance depend on the seed, the epoch and the place alone, so that any batch can be computed
alone, and all are the same with any number of worker processes. Images are decoded by `iqa.images`, as scoring does it.
Keras would fit on Grain's own data sets too, but without knowing how many steps an epoch has, and start the processes anew
in each.
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
from numpy.typing import NDArray

from iqa.cards import Preprocessing
from iqa.errors import ImageError
from iqa.images.geometry import random_patch
from iqa.images.reading import read_image
from iqa.training.cache import (
    Batch,
    Cut,
    CutLadder,
    CutPhotograph,
    Labelled,
    Pictures,
    Pixels,
    SeePicture,
    iterate,
    join,
    labels_of,
)
from iqa.training.devices import check_division, own_part, place_among_machines

__all__ = ["Batch", "Batches", "Evaluation", "Ladders", "Photographs", "labels_of", "naming_broken_images", "see_at_random"]


class _Stream:
    """Batches that are computed ahead, one after the other; `place` counts them from the first epoch on."""

    def __init__(self, dataset: grain.MapDataset, place: int, workers: int) -> None:
        self.place, self._batches = place, iterate(dataset, place, workers)
        self.close = self._batches.close

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.place += 1
        return batch


class Batches(keras.utils.PyDataset):
    """Batches that are computed ahead while they are asked for in order, in worker processes or in threads.

    Args:
        epochs: the batches of all epochs, one after the other.
        steps: batches in an epoch.
        workers: processes; 0 for threads of this one.

    Attributes:
        epoch: number of the current one; set it to see another.
        failure: the `ImageError` that ended an epoch: TensorFlow hides it behind an error of its own.
    """

    epoch = 0
    failure: ImageError | None = None
    _first = 0

    def __init__(self, epochs: grain.MapDataset, steps: int, workers: int = 0) -> None:
        super().__init__()
        self._epochs, self.steps, self.data_workers = epochs, steps, workers
        self._stream: _Stream | None = None
        self._computed: deque[tuple[int, Batch]] = deque(maxlen=2)  # Keras asks twice for the first two
        self._lock = threading.Lock()  # Keras's thread may live on for a batch when a fit is interrupted

    def __len__(self) -> int:
        return self.steps - self._first

    def __getitem__(self, index: int) -> Batch:
        try:
            with self._lock:
                return own_part(self._batch(self._first + index))
        except ImageError as error:
            self.failure = error
            self.close()
            raise

    def _batch(self, step: int) -> Batch:
        place = self.epoch * self.steps + step
        if self._stream and self._stream.place == place:
            return next(self._stream)
        for computed, batch in self._computed:
            if computed == place:
                return batch
        # The third in a row: from here on they are computed ahead. The first ones Keras only looks at, maybe.
        if len(self._computed) == 2 and [computed for computed, _ in self._computed] == [place - 2, place - 1]:
            self.close()
            self._stream = _Stream(self._epochs, place, self.data_workers)
            return next(self._stream)
        batch = self._epochs[place]
        self._computed.append((place, batch))
        return batch

    def close(self) -> None:
        """End the worker processes; they start again when they are needed."""
        if self._stream:
            self._stream.close()
        self._stream = None

    def check_division(self) -> None:
        """Make sure that all batches can be split among the devices of all machines.

        Raises:
            UsageError: if one cannot.
        """
        for index in (0, self.steps - 1):
            check_division(len(self._epochs[index][0]), place_among_machines()[2])

    @contextlib.contextmanager
    def beginning_at(self, step: int) -> Iterator[None]:
        """A context in which an epoch begins at batch `step`, to finish one that was stopped there."""
        self._first = step
        try:
            yield
        finally:
            self._first = 0

    def on_epoch_end(self) -> None:
        self.epoch += 1


@contextlib.contextmanager
def naming_broken_images(*datasets: Any) -> Iterator[None]:
    """Raise the `ImageError` that names the file instead of the error that TensorFlow makes of it."""
    for data in datasets:
        if isinstance(data, Batches):
            data.failure = None
    try:
        yield
    except Exception:
        for data in datasets:
            if getattr(data, "failure", None):
                raise data.failure from None
        raise


def _draw(cut: Callable[[int, np.random.Generator], Batch], count: int, a_batch: int, seed: int, whole: bool) -> Any:
    """All epochs of batches of `count` numbers in random order; `whole` drops the smaller last batch of an epoch."""
    order, chance = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
    drawn = grain.MapDataset.range(count).shuffle(seed=order).random_map(cut, seed=chance)
    return drawn.batch(a_batch, drop_remainder=whole, batch_fn=join).repeat()


class Ladders(Batches):
    """Batches of whole ladders: the levels of one scene and distortion, cut and mirrored alike.

    What varies within a ladder is then the distortion alone, so that the network cannot explain it by the scene.

    Args:
        ladders: lists of `LabelledImage`, all of one length.
        batch_size: images a batch; rounded down to whole ladders, at least one. The remainder of an epoch waits for
            another one: a last batch of one ladder would make a poor correlation.
        patch_size: pixels in a side.
        seed: an integer.
        patches: of each picture, one after the other in the batch and with the same label.
        multiple: see `iqa.images.geometry.random_patches`.
        workers: see `Batches`.

    Yields:
        (pixels, labels): uint8 (N, patch_size, patch_size, 3) and float32 (N, 1).
    """

    def __init__(
        self,
        ladders: Sequence[Sequence[Labelled]],
        batch_size: int,
        patch_size: int,
        seed: int = 0,
        patches: int = 1,
        multiple: int = 1,
        workers: int = 0,
    ) -> None:
        self.ladders, self.seed, levels = ladders, seed, len(ladders[0])
        pictures = Pictures([image for ladder in ladders for image in ladder])
        a_batch = min(len(ladders), max(1, batch_size // (levels * patches)))
        drawn = _draw(CutLadder(pictures, levels, patch_size, patches, multiple), len(ladders), a_batch, seed, whole=True)
        super().__init__(drawn, len(ladders) // a_batch, workers)


class Photographs(Batches):
    """Batches of single images for training, in random order, cut at random.

    Args:
        images: with paths.
        batch_size: images a batch; the last of an epoch is smaller.
        cut: function (pixels, rng) -> uint8 (size, size, 3).
        seed: an integer.
        mirrored: every picture is followed by its mirror image, within the same `batch_size`.
        patches: cuts of each picture, one after the other in the batch and with the same label, within the same
            `batch_size`.
        read: what comes before chance, (path) -> the pixels that are cut; `Resized` for a model of whole pictures.
        workers: see `Batches`.
        cache, cache_size: a folder in which what was read is kept, and how many GB at most; see `Pictures.keep`.

    Yields:
        (pixels, labels): uint8 (N, size, size, 3) and float32 (N, 1) or (N, 10).
    """

    def __init__(
        self,
        images: Sequence[Labelled],
        batch_size: int,
        cut: Cut,
        seed: int = 0,
        mirrored: bool = False,
        patches: int = 1,
        read: Callable[[Path], Pixels] = read_image,
        workers: int = 0,
        cache: Path | None = None,
        cache_size: float | None = None,
    ) -> None:
        self.images, self.seed, pictures = images, seed, Pictures(images, read)
        if cache:
            # To copy what is decoded is quicker than to send it from one process to another.
            workers = 0 if pictures.keep(cache, cache_size, workers) else workers
        a_batch = max(1, batch_size // (patches * (2 if mirrored else 1)))
        drawn = _draw(CutPhotograph(pictures, cut, patches, mirrored), len(images), a_batch, seed, whole=False)
        super().__init__(drawn, -(-len(images) // a_batch), workers)


class Evaluation(Batches):
    """Batches of all images, in the order given.

    Args:
        images, batch_size, workers: see `Photographs`.
        see: function (path) -> the patches that the network sees of a picture, uint8 (K, size, size, 3), such as
            `Geometry.patches`. They come one after the other with the same label.
    """

    def __init__(
        self, images: Sequence[Labelled], batch_size: int, see: Callable[[Path], Pixels], workers: int = 0
    ) -> None:
        self.images = images
        seen = grain.MapDataset.range(len(images)).map(SeePicture(Pictures(images, see)))
        super().__init__(seen.batch(batch_size, batch_fn=join).repeat(), -(-len(images) // batch_size), workers)


def see_at_random(preprocessing: Preprocessing, patches: int) -> Callable[[Path], NDArray[np.uint8]]:
    """A function for `Evaluation`: (path) -> random patches, always in the same places, uint8 (patches, size, size, 3)."""

    def see(path: Path) -> NDArray[np.uint8]:
        picture, rng = read_image(path), np.random.default_rng(0)
        return np.stack([random_patch(picture, preprocessing.size, rng, preprocessing.multiple) for _ in range(patches)])

    return see

"""Labels + geometry -> training batches, as `keras.utils.PyDataset`, which every backend of Keras can fit on.

Images are decoded by `iqa.images.reading`, the code that scores them later, in threads: Pillow releases Python's lock while
it decodes. The threads are ours and work on single images; Keras's own, which work on a batch each (`workers=2`), live on
when a `fit` is interrupted.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.cards import Preprocessing
from iqa.environment import processors
from iqa.errors import ImageError
from iqa.images.geometry import random_patch, random_patches
from iqa.images.reading import read_image

Batch = tuple[NDArray[Any], NDArray[np.float32]]
Task = Callable[[], NDArray[np.uint8]]


class Labelled(Protocol):
    """What a batch is made of: `LabelledImage`, `RatedImage` or `ScoredImage`, with its file."""

    @property
    def path(self) -> Path | None: ...

    @property
    def label(self) -> Any: ...


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(processors(), thread_name_prefix="decode")


class Batches(keras.utils.PyDataset):
    """Decodes the pictures of a batch in threads, and those of the next one while the network is busy with this one.

    Without the second the threads would wait for the slowest picture of every batch, and for the network.

    Attributes:
        seed, epoch: order and chance depend on them and on nothing else.
        failure: the `ImageError` that ended an epoch: TensorFlow hides it behind an error of its own.
    """

    seed, epoch = 0, 0
    failure: ImageError | None = None
    _first, _last = 0, -1
    _ahead: tuple[tuple[int, int] | None, list[Future]] = (None, [])
    _shuffled: tuple[tuple[int, int] | None, NDArray[np.int64]] = (None, np.empty(0, np.int64))

    @property
    def steps(self) -> int:
        """Batches in a whole epoch."""
        raise NotImplementedError

    def _tasks(self, index: int) -> list[Task]:
        """The work for batch `index`: a function without arguments for each picture."""
        raise NotImplementedError

    def _batch(self, index: int) -> Batch:
        raise NotImplementedError

    def __len__(self) -> int:
        return self.steps - self._first

    def __getitem__(self, index: int) -> Batch:
        return self._batch(self._first + index)

    @contextlib.contextmanager
    def beginning_at(self, step: int) -> Iterator[None]:
        """A context in which an epoch begins at batch `step`, to finish one that was stopped there."""
        self._first = step
        try:
            yield
        finally:
            self._first = 0

    def _results(self, index: int) -> list[NDArray[np.uint8]]:
        """The results of `_tasks`, in their order."""
        begun_for, tasks = self._ahead
        if begun_for != (self.epoch, index):
            tasks = self._begin(index)
        # If batches are asked for in another order, as `fit(shuffle=True)` does, nothing is decoded in vain.
        in_order, self._last = index in (0, self._first, self._last + 1), index
        following = index + 1
        ahead = in_order and following < self.steps
        self._ahead = ((self.epoch, following), self._begin(following)) if ahead else (None, [])
        try:
            return [task.result() for task in tasks]
        except ImageError as error:
            self.failure = error
            raise

    def _order(self, count: int) -> NDArray[np.int64]:
        """The order of `count` things in this epoch, drawn once: of 250,000 it takes some milliseconds."""
        if self._shuffled[0] != (self.seed, self.epoch):
            order = np.random.default_rng((self.seed, self.epoch)).permutation(count)
            self._shuffled = ((self.seed, self.epoch), order)
        return self._shuffled[1]

    def _begin(self, index: int) -> list[Future]:
        return [_threads().submit(task) for task in self._tasks(index)]

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


def run_naming(path: Path | None, work: Callable[..., NDArray[np.uint8]], *arguments: Any) -> NDArray[np.uint8]:
    """The result of `work(path, *arguments)`; an `ImageError` gets the name of the file."""
    try:
        return work(path, *arguments)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


class Ladders(Batches):
    """Batches of whole ladders: the levels of one scene and distortion, cut and mirrored alike.

    What varies within a ladder is then the distortion alone, so that the network cannot explain it by the scene. Order,
    patches and mirroring depend only on the seed and the number of the epoch, so a resumed run (set `epoch`) sees the same.

    Args:
        ladders: lists of `LabelledImage`, all of one length.
        batch_size: images a batch; rounded down to whole ladders, at least one.
        patch_size: pixels in a side.
        seed: an integer.
        patches: of each picture, one after the other in the batch and with the same label.
        multiple: see `iqa.images.geometry.random_patches`.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ladders, self.patch_size, self.seed, self.patches = ladders, patch_size, seed, patches
        self.multiple = multiple
        self.ladders_a_batch = max(1, batch_size // (len(ladders[0]) * patches))

    @property
    def steps(self) -> int:
        # The remainder waits for another epoch: a last batch of one ladder would make a poor correlation.
        return max(1, len(self.ladders) // self.ladders_a_batch)

    def _choose(self, index: int) -> NDArray[np.int64]:
        order = self._order(len(self.ladders))
        return order[index * self.ladders_a_batch : (index + 1) * self.ladders_a_batch]

    def _tasks(self, index: int) -> list[Task]:
        images = [image for number in self._choose(index) for image in self.ladders[number]]
        return [functools.partial(run_naming, image.path, read_image) for image in images]

    def _cut(self, images: Sequence[Labelled], pictures: list[NDArray[np.uint8]], rng: np.random.Generator) -> list[list]:
        """The patches of a ladder: for each of `patches` a list of one a level."""
        try:
            return [random_patches(pictures, self.patch_size, rng, self.multiple) for _ in range(self.patches)]
        except ImageError as error:
            small = min(zip(images, pictures, strict=True), key=lambda pair: min(pair[1].shape[:2]))[0]
            self.failure = ImageError(f"{small.path}: {error}")
            raise self.failure from None

    def _batch(self, index: int) -> Batch:
        decoded = iter(self._results(index))
        pixels, images = [], []
        for position, number in enumerate(self._choose(index), start=index * self.ladders_a_batch):
            rng = np.random.default_rng((self.seed, self.epoch, position))
            ladder = self.ladders[number]
            cuts = self._cut(ladder, list(itertools.islice(decoded, len(ladder))), rng)
            pixels += [cut[level] for level in range(len(ladder)) for cut in cuts]
            images += [image for image in ladder for _ in cuts]
        return np.stack(pixels), labels_of(images)


class Photographs(Batches):
    """Batches of single images for training, cut and mirrored at random; order and places as in `Ladders`.

    Args:
        images: with paths.
        batch_size: images a batch; the last of an epoch is smaller.
        cut: function (pixels, rng) -> uint8 (size, size, 3).
        seed: an integer.
        mirrored: every picture is followed by its mirror image, within the same `batch_size`.
        patches: cuts of each picture, one after the other in the batch and with the same label, within the same
            `batch_size`.

    Yields:
        (pixels, labels): uint8 (N, size, size, 3) and float32 (N, 1) or (N, 10).
    """

    def __init__(
        self,
        images: Sequence[Labelled],
        batch_size: int,
        cut: Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]],
        seed: int = 0,
        mirrored: bool = False,
        patches: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images, self.cut, self.seed, self.mirrored, self.patches = images, cut, seed, mirrored, patches
        self.batch_size = max(1, batch_size // (patches * (2 if mirrored else 1)))

    @property
    def steps(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def _choose(self, index: int) -> list[tuple[int, Labelled]]:
        order = self._order(len(self.images))
        start = index * self.batch_size
        return [(place, self.images[order[place]]) for place in range(start, min(start + self.batch_size, len(order)))]

    def _tasks(self, index: int) -> list[Task]:
        epoch = self.epoch  # the current one: when the task runs it may be another

        def cut(path: Path, place: int) -> NDArray[np.uint8]:
            picture, rng = read_image(path), np.random.default_rng((self.seed, epoch, place))
            return np.stack([self.cut(picture, rng) for _ in range(self.patches)])

        return [functools.partial(run_naming, image.path, cut, place) for place, image in self._choose(index)]

    def _batch(self, index: int) -> Batch:
        pixels, labels = np.concatenate(self._results(index)), labels_of([image for _, image in self._choose(index)])
        labels = np.repeat(labels, self.patches, axis=0)
        if self.mirrored:
            pairs = np.stack([pixels, pixels[:, :, ::-1]], axis=1)
            pixels, labels = pairs.reshape(-1, *pixels.shape[1:]), np.repeat(labels, 2, axis=0)
        return pixels, labels


class Evaluation(Batches):
    """Batches of all images, in the order given.

    Args:
        images, batch_size: see `Photographs`.
        see: function (path) -> the patches that the network sees of a picture, uint8 (K, size, size, 3), such as
            `Geometry.patches`. They come one after the other with the same label.
    """

    def __init__(
        self, images: Sequence[Labelled], batch_size: int, see: Callable[[Path], NDArray[np.uint8]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.images, self.batch_size, self.see = images, batch_size, see

    @property
    def steps(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def _choose(self, index: int) -> Sequence[Labelled]:
        return self.images[index * self.batch_size : (index + 1) * self.batch_size]

    def _tasks(self, index: int) -> list[Task]:
        return [functools.partial(run_naming, image.path, self.see) for image in self._choose(index)]

    def _batch(self, index: int) -> Batch:
        seen = np.stack(self._results(index))
        return seen.reshape(-1, *seen.shape[2:]), np.repeat(labels_of(self._choose(index)), seen.shape[1], axis=0)


def see_at_random(preprocessing: Preprocessing, patches: int) -> Callable[[Path], NDArray[np.uint8]]:
    """A function for `Evaluation`: (path) -> random patches, always in the same places, uint8 (patches, size, size, 3)."""

    def see(path: Path) -> NDArray[np.uint8]:
        picture, rng = read_image(path), np.random.default_rng(0)
        return np.stack([random_patch(picture, preprocessing.size, rng, preprocessing.multiple) for _ in range(patches)])

    return see


def labels_of(images: Sequence[Labelled]) -> NDArray[np.float32]:
    """The labels of images as a network's output: float32 (N, 1) of scores or (N, 10) of histograms."""
    return np.array([image.label for image in images], np.float32).reshape(len(images), -1)

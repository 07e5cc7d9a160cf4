"""A training set's pictures as arrays, decoded or out of a cache, and what is cut of them. Loads without Keras.

Worker processes import this module and not Keras: one takes 0.1 GB instead of 0.6 GB.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

import grain
import numpy as np
import PIL
from absl.flags import FLAGS
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.cards import Preprocessing
from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.files import printable
from iqa.images.geometry import MARGIN, random_patches, read_resized
from iqa.images.reading import read_image

Pixels = NDArray[np.uint8]
Batch = tuple[NDArray[Any], NDArray[np.float32]]
Cut = Callable[[Pixels, np.random.Generator], Pixels]


class Labelled(Protocol):
    """What a batch is made of: `LabelledImage`, `RatedImage` or `ScoredImage`, with its file."""

    @property
    def path(self) -> Path | None: ...

    @property
    def label(self) -> Any: ...


def labels_of(images: Sequence[Labelled]) -> NDArray[np.float32]:
    """The labels of images as a network's output: float32 (N, 1) of scores or (N, 10) of histograms."""
    return np.array([image.label for image in images], np.float32).reshape(len(images), -1)


@dataclass(frozen=True)
class Resized:
    """Reads pictures as scoring does, resized to `size` x `size`: (path) -> uint8 (size, size, 3).

    A large JPEG is decoded at a fraction of its size; see `iqa.images.geometry.read_resized`.
    """

    size: int
    interpolation: str = "bilinear"

    @classmethod
    def before_crop(cls, preprocessing: Preprocessing) -> "Resized":
        """At `MARGIN` times the network's size, for `random_patch` to cut from."""
        return cls(round(MARGIN * preprocessing.size), preprocessing.interpolation or "bilinear")

    def __call__(self, path: Path) -> Pixels:
        return read_resized(path, self.size, self.interpolation)


class Pictures:
    """The pictures of a training set, by number.

    Args:
        images: with paths.
        read: (path) -> what is known of a picture before chance begins, uint8 (H, W, 3) or (K, H, W, 3).

    Raises, when a picture is asked for:
        ImageError: naming the file.
    """

    def __init__(self, images: Sequence[Labelled], read: Callable[[Path], Pixels] = read_image) -> None:
        self.read, self.labels = read, labels_of(images)
        # Arrays, not objects: each worker has a copy, and AVA has 250,000.
        self._paths = np.array([os.fsencode(image.path or "") for image in images])
        self._file: Path | None = None
        self._rows, self._held = np.arange(len(images)), 0

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Pixels:
        row = self._rows[number]
        if row < self._held:
            return self._cached[row]
        return self._decode(number)

    def path(self, number: int) -> Path:
        return Path(os.fsdecode(self._paths[number]))

    def _decode(self, number: int) -> Pixels:
        try:
            return self.read(self.path(number))
        except ImageError as error:
            raise ImageError(f"{self.path(number)}: {error}") from None

    @property
    def _cached(self) -> NDArray[np.uint8]:
        if "_map" not in self.__dict__:
            self._map = np.memmap(self._file, np.uint8, "r", shape=(self._held, *self._shape))
        return self._map

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_map"}

    @property
    def _shape(self) -> tuple[int, int, int]:
        assert isinstance(self.read, Resized)
        return (self.read.size, self.read.size, 3)

    def keep(self, folder: Path, limit: float | None = None, workers: int = 0) -> bool:
        """Decode all pictures once into a memory-mapped file in `folder`; from then on nothing is decoded.

        The file's name holds a hash of the pictures (path, size, time of change), of how they are read and of Pillow's
        version, so that a file of others is not used. If it is there, it is used; a killed call goes on where it stopped.

        Args:
            limit: GB at most; what does not fit is decoded each time.
            workers: processes that decode.

        Returns:
            Whether all of them are in the file.

        Raises:
            UsageError: if pictures are not resized to one size before they are cut, or the disk is too full.
            ImageError: naming a file that cannot be read.
        """
        if not isinstance(self.read, Resized):
            raise UsageError("--cache keeps whole pictures of one size: a model of patches cuts them from the originals")
        each = int(np.prod(self._shape))
        _, first, rows = np.unique(self._paths, return_index=True, return_inverse=True)
        held = len(first) if limit is None else min(len(first), int(limit * 1e9 / each))
        known = hashlib.sha256(f"{self.read} {PIL.__version__} {held}".encode())
        for number in first:
            state = self.path(number).stat()
            known.update(b"%b %d %d\n" % (self._paths[number], state.st_size, state.st_mtime_ns))
        file = folder / f"pixels-{known.hexdigest()[:16]}.u8"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):  # another run that wants the same waits
            if not file.exists():
                self._fill(file, first[:held], each, workers)
        self._file, self._held, self._rows = file, held, rows.ravel()
        return held == len(first)

    def _fill(self, file: Path, numbers: NDArray[np.int64], each: int, workers: int) -> None:
        partial = file.with_suffix(".partial")
        done = partial.stat().st_size // each if partial.exists() else 0
        left, free = (len(numbers) - done) * each, shutil.disk_usage(file.parent).free
        print(f"{printable(file)} will have {len(numbers) * each / 1e9:.1f} GB", file=sys.stderr)
        if left > free:
            raise UsageError(f"{file.parent} has {free / 1e9:.1f} GB left: choose a smaller --cache-size")
        pixels = grain.MapDataset.source(numbers[done:]).map(self._decode)
        with open(partial, "ab") as whole:
            whole.truncate(done * each)
            reading = iterate(pixels, 0, workers)
            try:
                for picture in tqdm(reading, "caching", len(numbers), initial=done, unit="image", file=sys.stderr):
                    whole.write(picture.tobytes())
            finally:
                reading.close()
            whole.flush()
            os.fsync(whole.fileno())
        partial.replace(file)


@dataclass(frozen=True)
class CutPhotograph:
    """(number, rng) -> `patches` random cuts of a picture, each followed by its mirror image if `mirrored`, and labels."""

    pictures: Pictures
    cut: Cut
    patches: int
    mirrored: bool

    def __call__(self, number: int, rng: np.random.Generator) -> Batch:
        picture = self.pictures[number]
        cuts = [self.cut(picture, rng) for _ in range(self.patches)]
        if self.mirrored:
            cuts = [side for pixels in cuts for side in (pixels, pixels[:, ::-1])]
        return np.stack(cuts), self.pictures.labels[[number] * len(cuts)]


@dataclass(frozen=True)
class CutLadder:
    """(number, rng) -> random patches of all levels of a ladder, in the same places, and labels; see `Ladders`."""

    pictures: Pictures
    levels: int
    size: int
    patches: int
    multiple: int

    def __call__(self, number: int, rng: np.random.Generator) -> Batch:
        numbers = range(number * self.levels, (number + 1) * self.levels)
        pictures = [self.pictures[each] for each in numbers]
        try:
            cuts = [random_patches(pictures, self.size, rng, self.multiple) for _ in range(self.patches)]
        except ImageError as error:
            small = min(numbers, key=lambda each: min(pictures[each - numbers[0]].shape[:2]))
            raise ImageError(f"{self.pictures.path(small)}: {error}") from None
        pixels = np.stack([cut[level] for level in range(self.levels) for cut in cuts])
        return pixels, np.repeat(self.pictures.labels[numbers], self.patches, axis=0)


@dataclass(frozen=True)
class SeePicture:
    """(number) -> all patches that the network sees of a picture, and its label for each."""

    pictures: Pictures

    def __call__(self, number: int) -> Batch:
        seen = self.pictures[number]
        return seen, self.pictures.labels[[number] * len(seen)]


def join(parts: Sequence[Batch]) -> Batch:
    """One batch of the parts, in their order."""
    pixels, labels = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def iterate(dataset: grain.MapDataset, start: int, workers: int) -> grain.DatasetIterator:
    """The elements of a data set from `start` on, computed ahead by so many processes; with 0 by threads of this one."""
    threads = 1 if workers else processors()
    ahead = dataset[start:].to_iter_dataset(grain.ReadOptions(threads, 2 * threads))
    if not workers:
        return iter(ahead)
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
    # Ctrl-C is for this process, which stops between two steps: its children must not even see it while they start.
    resource_tracker.ensure_running()  # would unblock it
    FLAGS.mark_as_parsed()  # Grain asks for one of them
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        elements = iter(ahead.mp_prefetch(options, worker_init_fn=_end_with_parent))
        elements.start_prefetch()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return elements


def _end_with_parent(*_: int) -> None:
    """In a worker: leave no orphan when the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()

"""A training set's pictures as arrays, decoded or out of a cache, and what is cut of them. It loads without Keras."""

import functools
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
from typing import Any

import grain
import numpy as np
import PIL
from absl.flags import FLAGS
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.files import printable, remove_leftovers, written_whole
from iqa.images.geometry import read_resized
from iqa.images.reading import read_image

Pixels = NDArray[np.uint8]
Batch = tuple[NDArray[Any], NDArray[np.float32]]
Cut = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Resized:
    """Reads a picture resized to `size` x `size`, by the code that scoring uses: (path) -> uint8 (size, size, 3)."""

    size: int
    interpolation: str = "bilinear"

    def __call__(self, path: Path) -> Pixels:
        return read_resized(path, self.size, self.interpolation)


@functools.cache  # of this process: a map cannot be sent to another
def _map(cache: Path, size: int) -> Pixels:
    return np.memmap(cache, np.uint8, "r").reshape(-1, size, size, 3)


class Pictures:
    """The pictures of a training set, by number, and `labels`, float32 (N, 1) or (N, 10); an `ImageError` names the file.

    `images` have `path` and `label`; `read` comes before chance, (path) -> uint8 (H, W, 3) or (K, H, W, 3).
    """

    def __init__(self, images: Sequence[Any], read: Callable[[Path], Pixels] = read_image) -> None:
        self.read, self.labels = read, np.array([image.label for image in images], np.float32).reshape(len(images), -1)
        # Arrays, not objects: each worker has a copy, and AVA has 250,000.
        self._paths = np.array([os.fsencode(image.path or "") for image in images])
        self._rows, self._held, self._cache = np.arange(len(images)), 0, Path()

    def __getitem__(self, number: int) -> Pixels:
        if (row := int(self._rows[number])) >= self._held:
            return self._decode(number)
        return _map(self._cache, self.read.size)[row]  # type: ignore[attr-defined]

    def path(self, number: int) -> Path:
        return Path(os.fsdecode(self._paths[number]))

    def _decode(self, number: int) -> Pixels:
        try:
            return self.read(self.path(number))
        except ImageError as error:
            raise ImageError(f"{self.path(number)}: {error}") from None

    def keep(self, folder: Path, limit: float | None = None, workers: int = 0) -> bool:
        """Decode the pictures, by so many processes, into a file in `folder`, from which they then come.

        Its name holds a hash of the pictures (path, size, time of change), of how they are read and of Pillow's version.
        What is beyond `limit` GB is decoded each time. Returns whether all are kept; raises a `UsageError` if the disk is
        too full.
        """
        assert isinstance(self.read, Resized)
        each = 3 * self.read.size**2
        _, numbers, self._rows = np.unique(self._paths, return_index=True, return_inverse=True)
        held = len(numbers) if limit is None else min(len(numbers), int(limit * 1e9 / each))
        known = hashlib.sha256(f"{self.read} {PIL.__version__}".encode())
        for number in numbers[:held]:
            state = self.path(number).stat()
            known.update(b"%b %d %d\n" % (self._paths[number], state.st_size, state.st_mtime_ns))
        self._cache = folder / f"pixels-{known.hexdigest()[:16]}.u8"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._cache.with_suffix(".lock")):  # another run that wants the same waits
            if held and not self._cache.exists():
                self._fill(numbers[:held], held * each, workers)
        self._held = held
        return held == len(numbers)

    def _fill(self, numbers: NDArray[np.int64], size: int, workers: int) -> None:
        remove_leftovers(self._cache.parent, self._cache.name)
        print(f"{printable(self._cache)} will have {size / 1e9:.1f} GB", file=sys.stderr)
        if (free := shutil.disk_usage(self._cache.parent).free) < size:
            raise UsageError(f"{self._cache.parent} has {free / 1e9:.1f} GB left: choose a smaller --cache-size")
        reading = Ahead(grain.MapDataset.source(numbers).map(self._decode).repeat(), 0, workers)
        with written_whole(self._cache, durable=True) as whole:
            for _ in tqdm(numbers, "caching", unit="image", file=sys.stderr):
                whole.write(next(reading).tobytes())
        reading.close()


@dataclass(frozen=True)
class Draw:
    """(numbers, rng) -> (pixels, labels) of pictures, or of ladders: so many `levels`, cut alike. See `Photographs`.

    Without `cut` it is all that `pictures` hold, (K, size, size, 3) each.
    """

    pictures: Pictures
    cut: Cut | None = None
    levels: int = 1
    patches: int = 1

    def __call__(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        chances, seen, labels = rng.integers(2**63, size=(len(numbers), self.patches)), [], []
        for number, drawn in zip(numbers, chances, strict=True):
            for each in range(number * self.levels, (number + 1) * self.levels):
                pixels = self.pictures[each]
                try:
                    parts = [self.cut(pixels, np.random.default_rng(chance)) for chance in drawn] if self.cut else [*pixels]
                except ImageError as error:
                    raise ImageError(f"{self.pictures.path(each)}: {error}") from None
                seen += parts
                labels += [self.pictures.labels[each]] * len(parts)
        # Pixel by pixel: a mirror image is copied in half of the time that its bytes would take.
        whole = [(part if part.strides[-1] == 1 else np.ascontiguousarray(part)).view("V3") for part in seen]
        return np.stack(whole).view(np.uint8), np.stack(labels)


class Ahead:
    """The elements of a data set from `place` on, computed ahead by so many processes; with 0 by threads of this one."""

    def __init__(self, dataset: grain.MapDataset, place: int, workers: int) -> None:
        self.place, threads = place, 1 if workers else processors()
        elements = dataset[place:].to_iter_dataset(grain.ReadOptions(threads, 2 * threads))
        if workers:
            FLAGS.mark_as_parsed()  # Grain asks for one of them
            resource_tracker.ensure_running()  # which would unblock the signal below
            options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
            elements = elements.mp_prefetch(options, worker_init_fn=_end_with_parent)
        self._elements = iter(elements)

    def close(self) -> None:
        """End the processes. A copy of the batches may hold this too: it must not go on here."""
        self.place = -1
        self._elements.close()

    def __next__(self) -> Any:
        # The first call starts the processes. Ctrl-C is for this one, which stops between two steps, and not for them.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            element = next(self._elements)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.place += 1
        return element


def _end_with_parent(*_: int) -> None:
    parent: Any = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()

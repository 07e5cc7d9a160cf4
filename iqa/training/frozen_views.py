"""What the frozen layers of a network make of four views of each photograph, computed once and kept in a file.

    early, late = split(model, "block_6_project_BN", outputs)
    views = compute_views(early, paths, cut, Path("views.f16"), seed=0)
    late.fit(FrozenViews(views, rows, labels, batch_size=64))

An epoch then costs what the layers behind them cost: it decodes and resizes no picture. The views of a photograph are a
cut, its mirror image, another cut, and the mirror image of that, moved by a row and a column: those that leave it at one
edge are put on at the other.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from iqa.environment import processors
from iqa.errors import ImageError, UsageError
from iqa.files import name_to_text, printable
from iqa.images.reading import read_image
from iqa.training.batches import Batch, Batches
from iqa.training.views_file import appending

VIEWS = 4

_AT_ONCE = 16  # photographs

Pixels = NDArray[np.uint8]
Cut = Callable[[Pixels, np.random.Generator], Pixels]


def split(model: keras.Model, until: str, outputs: Any) -> tuple[keras.Model, keras.Model]:
    """The layers up to `until`, and those behind it.

    Args:
        model: of pixels.
        until: name of the last of the first layers.
        outputs: of the second part, computed from the model's layers.

    Raises:
        UsageError: if the layers behind it also see earlier ones.
    """
    middle = model.get_layer(until).output
    try:
        return keras.Model(model.input, middle), keras.Model(middle, outputs)
    except ValueError:
        raise UsageError(
            f"{until}: layers behind it see earlier ones as well, so that it does not split the network"
        ) from None


def four_views(pixels: Pixels, cut: Cut, rng: np.random.Generator) -> Pixels:
    """The views of a photograph (H, W, 3): uint8 (4, size, size, 3); see the head of this module."""
    first, second = cut(pixels, rng), cut(pixels, rng)
    return np.stack([first, first[:, ::-1], second, np.roll(second[:, ::-1], (1, 1), (0, 1))])


def compute_views(
    early: keras.Model, paths: Sequence[Path], cut: Cut, file: Path, seed: int, about: str = ""
) -> NDArray[np.float16]:
    """What layers make of the views of photographs; a file that holds them already is not made again.

    To resume a run that was killed, repeat the call. Layers that only act in training, such as noise, do nothing.

    Args:
        early: the layers, (N, size, size, 3) -> (N, ...).
        paths: of the photographs.
        cut: what makes a view, at random.
        file: to write.
        seed: of the cuts.
        about: what else the views depend on, such as how `cut` cuts.

    Returns:
        float16 (photographs, 4, ...), in the file.

    Raises:
        ImageError: if a photograph cannot be read.
        OutputError: see `appending`.
    """
    shape = (len(paths), VIEWS, *early.output_shape[1:])
    size = 2 * int(np.prod(shape[1:]))
    origin = {"photographs": _hash(map(_stamp, paths)), "layers": _hash(_parts(early)), "seed": seed, "cut": about}
    with appending(file, origin, size, len(paths)) as (whole, done):
        if done < len(paths):
            print(f"{printable(file)} will have {len(paths) * size / 1e9:.1f} GB", file=sys.stderr)
            for found in _compute(early, paths, cut, seed, done):
                whole.write(found.tobytes())
    views: NDArray[np.float16] = np.memmap(file, np.float16, "r", shape=shape)
    return views


def _compute(early: keras.Model, paths: Sequence[Path], cut: Cut, seed: int, done: int) -> Iterator[NDArray[np.float16]]:
    """Some photographs at a time, while threads decode the next ones."""

    def views_of(number: int) -> Pixels:
        try:
            return four_views(read_image(paths[number]), cut, np.random.default_rng((seed, number)))
        except ImageError as error:
            raise ImageError(f"{paths[number]}: {error}") from None

    bar = tqdm(total=len(paths), initial=done, unit="photograph", file=sys.stderr)
    with ThreadPoolExecutor(processors()) as threads, bar:
        groups = [range(start, min(start + _AT_ONCE, len(paths))) for start in range(done, len(paths), _AT_ONCE)]
        ahead = [threads.submit(views_of, number) for number in groups[0]]
        for group, following in zip(groups, [*groups[1:], ()], strict=True):
            ready, ahead = ahead, [threads.submit(views_of, number) for number in following]
            pixels = np.concatenate([task.result() for task in ready])
            yield np.asarray(keras.ops.convert_to_numpy(early.predict_on_batch(pixels)), np.float16)
            bar.update(len(group))


def _hash(parts: Any) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def _stamp(path: Path) -> bytes:
    """What changes if a photograph is replaced."""
    state = path.stat()
    return f"{name_to_text(path.resolve())} {state.st_size} {state.st_mtime_ns}".encode()


def _parts(model: keras.Model) -> Iterator[bytes]:
    """What makes layers what they are: kinds, shapes, settings but for names, and weights."""
    for layer in model.layers:
        settings = {name: value for name, value in layer.get_config().items() if name not in ("name", "trainable")}
        yield f"{type(layer).__name__} {layer.output.shape} {settings}".encode()
        for weight in layer.get_weights():
            yield np.ascontiguousarray(weight).tobytes()


class FrozenViews(Batches):
    """Batches of views for the layers behind the frozen ones; the order depends on the seed and the epoch alone.

    Args:
        views: of `compute_views`, float16 (photographs, 4, ...).
        rows: integers (N,), which photograph each lesson is about; one that is there twice is seen twice an epoch.
        labels: float32 (N, m).
        batch_size: views a batch; the last of an epoch is smaller.
        seed: an integer.
        mirrored: every view is followed by its mirror image, within the same `batch_size`.

    Yields:
        (activations, labels): float32 (n, ...) and (n, m).
    """

    def __init__(
        self,
        views: NDArray[np.float16],
        rows: NDArray[np.int64],
        labels: NDArray[np.float32],
        batch_size: int,
        seed: int = 0,
        mirrored: bool = False,
    ) -> None:
        self.views, self.rows, self.labels, self.seed, self.mirrored = views, rows, labels, seed, mirrored
        super().__init__(self._draw, len(rows), max(1, batch_size // (2 if mirrored else 1)), seed)

    def _draw(self, number: int, rng: np.random.Generator) -> Batch:
        first = rng.integers(VIEWS // 2) * 2 if self.mirrored else rng.integers(VIEWS)
        some = slice(first, first + (2 if self.mirrored else 1))
        views = self.views[self.rows[number], some].astype(np.float32)
        return views, self.labels[[number] * len(views)]

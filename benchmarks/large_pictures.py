"""What does the score of a large JPEG cost, compared with decoding it?

    python benchmarks/large_pictures.py PHOTO.jpg
    python benchmarks/large_pictures.py PHOTO.jpg --megapixels 2 12 24 50 --runtime litert

Two JPEGs of each size are made from a photograph: one is tiled with it and its mirror images and has as much detail as it
has, the other is the photograph enlarged, which is smooth and quick to decode. Of each, Pillow decodes all pixels, and so
does simplejpeg if it is installed; the models score it, each alone and both from one `Picture`, decoded once or twice; in
turn, in one process, with one thread for the networks, as a worker of `iqa` does. What counts is the processor time of
all threads, start-up apart, as a multiple of Pillow's.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from iqa.commands.terminal import parser_of, positive, run
from iqa.environment import processors
from iqa.images.picture import Picture
from iqa.images.reading import read_image
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import Scorer

QUALITY = 95  # cameras: 8 to 13 MB at 24 megapixels


def tile(photograph: np.ndarray, width: int, height: int) -> Image.Image:
    """A picture of this size made of a photograph and its mirror images."""
    row = np.concatenate([photograph, photograph[:, ::-1]], axis=1)
    block = np.concatenate([row, row[::-1]])
    times = -(-height // block.shape[0]), -(-width // block.shape[1]), 1
    return Image.fromarray(np.tile(block, times)[:height, :width])


def decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def decode_with_simplejpeg(path: Path) -> None:
    import simplejpeg

    simplejpeg.decode_jpeg(path.read_bytes())


def measure(sides: dict[str, Callable[[Path], object]], path: Path, rounds: int) -> dict[str, float]:
    """The least processor time of each side, in seconds; they take turns, after each has warmed up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.process_time()
            side(path)
            if number:
                times[name].append(time.process_time() - start)
    return {name: min(taken) for name, taken in times.items()}


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--megapixels", type=positive, nargs="+", default=[24])
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--runtime", choices=RUNTIMES, default="auto")
    arguments = parser.parse_args()
    # A worker of `iqa` has one thread for the networks as well.
    technical = Scorer("tid2013_regression", runtime=arguments.runtime, threads=1)
    beauty = Scorer("ava_vanilla", head="histogram", runtime=arguments.runtime, threads=1)

    def score_both(path: Path, once: bool) -> float:
        """The beauty."""
        picture = Picture(path, once)
        technical.score(picture)
        return beauty.score(picture).distribution.mean

    sides: dict[str, Callable[[Path], object]] = {"Pillow decodes": decode}
    if importlib.util.find_spec("simplejpeg"):
        sides["simplejpeg decodes"] = decode_with_simplejpeg
    sides |= {"technical": technical.score, "beauty": beauty.score}
    sides |= {"both, decoded once": partial(score_both, once=True), "both, decoded twice": partial(score_both, once=False)}
    photograph = read_image(arguments.photograph)
    print(f"{technical.network.description}, {processors()} processors")
    for megapixels in arguments.megapixels:
        height = round((megapixels * 1e6 / 1.5) ** 0.5)
        size = round(1.5 * height), height
        with tempfile.TemporaryDirectory() as folder:
            for name, image in (
                ("tiled", tile(photograph, *size)),
                ("enlarged", Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS)),
            ):
                path = Path(folder, f"{name}.jpg")
                image.save(path, quality=QUALITY)
                times = measure(sides, path, arguments.rounds)
                moved = abs(score_both(path, True) - score_both(path, False))
                print(f"\n{size[0]}x{size[1]}, {name}, {path.stat().st_size / 1e6:.1f} MB; beauty differs by {moved:.4f}")
                for side, taken in times.items():
                    print(f"  {side:19s} {1000 * taken:7.0f} ms  {taken / times['Pillow decodes']:5.2f} x")
    return 0


if __name__ == "__main__":
    run(main)

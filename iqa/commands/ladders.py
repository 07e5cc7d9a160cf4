"""What the scripts that make ladders of photographs share: one ladder on the disk, and all of them in processes."""

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from iqa.files import printable, remove_leftovers, written_whole
from iqa.labels.tid2013 import LABELS_NAME

_Task = TypeVar("_Task")


def write_ladder(stem: Path, distortion: int, steps: Iterable[tuple[NDArray[np.uint8], str]]) -> list[str]:
    """Write the images of one ladder, STEM_DISTORTION_STEP.png, from the best to the worst.

    Args:
        stem: folder and beginning of the names.
        distortion: number of TID2013's table.
        steps: (uint8 (H, W, 3), score as it stands in the label file).

    Returns:
        The lines for the label file.
    """
    lines = []
    for step, (image, score) in enumerate(steps, start=1):
        file = stem.with_name(f"{stem.name}_{distortion:02d}_{step}.png")
        with written_whole(file) as stream:
            Image.fromarray(np.ascontiguousarray(image)).save(stream, "png", compress_level=1)
        lines.append(f"{score} {file.name}\n")
    return lines


def make_ladders(
    make: Callable[[_Task], list[str] | str], tasks: Sequence[_Task], photographs: int, out: Path, workers: int
) -> int:
    """Make ladders in processes, and the label file of those that could be made; say what was left out.

    Args:
        make: function (task) that writes a ladder and returns its lines, or the reason why its photograph cannot be used.
        photographs: how many there are, to say so.
        out: folder to write to.
        workers: processes.

    Returns:
        The exit code: 1 if photographs were left out.
    """
    remove_leftovers(out)  # half-written images of a run that was killed, under their final names
    lines: list[str] = []
    refused: set[str] = set()
    with ProcessPoolExecutor(workers) as pool:
        for result in tqdm(pool.map(make, tasks), total=len(tasks), unit="ladder", file=sys.stderr):
            if isinstance(result, str):
                refused.add(result)
            else:
                lines += result
    with written_whole(out / LABELS_NAME) as file:
        file.write("".join(lines).encode())
    for reason in sorted(refused):
        print(printable(f"left out: {reason}"), file=sys.stderr)
    made = f"{len(lines)} images of {photographs} photographs"
    print(f"{made} in {printable(out)}, {len(refused)} photographs left out")
    return 1 if refused else 0

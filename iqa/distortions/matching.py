"""Distortions as strong as the real images of TID2013 were, one by one, as far as published measures tell.

    metrics = read_metrics("metrics.csv")                       # {"i01_01_1": {"mse": 32.03753, ...}, ...}
    image = match(reference, distortion=10, level=3, error=metrics["i01_10_3"]["mse"], seed=0)

The table has a mean squared error over RGB of every image. Five types follow from a number that is the same for all
pictures, and come out to the pixel. The strength of the others is found by the error, in three ways: by the secant of its
logarithm, by the PSNR that a type aims at itself, and by drawing other places for what falls at random.
"""

import csv
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import numpy as np

from iqa.distortions import table
from iqa.distortions.appearance import BLOCK_SHIFTS, flat_blocks
from iqa.distortions.signal import Pixels, mean_squared_error
from iqa.errors import LabelError

#: Of each image its measures: {"i01_01_1": {"mse": 32.03753, ...}}.
Metrics = dict[str, dict[str, float]]

#: How near an error is to the wanted one: it is found within this share of it where the distortion reaches it at all.
NEAR = 0.015

#: Types of one strength a level, whatever the picture: quantization, JPEG, mean shift, contrast.
FIXED = (7, 10, 16, 17)

#: Types that search a PSNR over RGB themselves.
BY_PSNR = (11, 12, 13, 23, 24)

#: Places that are tried for flat blocks.
DRAWS = 200


def read_metrics(file: str | PathLike[str]) -> Metrics:
    """Measures of TID2013's images, from a table with columns `name` and `mse` and perhaps others.

    Returns:
        The numbers of each image, under its name in lower case without suffix.

    Raises:
        LabelError: naming the file and the line without a name or with something else than numbers.
    """
    metrics: Metrics = {}
    with open(file, newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        if not {"name", "mse"} <= set(rows.fieldnames or ()):
            raise LabelError(f"{file}: no columns name and mse")
        for row in rows:
            name = Path(row.pop("name") or "").stem.lower()
            try:
                numbers = {key: float(value) for key, value in row.items()}
            except (TypeError, ValueError):
                raise LabelError(f"{file}, line {rows.line_num}: not a name and numbers") from None
            if not name or not 0 < numbers["mse"] < 255**2:
                raise LabelError(f"{file}, line {rows.line_num}: not a name and an error above 0")
            metrics[name] = numbers
    return metrics


def match(image: Pixels, distortion: int, level: int, error: float, seed: tuple[int, ...] = (0,)) -> Pixels:
    """One distortion, as strong as a mean squared error over RGB asks; the nearest that it reaches otherwise.

    Args:
        image: uint8 RGB (H, W, 3), at least 48 in a side.
        distortion, level: as for `iqa.distortions.table.distort`; the level says where the search begins.
        error: what to come within 1.5 % of.
        seed: see `iqa.distortions.table.distort`.

    Raises:
        UsageError: for another distortion or level, or an image with a side below 48.
    """
    table.check_size(image)
    chosen, strength = table.find(distortion), table.strength(distortion, level)

    def distort(strength: float, draw: int = 0) -> Pixels:
        return chosen.apply(image, strength, np.random.default_rng((*seed, *([draw] if draw else []))))

    if distortion in FIXED:
        return distort(strength)
    if distortion in BY_PSNR:
        return _by_psnr(image, distort, error)
    if distortion == 15:
        return _by_places(image, level, error, seed)
    if distortion == 18:
        return _by_bisection(image, distort, error, 1.0, -1.5)
    return _by_secant(image, distort, strength, error, draws=6 if distortion == 14 else 1)


def _by_secant(
    image: Pixels, distort: Callable[[float, int], Pixels], usual: float, error: float, draws: int = 1, steps: int = 12
) -> Pixels:
    """Follow the error, which is nearly a power of the strength, from a usual strength; keep the nearest."""
    best: tuple[float, Pixels] | None = None
    for draw in range(draws):
        tried: list[tuple[float, float]] = []  # the logarithms of strengths and of what they are off by
        strength, slope = usual, 1.5
        for _ in range(steps):
            candidate = distort(strength, draw)
            off = float(np.log(max(mean_squared_error(image, candidate), 1e-3) / error))
            if best is None or abs(off) < best[0]:
                best = abs(off), candidate
            if best[0] < NEAR:
                return best[1]
            tried = sorted([*tried, (float(np.log(strength)), off)], key=lambda trial: abs(trial[1]))
            if len(tried) > 1:
                (x, y), (other_x, other_y) = tried[:2]
                found = (y - other_y) / (x - other_x) if x != other_x else 0.0
                slope = float(np.sign(found) * np.clip(abs(found), 0.3, 6)) or slope / 2
            strength = float(np.exp(tried[0][0] - np.clip(tried[0][1] / slope, -1.5, 1.5)))
    assert best
    return best[1]


def _by_bisection(image: Pixels, distort: Callable[[float], Pixels], error: float, weak: float, strong: float) -> Pixels:
    """Halve the range between two strengths, of which the strong one may be the smaller number."""
    best: tuple[float, Pixels] | None = None
    for step in range(18):
        strength = strong if step == 0 else (weak + strong) / 2  # the strongest first: it may not be enough
        candidate = distort(strength)
        found = mean_squared_error(image, candidate)
        if best is None or abs(found - error) < best[0]:
            best = abs(found - error), candidate
        if best[0] < error * 1e-4 or (step == 0 and found < error):
            break
        if step:
            weak, strong = (strength, strong) if found < error else (weak, strength)
    assert best
    return best[1]


def _by_psnr(image: Pixels, distort: Callable[[float, int], Pixels], error: float) -> Pixels:
    """Ask for a PSNR, and for more or less of it as long as what comes is off."""
    wanted = 10 * np.log10(255**2 / error)
    asked, best = wanted, None
    for draw in range(4):
        candidate = distort(float(asked), draw)
        off = 10 * np.log10(255**2 / max(mean_squared_error(image, candidate), 1e-3)) - wanted
        if best is None or abs(off) < best[0]:
            best = abs(off), candidate
        if best[0] < 10 * np.log10(1 + NEAR):
            break
        asked -= float(np.clip(off, -1, 1))
    assert best
    return best[1]


def _by_places(image: Pixels, level: int, error: float, seed: tuple[int, ...]) -> Pixels:
    """Draw places for flat blocks until their colours, changed by about what is usual at the level, give the error."""
    count, usual = 12 - 2 * level, BLOCK_SHIFTS[1][5 - level]
    share = count * 32 * 32 / (image.shape[0] * image.shape[1])
    best: tuple[float, Pixels] | None = None
    for draw in range(DRAWS):
        hidden = mean_squared_error(image, flat_blocks(image, count, 0.0, np.random.default_rng((*seed, draw))))
        shift = np.sqrt(max((error - hidden) / share, 0.0))
        shift = float(np.clip(shift, usual - 10 - 0.1 * usual, usual + 10 + 0.1 * usual))
        candidate = flat_blocks(image, count, max(shift, 0.0), np.random.default_rng((*seed, draw)))
        off = abs(mean_squared_error(image, candidate) / error - 1)
        if best is None or off < best[0]:
            best = off, candidate
        if best[0] < NEAR:
            break
    assert best
    return best[1]

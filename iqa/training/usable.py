"""Which images can be trained on: each is decoded once, before the training, and the bad ones are named and left out."""

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from iqa.environment import processors
from iqa.errors import ImageError
from iqa.files import name_to_text, printable, read_json, write_json
from iqa.images.reading import read_image
from iqa.labels.tid2013 import LabelledImage


def usable_images(images: Sequence[Any], smallest: int, memory: Path) -> list[Any]:
    """The images that can be decoded, with `smallest` pixels in the shorter side; the others are named on stderr.

    The file `memory` remembers the verdict on each file, by its size and time of change.
    """
    try:
        known = read_json(memory, most=1 << 28)
    except (OSError, ValueError):  # the images are decoded again
        known = {}

    def verdict(image: Any) -> tuple[dict[str, Any] | None, str | None]:
        if image.path is None:
            return None, "there is no such file"
        try:
            state = image.path.stat()
        except OSError as error:
            return None, str(error.strerror)
        size_and_time = [state.st_size, state.st_mtime_ns]
        entry = known.get(name_to_text(image.path))
        if entry is None or entry.get("size and time") != size_and_time:
            try:
                entry = {"size and time": size_and_time, "side": min(read_image(image.path).shape[:2]), "reason": None}
            except ImageError as error:
                entry = {"size and time": size_and_time, "side": 0, "reason": str(error)}
        if entry["reason"] or entry["side"] >= smallest:
            return entry, entry["reason"]
        return entry, f"its shorter side has {entry['side']} pixels, and at least {smallest} are needed"

    with ThreadPoolExecutor(processors()) as pool:
        verdicts = list(tqdm(pool.map(verdict, images), total=len(images), unit="image", file=sys.stderr))
    judged = list(zip(images, verdicts, strict=True))
    write_json(memory, known | {name_to_text(str(image.path)): entry for image, (entry, _) in judged if entry})
    good = [image for image, (_, reason) in judged if reason is None]
    for image, (_, reason) in judged:
        if reason:
            print(printable(f"{image.name}: {reason}"), file=sys.stderr)
    if len(good) < len(images):
        print(f"{len(images) - len(good)} of {len(images)} images cannot be used", file=sys.stderr)
    return good


def usable_ladders(groups: Sequence[Sequence[LabelledImage]], smallest: int, memory: Path) -> list[list[LabelledImage]]:
    """The ladders all of whose images can be used; the others are named on stderr."""
    files = {image.path for image in usable_images([image for ladder in groups for image in ladder], smallest, memory)}
    whole = []
    for ladder in groups:
        if all(image.path in files for image in ladder):
            whole.append(list(ladder))
        else:
            print(printable(f"left out, incomplete: {', '.join(image.name for image in ladder)}"), file=sys.stderr)
    return whole


def fingerprint(images: Sequence[Any]) -> str:
    """A text that differs for other images, labels or order: their number and the beginning of a hash."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{printable(image.name)} {image.label!r}\n".encode())
    return f"{len(images)} images {digest.hexdigest()[:12]}"

"""Label files and splits -> ids, paths, labels.

TID2013 labels its images in `mos_with_names.txt`, a line an image: the mean opinion score (0-9), then a name
`iRR_DD_L` of reference, distortion and level. The names there and on disk differ in case and suffix, so that both
are matched without regard to either. A set of one's own in the same form is read by the same code.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

LABELS_NAME = "mos_with_names.txt"
_NAME = re.compile(r"(?P<reference>.+)_(?P<distortion>\d+)_(?P<level>\d+)", re.IGNORECASE)


class LabelError(ValueError):
    """A label file that cannot be read; the message names file, line and reason."""


@dataclass(frozen=True)
class LabelledImage:
    """An image of TID2013: its reference ("i01"), distortion (1-24), level (1-5), score (0-9) and, if found, file."""

    reference: str
    distortion: int
    level: int
    mos: float
    path: Path | None = None

    @property
    def name(self):
        return f"{self.reference}_{self.distortion:02d}_{self.level}"


def read_mos(file):
    """Read `mos_with_names.txt`.

    Returns:
        A list of `LabelledImage` in the order of the file, without paths.

    Raises:
        LabelError: if a line is not `score name`, a score is not within 0-9, or a name stands twice.
    """
    images = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        score, _, name = line.strip().partition(" ")
        match = _NAME.fullmatch(Path(name.strip()).stem)
        try:
            mos = float(score)
        except ValueError:
            mos = float("nan")
        if not match or not 0 <= mos <= 9:
            raise LabelError(f"{file}, line {number}: not a score of 0-9 and a name like i01_02_3: {line.strip()!r}")
        images.append(LabelledImage(match["reference"].lower(), int(match["distortion"]), int(match["level"]), mos))
    seen = set()
    for image in images:
        if image.name in seen:
            raise LabelError(f"{file}: {image.name} stands twice")
        seen.add(image.name)
    return images


def locate(images, folder):
    """Find the file of each image anywhere below `folder`, whatever its case and suffix.

    Returns:
        The images in their order, with the path of each that was found.
    """
    files = {path.stem.lower(): path for path in sorted(Path(folder).rglob("*")) if _NAME.fullmatch(path.stem)}
    return [replace(image, path=files.get(image.name)) for image in images]


def split_by_reference(images, test=("i01", "i02", "i03")):
    """(train, test): the original's split, by scene, so that no scene stands in both."""
    held_out = set(test)
    train = [image for image in images if image.reference not in held_out]
    return train, [image for image in images if image.reference in held_out]


def ladders(images, levels=5):
    """Group images into ladders: one scene, one distortion, `levels` levels in rising order.

    Returns:
        (complete, incomplete): lists of lists of `LabelledImage`.
    """
    groups = {}
    for image in sorted(images, key=lambda image: (image.reference, image.distortion, image.level)):
        groups.setdefault((image.reference, image.distortion), []).append(image)
    complete = [group for group in groups.values() if len(group) == levels]
    return complete, [group for group in groups.values() if len(group) != levels]


def typical_mos(images):
    """The mean score of every distortion and level over the scenes given: what is known without seeing the scene.

    Returns:
        A dict {distortion: float64 array of the scores at levels 1-5}.
    """
    return {
        distortion: np.array(
            [
                np.mean([i.mos for i in images if (i.distortion, i.level) == (distortion, level)])
                for level in range(1, 6)
            ]
        )
        for distortion in sorted({image.distortion for image in images})
    }

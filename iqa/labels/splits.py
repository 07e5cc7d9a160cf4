"""Splits of labelled images into those to train on and those to test on, which keep groups whole.

An image without a group is its own. The same seed and images give the same split, whatever their order.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from iqa.errors import LabelError
from iqa.labels.ratings import RatedImage

#: What the rows to test on are called, where a label file has a split of its own.
TEST_SPLIT = "test"

Images = list[RatedImage]


def check_apart(train: Sequence[RatedImage], test: Sequence[RatedImage]) -> None:
    """Raise `LabelError`, naming some, if images are in both splits."""
    both = sorted({image.name for image in train} & {image.name for image in test})
    if both:
        raise LabelError(f"images in both splits ({len(both)}): {', '.join(both[:5])}{' ...' * (len(both) > 5)}")


def split_by_group(images: Sequence[RatedImage], test_share: float, seed: int) -> tuple[Images, Images]:
    """Split at random into (train, test), both in the order of the images and neither empty.

    About `test_share` of the images, above 0 and below 1, are to test on. Raises a `LabelError` for another share, or if
    the images are all of one group.
    """
    if not 0 < test_share < 1:
        raise LabelError(f"the share to test on must be above 0 and below 1, got {test_share:g}")
    groups = _shuffled_groups(images, seed)
    if len(groups) < 2:
        raise LabelError("images to split must be of two groups or more")
    test: list[str] = []
    count = 0
    for group, size in groups.items():
        # Taken if that brings the number of images nearer to what is wanted and leaves a group to train on.
        if count + size / 2 <= test_share * len(images) and len(test) < len(groups) - 1:
            test.append(group)
            count += size
    return _part(images, test or [min(groups, key=lambda group: groups[group])])


def split_by_name(images: Sequence[RatedImage], test: str = TEST_SPLIT) -> tuple[Images, Images, dict[str, int]]:
    """Split as the groups of the images say, without regard to case: KonIQ-10k's `set` is training, validation or test.

    To test on is the group `test`, to train on all whose name begins with "train". Returns (train, test, {group: number of
    its images} of all others), or raises a `LabelError` if there is nothing to train on or to test on.
    """
    training, testing, others = [], [], Counter[str]()
    for image in images:
        name = (image.group or "").lower()
        if name == test.strip().lower():
            testing.append(image)
        elif name.startswith("train"):
            training.append(image)
        else:
            others[image.group or "(empty)"] += 1
    for found, name in ((training, "train..."), (testing, test)):
        if not found:
            raise LabelError(f"no row says {name} in the column of the splits")
    return training, testing, dict(others)


def split_into_folds(images: Sequence[RatedImage], folds: int, seed: int) -> list[tuple[Images, Images]]:
    """Split at random into folds of about the same size: (train, test) of each; each image is tested on once.

    Raises a `LabelError` if there are fewer groups than folds, or fewer than two folds.
    """
    if folds < 2:
        raise LabelError(f"there must be at least 2 folds, got {folds}")
    groups = _shuffled_groups(images, seed)
    if len(groups) < folds:
        raise LabelError(f"{folds} folds need at least as many groups, and the images are of {len(groups)}")
    parts: list[list[str]] = [[] for _ in range(folds)]
    counts = [0] * folds
    # The largest groups first, each into the fold that is the smallest so far.
    for group in sorted(groups, key=lambda group: -groups[group]):
        smallest = counts.index(min(counts))
        parts[smallest].append(group)
        counts[smallest] += groups[group]
    return [_part(images, part) for part in parts]


def _shuffled_groups(images: Sequence[RatedImage], seed: int) -> dict[str, int]:
    sizes = Counter(map(_group_of, images))
    names = sorted(sizes)
    return {names[index]: sizes[names[index]] for index in np.random.default_rng(seed).permutation(len(names))}


def _part(images: Sequence[RatedImage], test: Collection[str]) -> tuple[Images, Images]:
    chosen = set(test)
    return [i for i in images if _group_of(i) not in chosen], [i for i in images if _group_of(i) in chosen]


def _group_of(image: RatedImage) -> str:
    return f"image {image.name}" if image.group is None else f"group {image.group}"

"""Splits of labelled images into those to train on and those to test on, which keep groups whole.

train, test = split_by_group(images, test_share=0.2, seed=0)
train, test, others = split_by_name(images, "test")
for train, test in split_into_folds(images, folds=5, seed=0): ...
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from iqa.errors import LabelError


class Grouped(Protocol):
    """An image as a split sees it: `RatedImage` or `ScoredImage`."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str | None: ...


AnyImage = TypeVar("AnyImage", bound=Grouped)

#: What the rows to test on are called, where a label file has a split of its own.
TEST_SPLIT = "test"

_Group = tuple[bool, str]


def check_apart(train: Sequence[Grouped], test: Sequence[Grouped]) -> None:
    """Make sure that no image is in both splits.

    Raises:
        LabelError: naming some that are.
    """
    both = sorted({image.name for image in train} & {image.name for image in test})
    if both:
        raise LabelError(f"images in both splits ({len(both)}): {', '.join(both[:5])}{' ...' * (len(both) > 5)}")


def split_by_group(images: Sequence[AnyImage], test_share: float, seed: int) -> tuple[list[AnyImage], list[AnyImage]]:
    """Split at random into (train, test), without tearing groups apart; an image without a group is a group of its own.

    Args:
        test_share: about this share of the images is to test on, above 0 and below 1. Neither split is empty.
        seed: the same seed and images give the same split, whatever the order of the images.

    Returns:
        Both in the order of the images.

    Raises:
        LabelError: if the images are all of one group, or the share is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise LabelError(f"the share to test on must be above 0 and below 1, got {test_share:g}")
    sizes = _count_groups(images)
    if len(sizes) < 2:
        raise LabelError("images to split must be of two groups or more")
    order = _shuffle(sizes, seed)
    wanted, count = test_share * len(images), 0
    test: set[_Group] = set()
    for group in order:
        # Taken if that brings the number of images nearer to what is wanted, and another group is left to train on.
        if count + sizes[group] / 2 <= wanted and len(test) < len(order) - 1:
            test.add(group)
            count += sizes[group]
    return _part(images, test or {min(order, key=lambda group: sizes[group])})


def split_by_name(
    images: Sequence[AnyImage], test: str = TEST_SPLIT
) -> tuple[list[AnyImage], list[AnyImage], dict[str, int]]:
    """Split as the groups of the images say, without regard to case: KonIQ-10k's `set` is training, validation or test.

    Args:
        test: the group to test on. To train on are all whose group begins with "train".

    Returns:
        (train, test, {group: number of its images} of all others), the images in their order.

    Raises:
        LabelError: if there is nothing to train on or to test on.
    """
    wanted = test.strip().lower()
    named = [(image, (image.group or "").lower()) for image in images]
    testing = [image for image, group in named if group == wanted]
    training = [image for image, group in named if group.startswith("train") and group != wanted]
    others = Counter(
        image.group or "(empty)" for image, group in named if group != wanted and not group.startswith("train")
    )
    for found, name in ((training, "train..."), (testing, test)):
        if not found:
            raise LabelError(f"no row says {name} in the column of the splits")
    return training, testing, dict(others)


def split_into_folds(images: Sequence[AnyImage], folds: int, seed: int) -> list[tuple[list[AnyImage], list[AnyImage]]]:
    """Split at random into folds of about the same size: each image is tested on once, and groups stay whole.

    Args:
        folds: at least 2.
        seed: as in `split_by_group`.

    Returns:
        (train, test) of each fold, in the order of the images.

    Raises:
        LabelError: if there are fewer groups than folds, or fewer than two folds.
    """
    if folds < 2:
        raise LabelError(f"there must be at least 2 folds, got {folds}")
    sizes = _count_groups(images)
    if len(sizes) < folds:
        raise LabelError(f"{folds} folds need at least as many groups, and the images are of {len(sizes)}")
    parts: list[set[_Group]] = [set() for _ in range(folds)]
    counts = [0] * folds
    # The largest groups first, each into the fold that is the smallest so far.
    for group in sorted(_shuffle(sizes, seed), key=lambda group: -sizes[group]):
        smallest = counts.index(min(counts))
        parts[smallest].add(group)
        counts[smallest] += sizes[group]
    return [_part(images, part) for part in parts]


def _count_groups(images: Sequence[Grouped]) -> dict[_Group, int]:
    sizes: dict[_Group, int] = {}
    for image in images:
        sizes[_group_of(image)] = sizes.get(_group_of(image), 0) + 1
    return sizes


def _shuffle(sizes: dict[_Group, int], seed: int) -> list[_Group]:
    order = sorted(sizes)
    return [order[index] for index in np.random.default_rng(seed).permutation(len(order))]


def _part(images: Sequence[AnyImage], test: set[_Group]) -> tuple[list[AnyImage], list[AnyImage]]:
    """(images that are not of the groups, images that are)."""
    return (
        [image for image in images if _group_of(image) not in test],
        [image for image in images if _group_of(image) in test],
    )


def _group_of(image: Grouped) -> _Group:
    return (True, image.name) if image.group is None else (False, image.group)

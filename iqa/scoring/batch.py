"""Several pictures at once, each to its own `Prediction`: a broken picture does not stop the others."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from iqa.errors import ImageError
from iqa.images.geometry import warn_if_flat
from iqa.images.pooling import mean_weights
from iqa.labels.opinions import Prediction
from iqa.scoring.runtimes import Network


class Seen(NamedTuple):
    """Patches, uint8 (N, size, size, 3), of a picture with which something is amiss."""

    patches: NDArray[np.uint8]
    warning: str


#: Patches, uint8 (N, size, size, 3), perhaps with a warning; or a prediction that is known already, usually why there are
#: no patches.
View = NDArray[np.uint8] | Seen | Prediction

#: Patches of one picture, uint8 (N, size, size, 3) -> how much each counts, float64 (N,) of sum 1: `Geometry.weights`.
Weigh = Callable[[NDArray[np.uint8]], NDArray[np.float64]]

_Name = TypeVar("_Name")


def look(see: Callable[[Any, list[str]], NDArray[np.uint8]], image: Any) -> View:
    """What a network sees of an image, or a `Prediction` with the reason why it cannot be seen.

    Args:
        see: such as `Geometry.patches`.
        image: what `see` takes.
    """
    notes: list[str] = []
    patches = attempt(lambda image: see(image, notes), image)
    return Seen(patches, "; ".join(notes)) if notes and not isinstance(patches, Prediction) else patches


def attempt(read: Callable[[Any], NDArray[np.uint8]], image: Any) -> NDArray[np.uint8] | Prediction:
    """`read(image)`, or a `Prediction` with the reason why it cannot be read."""
    try:
        return read(image)
    except ImageError as error:
        return Prediction(reason=str(error))
    except MemoryError:
        return Prediction(reason="it needs more memory than there is")


def predict(network: Network, views: Iterable[View], weigh: Weigh = mean_weights) -> Iterator[Prediction]:
    """What a network says of each view. A view that is a `Prediction` already stays as it is.

    The output is the mean over the patches, weighted as `weigh` says, and so are the features and the logits of faults. A
    score is linear in its features, so that it is what the head makes of their mean.
    """
    views = list(views)
    patches = [_patches_of(view) for view in views if not isinstance(view, Prediction)]
    empty: NDArray[np.float32] = np.empty((0, 0), np.float32)
    outputs, features, *faults = network(np.concatenate(patches)) if patches else (empty, empty)
    start = 0
    for view in views:
        if isinstance(view, Prediction):
            yield view
            continue
        seen = _patches_of(view)
        rows = slice(start, start + len(seen))
        start = rows.stop
        weights = weigh(seen)
        output = _average(outputs[rows], weights)
        if np.isfinite(output).all():
            warnings = filter(None, (view.warning if isinstance(view, Seen) else None, warn_if_flat(seen)))
            logits = _average(faults[0][rows], weights) if faults else None
            yield Prediction(output, _average(features[rows], weights), logits, warning="; ".join(warnings) or None)
        else:
            yield Prediction(reason="the model's answer is not a finite number")


def _average(rows: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """The weighted mean of rows, summed in double precision; a single row comes out as it is."""
    return (weights @ rows.astype(np.float64)).astype(np.float32)


def _patches_of(view: NDArray[np.uint8] | Seen) -> NDArray[np.uint8]:
    return view.patches if isinstance(view, Seen) else view


def predict_in_batches(
    network: Network, pairs: Iterable[tuple[_Name, View]], size: int, weigh: Weigh = mean_weights
) -> Iterator[tuple[_Name, Prediction]]:
    """`predict` for any number of (name, view), `size` at a time, in their order."""
    pairs = iter(pairs)
    while batch := list(islice(pairs, size)):
        names, views = zip(*batch, strict=True)
        yield from zip(names, predict(network, views, weigh), strict=True)

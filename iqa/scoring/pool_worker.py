"""The worker's side of `iqa.scoring.pool`: read paths from stdin, look at the pictures, score them, answer."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card
from iqa.images.geometry import Geometry
from iqa.images.reading import thumbnail
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import Seen, attempt, look, predict
from iqa.scoring.pair import open_pair
from iqa.scoring.runtimes import open_network

#: Paths -> for each an array, perhaps with a warning, or a `Prediction` with an output or a reason.
_Answer = Callable[[list[str]], Iterable[NDArray[Any] | Seen | Prediction]]


def serve() -> None:
    """Answer the questions on stdin until it is closed: a line of JSON each, a list of paths."""
    # The answers go out by a descriptor of their own, because whatever prints to stdout would garble them.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    answer = _answers_of(json.loads(sys.argv[2]))
    channel.write(b"ready\n")
    channel.flush()
    for line in sys.stdin.buffer:
        for found in answer(json.loads(line)):
            array = found.output if isinstance(found, Prediction) else found.patches if isinstance(found, Seen) else found
            if array is None:
                assert isinstance(found, Prediction)
                channel.write(json.dumps({"reason": found.reason}).encode() + b"\n")
                continue
            array = np.ascontiguousarray(array)
            head: dict[str, Any] = {"shape": array.shape, "dtype": array.dtype.str}
            if isinstance(found, Prediction | Seen) and found.warning:
                head["warning"] = found.warning
            channel.write(json.dumps(head).encode() + b"\n")
            channel.write(array.data.cast("B"))
        channel.flush()


def _answers_of(recipe: dict[str, Any]) -> _Answer:
    """What a recipe asks for: thumbnails, patches for Keras in the parent, or scores."""
    if "thumbnail" in recipe:
        return functools.partial(map, functools.partial(attempt, functools.partial(thumbnail, side=recipe["thumbnail"])))
    if "pair" in recipe:
        return open_pair(recipe)
    card = Card.from_json(recipe["card"])
    geometry = Geometry.of(card, **recipe["looks"])
    see = functools.partial(look, geometry.patches)
    if recipe["runtime"] == "keras":
        return functools.partial(map, see)
    network = open_network(recipe["runtime"], Path(recipe["weights"]), card, recipe["sha256"], threads=1)
    # First all are decoded, then all are scored: switching between them empties the processor's caches.
    return lambda paths: predict(network, [see(path) for path in paths], geometry.weights)

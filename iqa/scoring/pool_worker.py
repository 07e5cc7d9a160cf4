"""The worker's side of `iqa.scoring.pool`: read paths from stdin, look at the pictures, score them, answer."""

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from iqa.cards import Card
from iqa.images.geometry import Geometry
from iqa.images.thumbnails import thumbnail
from iqa.labels.opinions import Prediction
from iqa.scoring.batch import Seen, attempt, look, predict
from iqa.scoring.messages import Answer, Form, write_answer, write_ready
from iqa.scoring.pair import open_pair
from iqa.scoring.runtimes import open_network

#: Bytes that a worker may take beyond what it has when it is ready: what the largest picture needs that is read at all.
MEMORY = 5 << 29

#: Paths -> for each an array, perhaps with a warning, or a `Prediction` with an output or a reason.
_Look = Callable[[list[str]], Iterable[NDArray[Any] | Seen | Prediction]]


def serve() -> None:
    """Answer the questions on stdin until it is closed: a line of JSON each, a list of paths."""
    # The answers go out by a descriptor of their own, because whatever prints to stdout would garble them.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # There is a worker for each processor. LibRaw's threads would have no other, and each reserves memory.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    recipe = json.loads(sys.argv[2])
    look_at, form = _open(recipe), Form.of(recipe)
    bound_memory(MEMORY)
    write_ready(channel)
    for line in sys.stdin.buffer:
        for found in look_at(json.loads(line)):
            write_answer(channel, _answer_of(found), form)
        channel.flush()


def _answer_of(found: NDArray[Any] | Seen | Prediction) -> Answer:
    if isinstance(found, Prediction):
        return Answer(found.output, found.reason, found.warning)
    return Answer(found.patches, warning=found.warning) if isinstance(found, Seen) else Answer(found)


def _open(recipe: dict[str, Any]) -> _Look:
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


def bound_memory(more: int) -> None:
    """Let this process take at most `more` bytes of address space beyond what it has, where the system can bound it.

    A runtime reserves far more than it uses, so the bound counts from what is there once the network is open. Where it is
    reached, decoders fail with a `MemoryError` or crash, and either costs one picture.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):  # no Linux, or a bound that may not be changed
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bounds = resource.getrlimit(resource.RLIMIT_AS)
        most = [bound for bound in bounds if bound != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([pages * resource.getpagesize() + more, *most]), bounds[1]))

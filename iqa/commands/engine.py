"""The options that say which machines score."""

import argparse
from functools import partial
from typing import Any

from iqa.commands.terminal import Parser, load_quietly
from iqa.scoring.collection import Engine
from iqa.scoring.pool import TIMEOUT


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and `--ray-address`; see `engine_of`."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what scores: the workers of this machine (default), or a Ray cluster, with one for each of its processors",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of the cluster, or auto for the one that runs here (default: RAY_ADDRESS, or one of this machine alone)",
    )


def check_engine(parser: Parser, arguments: argparse.Namespace, resumable: bool) -> None:
    """Refuse options of `add_engine` that do not go together, and a run whose results come in an order of their own.

    Args:
        resumable: whether the run notes its scores in a journal.
    """
    if arguments.ray_address and arguments.engine != "ray":
        parser.error("--ray-address is for --engine ray")
    if arguments.engine == "ray" and not resumable:
        parser.error("--engine ray writes a file: give --out")


def engine_of(arguments: argparse.Namespace, recipe: dict[str, Any]) -> Engine | None:
    """What scores instead of this machine's workers, if anything.

    Args:
        recipe: of what scores, a `Scorer` or a `Pair`.

    Raises:
        RuntimeUnavailable, WorkerError: if Ray is not installed or its cluster cannot be reached.
    """
    if arguments.engine == "local":
        return None
    from iqa.scoring.distributed import connect, score_on_ray

    load_quietly(lambda: connect(arguments.ray_address))
    return partial(score_on_ray, recipe, timeout=arguments.timeout or TIMEOUT)


def takes_urls(arguments: argparse.Namespace) -> bool:
    """Whether pictures may lie on shared storage: not if something is made of their files here."""
    here = ("report", "sort_into", "xmp")
    return arguments.engine == "ray" and not any(getattr(arguments, name, None) for name in here)

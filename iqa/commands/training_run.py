"""How every train script begins: the network from the options, then the schedule or the prompt."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iqa.cards import BACKBONES, Backbone, Card
from iqa.commands.terminal import quiet_start
from iqa.training.schedule import Phase

if TYPE_CHECKING:
    from iqa.training.prompt import Prompt


def start_network(
    arguments: argparse.Namespace, head: str, noise: float, dropout: float, cardless: Card, size: int
) -> tuple[Any, Backbone]:
    """The network that a training begins with, on the devices and with the seed that the options ask for.

    Args:
        arguments: of `iqa.commands.run_options.train_parser`.
        head, noise, dropout, cardless, size: see `iqa.models.networks.network_to_train`.

    Returns:
        (model, facts): a `keras.Model`, and what a card says of its backbone.
    """
    with quiet_start():  # and only now: --help should not wait for TensorFlow
        from iqa.models.networks import network_to_train
        from iqa.training.devices import prepare

        strategy = prepare(arguments.seed, arguments.strategy, arguments.mixed_precision)
    source, network = arguments.backbone or "imagenet", arguments.network or BACKBONES[0]
    with quiet_start(), strategy.scope():
        return network_to_train(head, source, noise, dropout, arguments.weights, cardless, size, network)


def begin(prompt: "Prompt", phases: Sequence[Phase], resume: bool, *facts: str) -> "Prompt":
    """Run the schedule if there is one, or resume the run, and open the prompt; returns it.

    Args:
        facts: lines about the model and the data, for the first screen.
    """
    prompt.session.begin(phases, resume)
    with quiet_start():
        from iqa.training.prompt import open_prompt
    open_prompt(prompt, *facts)
    return prompt

"""Whole networks, a backbone and its head: to train, and to score.

    histograms, features = network_of(card, "weights/ava_vanilla.weights.h5").predict_on_batch(patches)

Patches are uint8 (N, size, size, 3), RGB; `iqa.images.geometry.Geometry` cuts them as the card says.
"""

from dataclasses import replace
from os import PathLike

import keras

from iqa.cards import BACKBONES, Backbone, Card, Head, card_for, card_of, weights_file
from iqa.errors import CardError
from iqa.models.backbones import PATCH_SIZE, build_backbone, build_untrained
from iqa.models.heads import STANDARDISED, add_head
from iqa.models.settings import SettledModel, standard_settings
from iqa.models.weight_files import load_weights


def network_to_train(
    head: str,
    source: str,
    noise: float,
    dropout: float,
    weights: str | PathLike[str] | None = None,
    cardless: Card | None = None,
    size: int = PATCH_SIZE,
    network: str = BACKBONES[0],
    hidden: int = 0,
) -> tuple[keras.Model, Backbone]:
    """A network with the weights that a training begins with: (flat model, what a card says of its backbone).

    Args:
        head, dropout, hidden: see `iqa.cards.Head`.
        source, noise, size, network: see `build_backbone`.
        weights: a file with all weights of the network, or the name of shipped ones. Backbone, levels and hidden layer are
            then those of its card, and `source`, `network` and `hidden` are ignored.
        cardless: see `iqa.cards.card_for`.

    Raises:
        CardError: if there is no such file, its card is missing or broken, it is a network with another head, or the
            network cannot see so few pixels.
        WeightsError: if the weights do not fit the network, or the backbone's cannot be read or downloaded.
    """
    if weights is None:
        backbone, facts = build_backbone(source, noise, size, network)
        return add_head(backbone, Head(head, dropout, hidden=hidden)), facts
    path = weights_file(weights)
    card = card_for(path, cardless)
    if card.head.kind != head:
        raise CardError(f"{path}: the weights of a {card.head.kind} network, but a {head} network is trained here")
    facts = replace(card.backbone, noise=noise)
    model = _build(facts, replace(card.head, dropout=dropout), size, path)
    load_weights(model, path)
    return model, facts


@standard_settings()
def network_of(card: Card, weights: str | PathLike[str]) -> keras.Model:
    """The network of a card with its weights, to score with.

    Returns:
        A model: pixels 0-255, (N, size, size, 3) -> [output, features], which are what the last dense layer sees. If the
        head sees several levels, these come third, standardised. With `flip_averaging`, all are means over the pixels and
        their mirror image.

    Raises:
        CardError: if no network can be built from the card.
        WeightsError: if the weights do not fit the network.
    """
    model = _build(card.backbone, card.head, card.preprocessing.size, weights)
    load_weights(model, weights)
    outputs = [model.output, model.layers[-1].input]
    if card.head.levels:
        outputs.append(model.get_layer(STANDARDISED).output)
    if not card.preprocessing.flip_averaging:
        return SettledModel(model.input, outputs)
    pixels = keras.Input(model.input_shape[1:], name=model.input.name)
    both = keras.Model(model.input, outputs)(keras.ops.concatenate([pixels, keras.ops.flip(pixels, axis=2)], axis=0))
    averages = [keras.ops.mean(keras.ops.reshape(out, (2, -1, out.shape[-1])), axis=0) for out in both]
    return SettledModel(pixels, averages)


def _build(backbone: Backbone, head: Head, size: int, weights: str | PathLike[str]) -> keras.Model:
    try:
        return add_head(build_untrained(backbone, size), head)
    except CardError as error:
        raise CardError(f"{card_of(weights)}: {error}") from None

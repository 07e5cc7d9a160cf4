"""Backbones, heads and weight files. Networks take a second to build: the tests share a few, of small pictures."""

from argparse import Namespace
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from stand_in import enliven

from iqa.cards import (
    AVA_SCALE,
    TID2013_SCALE,
    Backbone,
    Card,
    Head,
    Preprocessing,
    card_of,
    keras2_card,
    read_card,
    sha256,
    shipped_weights,
)
from iqa.commands.train import start_network
from iqa.errors import CardError, OutputError, WeightsError
from iqa.models.backbones import TORCHVISION_CONVENTION, build_backbone, build_untrained
from iqa.models.networks import LEVELS, STANDARDISED, add_head, build_network, network_of
from iqa.models.weight_files import load_weights, save_with_card

SIZE = 64
KERAS_CONVENTION = Backbone("mobilenet_v2", "minus_one_to_one", "keras", batch_norm_epsilon=1e-3)
CARD = Card(replace(KERAS_CONVENTION, noise=0.003), Head("regression", 0.25), Preprocessing("patch", SIZE), TID2013_SCALE)
PICTURES = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)


def predict(model, pixels):
    """As `predict_on_batch`, without the second that Keras takes to trace it."""
    outputs = model(pixels, training=False)
    return [np.asarray(output) for output in outputs] if isinstance(outputs, list) else np.asarray(outputs)


@pytest.fixture(scope="module")
def regression():
    return enliven(add_head(build_untrained(CARD.backbone, CARD.preprocessing.size), CARD.head), PICTURES[:4])


@pytest.fixture(scope="module")
def histogram(regression):
    """A histogram head on the same backbone."""
    backbone = keras.Model(regression.input, regression.get_layer("pooling").output)
    return add_head(backbone, Head("histogram"))


@pytest.fixture(scope="module")
def wide(regression):
    """A network whose head sees several levels, on the same backbone."""
    backbone = keras.Model(regression.input, regression.get_layer("pooling").output)
    return enliven(add_head(backbone, Head("regression", 0.25, LEVELS)), PICTURES[:4])


@pytest.fixture
def no_downloads(monkeypatch):
    build = keras.applications.MobileNetV2

    def offline(weights="imagenet", **options):
        if weights == "imagenet":
            raise Exception("URL fetch failure on\nhttps: no network")
        return build(weights=weights, **options)

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)


# --- backbones ------------------------------------------------------------------------------------------------------


def test_layers_have_the_names_that_keras_applications_gives_them(regression):
    ours = {layer.name for layer in regression.layers}
    theirs = {layer.name for layer in keras.applications.MobileNetV2(weights=None, include_top=False).layers[1:]}
    assert theirs <= ours


def test_padding_and_epsilon_are_those_asked_for():
    model = build_untrained(TORCHVISION_CONVENTION, SIZE)
    pads = [layer for layer in model.layers if isinstance(layer, keras.layers.ZeroPadding2D)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert pads and all(layer.padding == ((1, 1), (1, 1)) for layer in pads)
    assert norms and all(layer.epsilon == 1e-5 for layer in norms)


def test_mobilenet_pads_before_a_stride_as_its_weights_were_trained():
    model = build_untrained(replace(KERAS_CONVENTION, backbone="mobilenet", padding="symmetric"), SIZE)
    assert model.get_layer("conv1_pad").padding == ((1, 1), (1, 1))
    assert model.output_shape == (None, 1024)


def test_a_backbone_that_cannot_be_downloaded_is_named(no_downloads):
    with pytest.raises(WeightsError, match="imagenet: URL fetch failure on https: no network"):
        build_backbone("imagenet", size=SIZE)


def test_the_size_on_the_card_is_the_size_of_the_pictures_and_the_weights_do_not_depend_on_it(regression, tmp_path):
    save_with_card(regression, tmp_path / "small.weights.h5", CARD)
    larger = network_of(replace(CARD, preprocessing=Preprocessing("patch", 160)), tmp_path / "small.weights.h5")
    assert larger.input_shape == (None, 160, 160, 3)
    scores, features = larger.predict_on_batch(np.zeros((2, 160, 160, 3), np.uint8))
    assert scores.shape == (2, 1) and features.shape == (2, 1000)
    for layer in regression.layers:
        for ours, loaded in zip(layer.get_weights(), larger.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, loaded)


# --- heads ----------------------------------------------------------------------------------------------------------


def test_a_head_sees_every_resolution_standardised_and_the_model_stays_flat(wide):
    outputs = [wide.get_layer(level).output for level in LEVELS]
    assert [output.shape[1] for output in outputs] == [SIZE // 2, SIZE // 4, SIZE // 8, SIZE // 16]
    assert wide.get_layer(STANDARDISED).output.shape[-1] == sum(output.shape[-1] for output in outputs) + 1280
    assert not any(isinstance(layer, keras.Model) for layer in wide.layers)


def test_a_head_of_several_levels_comes_back_from_its_card_and_goes_on_to_train(wide, tmp_path):
    path = tmp_path / "levels.weights.h5"
    save_with_card(wide, path, replace(CARD, head=Head("regression", 0.25, LEVELS)))
    expected = predict(wide, PICTURES[:2])
    scores, features, levels = predict(network_of(read_card(card_of(path)), path), PICTURES[:2])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert (features.shape, levels.shape[1]) == ((2, 1000), wide.get_layer(STANDARDISED).output.shape[-1])
    trained = build_network(replace(CARD.backbone, noise=0.003), Head("regression", 0.25, LEVELS), SIZE, path)
    np.testing.assert_allclose(predict(trained, PICTURES[:2]), expected, atol=1e-5)


def test_a_hidden_layer_stands_before_the_output_and_comes_back_from_the_card(tmp_path):
    card = replace(CARD, preprocessing=Preprocessing("patch", 32), head=Head("regression", 0.25, hidden=64))
    path = tmp_path / "hidden.weights.h5"
    model = add_head(build_backbone("none", 0.003, 32)[0], card.head)
    assert [layer.name for layer in model.layers[-4:]] == ["dropout", "features", "hidden", "score"]
    save_with_card(model, path, card)
    _, features = predict(network_of(read_card(card_of(path)), path), PICTURES[:2, :32, :32])
    assert features.shape == (2, 64) and features.min() >= 0
    assert "hidden" not in CARD.to_json()["head"]


@pytest.mark.parametrize(
    "head, reason",
    [
        (Head("regression", levels=("block_99",)), "no feature maps named 'block_99'"),
        (Head("regression", levels=("pooling",)), "no feature maps named 'pooling'"),
        (Head("regression", levels=(LEVELS[0], LEVELS[0])), "'block_1_expand_relu' is named twice"),
        (Head("histogram", levels=LEVELS), "only a regression head sees several levels"),
    ],
)
def test_levels_that_a_head_cannot_see_are_refused_by_name(regression, head, reason):
    backbone = keras.Model(regression.input, regression.get_layer("pooling").output)
    with pytest.raises(CardError, match=reason):
        add_head(backbone, head)


# --- what a training begins with ------------------------------------------------------------------------------------


def begin(weights, card, noise, dropout):
    """`start_network` of a train script with --weights, of a network like that of a card."""
    options = Namespace(weights=weights, backbone=None, seed=0, mixed_precision=False)
    head = replace(card.head, dropout=dropout)
    return start_network(options, "mobilenet_v2", head, card.preprocessing, noise, card.scale)


def test_an_old_file_without_a_card_is_trained_from_as_it_is_scored(histogram, tmp_path, no_downloads, save_as_keras2_does):
    save_as_keras2_does(histogram, tmp_path / "old.hdf5")
    cardless = keras2_card("histogram", "resize", AVA_SCALE)
    cardless = replace(cardless, preprocessing=replace(cardless.preprocessing, size=SIZE))
    expected, _ = predict(network_of(cardless, tmp_path / "old.hdf5"), PICTURES)
    large = np.tile(PICTURES[:2], (1, 4, 4, 1))[:, :224, :224]
    whole, _ = predict(network_of(keras2_card("histogram", "resize", AVA_SCALE), tmp_path / "old.hdf5"), large)
    model, card = begin(tmp_path / "old.hdf5", cardless, 0.003, 0.75)
    np.testing.assert_allclose(predict(model, large), whole, atol=1e-5)
    assert card.backbone == replace(cardless.backbone, noise=0.003)
    assert np.abs(predict(histogram, PICTURES) - expected).max() > 0.01  # with -1...1 it is another network


def test_shipped_weights_are_trained_from_by_their_name(no_downloads):
    card = read_card(card_of(shipped_weights("ava_vanilla")))
    patches = replace(card, preprocessing=Preprocessing("patch", SIZE))
    model, begun = begin("ava_vanilla", patches, 0.01, 0.5)
    assert begun.backbone == replace(card.backbone, noise=0.01)
    assert model.get_layer("dropout").rate == 0.5
    small = replace(card, preprocessing=replace(card.preprocessing, size=SIZE, flip_averaging=False))  # training looks once
    expected, _ = predict(network_of(small, shipped_weights("ava_vanilla")), PICTURES)
    np.testing.assert_allclose(predict(model, PICTURES), expected, atol=1e-5)


def test_a_training_from_a_network_with_another_head_is_refused():
    with pytest.raises(CardError, match="the weights of a regression network, but a histogram network is trained here"):
        begin("tid2013_regression", keras2_card("histogram", "resize", AVA_SCALE), 0.0, 0.75)


# --- weight files ---------------------------------------------------------------------------------------------------


def test_weights_of_another_model_are_refused_and_nothing_is_loaded(regression, tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    before = regression.get_weights()
    for name in ("other.weights.h5", "missing.weights.h5", "missing.hdf5"):
        with pytest.raises(WeightsError, match=name):
            load_weights(regression, tmp_path / name)
    assert all(np.array_equal(a, b) for a, b in zip(before, regression.get_weights(), strict=True))


def test_arrays_that_no_layer_has_are_refused_unread(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a")])
    path = tmp_path / "m.weights.h5"
    for shape, reason in (((1 << 14, 1 << 15), "larger than any array"), ((4, 4), "which no layer of this network has")):
        model.save_weights(path)
        with h5py.File(path, "r+") as file:
            del file["layers/dense/vars/0"]
            file.create_dataset("layers/dense/vars/0", shape, "f4", chunks=(4, 4))[:4, :4] = 1
        with pytest.raises(WeightsError, match=rf"m\.weights\.h5: .*{reason}"):
            load_weights(model, path)


def test_saved_weights_carry_a_card_with_their_hash_and_no_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(300)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "m.weights.h5"
    save_with_card(model, path, replace(CARD, compiled={"m.tflite": "0" * 64}))  # of other weights
    assert read_card(card_of(path)) == replace(CARD, sha256=sha256(path))
    with h5py.File(path) as file:
        assert "optimizer" not in file


def test_weights_are_saved_under_a_name_that_keras_can_load(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(OutputError, match=r"m\.h5: .* like m\.weights\.h5"):
        save_with_card(model, tmp_path / "m.h5", CARD)
    assert not list(tmp_path.iterdir())


# --- a user's keras.json ----------------------------------------------------------------------------------------------


def test_the_layout_and_precision_that_keras_is_set_to_change_no_network(regression, tmp_path):
    path = tmp_path / "x.weights.h5"
    save_with_card(regression, path, CARD)
    expected = network_of(CARD, path).predict_on_batch(PICTURES[:2])
    before = keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        found = network_of(CARD, path).predict_on_batch(PICTURES[:2])
        assert keras.config.image_data_format() == "channels_first" and keras.config.floatx() == "float64"
    finally:
        keras.config.set_image_data_format(before[0])
        keras.config.set_floatx(before[1])
        keras.config.set_dtype_policy(before[2])
    for array, wanted in zip(found, expected, strict=True):
        assert array.dtype == np.float32 and (array == wanted).all()

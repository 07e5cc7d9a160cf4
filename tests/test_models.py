import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import keras
import numpy as np
import pytest
from PIL import Image

from iqa.cards import TID2013_SCALE, Backbone, Card, Head, Sight, card_of, read_card
from iqa.errors import WeightsError
from iqa.images.reading import list_images
from iqa.models import networks as models
from iqa.training.session import save_with_card

PTH = "imagenet/mobilenet_v2-b0353104.pth"


@pytest.fixture(scope="module")
def torchvision(shared):
    return models.build_backbone(str(shared / PTH))[0], models.read_torch_tensors(shared / PTH)


def accuracy(backbone, tensors, photos):
    """The share of photographs, one of each class in order, that a backbone with torchvision's classifier names rightly."""
    right = 0
    for start in range(0, len(photos), 50):
        pixels = []
        for photo in photos[start : start + 50]:
            image = Image.open(photo).convert("RGB")
            scale = 256 / min(image.size)
            image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            pixels.append(np.asarray(image.crop((left, top, left + 224, top + 224))))
        features = backbone.predict_on_batch(np.stack(pixels))
        logits = features @ tensors["classifier.1.weight"].T + tensors["classifier.1.bias"]
        right += np.sum(logits.argmax(axis=1) == np.arange(start, start + len(pixels)))
    return right / len(photos)


def test_the_converted_backbone_classifies_photographs_as_torchvisions_does(torchvision, shared):
    # Keras's padding gives 0.757, its padding and epsilon 0.006.
    assert accuracy(*torchvision, list_images(shared / "photos")) == pytest.approx(0.838, abs=0.005)


def test_every_tensor_but_the_classifier_is_used(torchvision):
    backbone, tensors = torchvision
    used = sum(int(np.prod(weight.shape)) for weight in backbone.weights)
    counted = [v.size for k, v in tensors.items() if not k.startswith("classifier") and "num_batches" not in k]
    assert used == sum(counted)


def test_models_are_flat_and_take_pixels():
    model = models.regression_head(models.mobilenet_v2())
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["pixels", "rescaling", "noise"]
    assert names[-4:] == ["pooling", "dropout", "features", "score"]
    assert model.output_shape == (None, 1)


def test_layers_have_the_names_that_keras_applications_gives_them():
    ours = {layer.name for layer in models.mobilenet_v2(**models.TORCHVISION_CONVENTION).layers}
    theirs = {layer.name for layer in keras.applications.MobileNetV2(weights=None, include_top=False).layers[1:]}
    assert theirs <= ours


@pytest.mark.parametrize("name, expected", [("imagenet", (128 / 255 - 0.485) / 0.229), ("minus_one_to_one", 0.00392)])
def test_normalisation_is_inside(name, expected):
    pixels = np.full((1, 1, 1, 3), 128, np.uint8)
    assert float(np.asarray(models.normalisation_layer(name)(pixels))[0, 0, 0, 0]) == pytest.approx(expected, abs=1e-4)


def test_padding_and_epsilon_are_those_asked_for():
    model = models.mobilenet_v2(padding="symmetric", batch_norm_epsilon=1e-5)
    pads = [layer for layer in model.layers if isinstance(layer, keras.layers.ZeroPadding2D)]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert pads and all(layer.padding == ((1, 1), (1, 1)) for layer in pads)
    assert norms and all(layer.epsilon == 1e-5 for layer in norms)


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"normalisation": "none"}])
def test_unknown_conventions_are_refused(options):
    with pytest.raises(ValueError, match="unknown"):
        models.mobilenet_v2(**options)


def test_a_model_is_rebuilt_from_the_facts_on_its_card():
    _, facts = models.build_backbone("none", noise=0.003)
    model = models.build_from_card(Card(facts, Head("regression", 0.25), Sight("patch"), TID2013_SCALE))
    assert model.get_layer("noise").stddev == pytest.approx(0.006)
    assert model.get_layer("dropout").rate == 0.25


@pytest.fixture(scope="module")
def with_levels():
    return models.regression_head(models.mobilenet_v2(), 0.25, models.LEVELS)


def test_a_head_sees_every_resolution_and_the_model_stays_flat(with_levels):
    backbone = models.mobilenet_v2()
    widths = [backbone.get_layer(level).output.shape[-1] for level in models.LEVELS]
    resolutions = [backbone.get_layer(level).output.shape[1] for level in models.LEVELS]
    assert resolutions == [112, 56, 28, 14]
    assert with_levels.get_layer("features").input.shape[-1] == sum(widths) + 1280
    assert not any(isinstance(layer, keras.Model) for layer in with_levels.layers)
    assert models.levels_of(with_levels) == list(models.LEVELS)
    assert models.levels_of(models.regression_head(backbone)) == []


def test_a_widened_network_predicts_the_same_and_sees_standardised_levels():
    model = models.regression_head(models.mobilenet_v2(), 0.25)
    for layer in model.layers:  # with the statistics that batch normalisation is born with, random features vanish
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    together = np.random.default_rng(0).integers(0, 256, (12, 224, 224, 3), np.uint8)
    model([together[:4].astype(np.float32)], training=True)
    expected = model.predict_on_batch(together)
    assert expected.std() > 1e-3
    pooled = models.pooled_levels(model).predict_on_batch(together)
    wide = models.widened(model, pooled.mean(axis=0), pooled.var(axis=0))
    assert models.levels_of(wide) == list(models.LEVELS)
    np.testing.assert_allclose(wide.predict_on_batch(together), expected, atol=1e-4)
    seen = keras.Model(wide.input, wide.get_layer("standardised").output).predict_on_batch(together)
    np.testing.assert_allclose(seen, (pooled - pooled.mean(axis=0)) / np.sqrt(pooled.var(axis=0) + 1e-4), atol=1e-3)


def test_a_head_of_several_levels_comes_back_from_its_card_and_goes_on_to_train(with_levels, tmp_path):
    backbone = Backbone("mobilenet_v2", backbone_weights="none", **models.KERAS_CONVENTION)
    card = Card(backbone, Head("regression", 0.25, models.LEVELS), Sight("patch"), TID2013_SCALE)
    path = tmp_path / "levels.weights.h5"
    save_with_card(with_levels, path, card)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    expected = with_levels.predict_on_batch(pixels)
    scores, features = models.network_of(read_card(card_of(path)), path).predict_on_batch(pixels)
    np.testing.assert_array_equal(scores, expected)
    assert features.shape == (2, 1000)
    trained, _ = models.network_to_train(models.regression_head, "none", 0.003, 0.25, path)
    np.testing.assert_array_equal(trained.predict_on_batch(pixels), expected)


def test_weights_of_another_model_are_refused_and_nothing_is_loaded(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "other.weights.h5")
    model = models.regression_head(models.mobilenet_v2())
    before = model.get_weights()
    for name in ("other.weights.h5", "missing.weights.h5"):
        with pytest.raises(WeightsError, match=name):
            models.load_weights(model, tmp_path / name)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_a_backbone_that_cannot_be_downloaded_is_named(monkeypatch):
    build = keras.applications.MobileNetV2

    def offline(weights="imagenet", **options):
        if weights == "imagenet":
            raise Exception("URL fetch failure on\nhttps: no network")
        return build(weights=weights, **options)

    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(WeightsError, match="imagenet: URL fetch failure on https: no network"):
        models.build_backbone("imagenet")


def save_as_torch_does(path, state, monkeypatch):
    """The zip form of `torch.save`, without torch: classes of its names, of which the pickle keeps the names alone."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, name in ((torch, "FloatStorage"), (torch, "LongStorage"), (utils, "_rebuild_tensor_v2")):
        thing = type(name, (), {"__module__": module.__name__})
        setattr(module, name, thing)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    kinds = {"float32": torch.FloatStorage, "int64": torch.LongStorage}

    class Tensor:
        def __init__(self, key, array):
            self.key, self.array = key, array

        def __reduce__(self):
            strides = tuple(step // self.array.itemsize for step in self.array.strides)
            return utils._rebuild_tensor_v2, (Storage(self), 0, self.array.shape, strides, False, OrderedDict())

    class Storage:
        def __init__(self, tensor):
            self.tensor = tensor

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, Storage):
                array = thing.tensor.array
                return "storage", kinds[str(array.dtype)], thing.tensor.key, "cpu", array.size
            return None

    tensors = {name: Tensor(str(number), array) for number, (name, array) in enumerate(state.items())}
    pickled = io.BytesIO()
    Pickler(pickled, protocol=2).dump(OrderedDict(tensors))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", pickled.getvalue())
        for tensor in tensors.values():
            file.writestr(f"weights/data/{tensor.key}", tensor.array.tobytes())


def test_a_pth_in_torchs_zip_form_is_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    state = {
        "features.0.0.weight": rng.normal(size=(2, 3, 4, 5)).astype(np.float32),
        "features.0.1.num_batches_tracked": np.array(7),
        "bias": rng.normal(size=6).astype(np.float32),
    }
    save_as_torch_does(tmp_path / "zip.pth", state, monkeypatch)
    found = models.read_torch_tensors(tmp_path / "zip.pth")
    assert list(found) == list(state)
    for name, array in state.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


def archive(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive(OrderedDict(a=Malicious())),
        pickle.dumps(Malicious(), protocol=2),
        archive({"a": 1}),
        archive([1, 2]),
        b"",
        b"no pickle",
        bytes(1000),
    ],
)
def test_a_pth_with_anything_but_tensors_is_refused_and_not_executed(tmp_path, capsys, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.pth"):
        models.read_torch_tensors(tmp_path / "bad.pth")
    assert "executed" not in capsys.readouterr().out


def test_a_pth_of_another_network_is_refused(shared):
    tensors = models.read_torch_tensors(shared / PTH)
    with pytest.raises(WeightsError, match="2 layers with weights instead of 104"):
        fewer = {name: value for name, value in tensors.items() if "features.18" in name}
        models.load_torchvision(models.mobilenet_v2(**models.TORCHVISION_CONVENTION), fewer)
    with pytest.raises(WeightsError, match="has the shape"):
        tensors["features.0.0.weight"] = tensors["features.0.0.weight"][:16]
        models.load_torchvision(models.mobilenet_v2(**models.TORCHVISION_CONVENTION), tensors)

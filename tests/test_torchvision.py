"""Weights of torch: converted networks classify as those of torch do. Reading a `.pth` takes torch, the tests do not."""

import pickle
import sys
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from iqa.errors import WeightsError
from iqa.images.finding import list_images
from iqa.models.backbones import TORCHVISION_CONVENTION, build_backbone, build_untrained, load_tensors, read_tensors

PTH = "imagenet/mobilenet_v2-b0353104.pth"


def read_without_torch(file):
    """The tensors of a file of torch before 1.6 that is known: pickles, then the numbers of each storage."""
    kinds = {"FloatStorage": np.float32, "LongStorage": np.int64}

    def rebuild(storage, offset, shape, *_):
        return SimpleNamespace(storage=storage, offset=offset, shape=shape)

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, storage):
            return storage[1], storage[2]

        def find_class(self, module, name):
            return kinds.get(name) or {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": rebuild}[name]

    with open(file, "rb") as stream:
        *_, state, keys = [Unpickler(stream).load() for _ in range(5)]
        kind_of = {tensor.storage[1]: tensor.storage[0] for tensor in state.values()}
        numbers = {key: np.fromfile(stream, kind_of[key], int(np.fromfile(stream, np.int64, 1)[0])) for key in keys}
    return {
        name: numbers[tensor.storage[1]][tensor.offset :][: int(np.prod(tensor.shape))].reshape(tensor.shape)
        for name, tensor in state.items()
    }


@pytest.fixture(scope="module")
def torchvision(shared):
    """(the converted backbone, the tensors of the file)."""
    model, tensors = build_untrained(TORCHVISION_CONVENTION), read_without_torch(shared / PTH)
    load_tensors(model, tensors)
    return model, tensors


def test_the_converted_backbone_classifies_photographs_as_torchvisions_does(torchvision, shared):
    # One photograph of each class, in order: 0.838 over all thousand, 0.820 over every fourth. Keras's padding gives 0.757
    # and 0.752, its padding and epsilon 0.006.
    backbone, tensors = torchvision
    photos, classes = list_images(shared / "photos")[::4], np.arange(1000)[::4]
    features = []
    for photo in photos:
        image = Image.open(photo).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
        features.append(backbone.predict_on_batch(pixels[None])[0])
    logits = np.stack(features) @ tensors["classifier.1.weight"].T + tensors["classifier.1.bias"]
    assert np.mean(logits.argmax(axis=1) == classes) == pytest.approx(0.820, abs=0.005)


def test_without_torch_the_refusal_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"x\.pth: .* not installed: pip install torch$"):
        build_backbone(str(tmp_path / "x.pth"), size=64)


def test_torch_reads_tensors_alone_and_what_it_refuses_is_one_line(monkeypatch):
    def load(file, **options):
        assert options == {"map_location": "cpu", "weights_only": True}
        if file == "bad.pth":
            raise pickle.UnpicklingError("Weights only load failed.\nDo it only if you trust the source.")
        return {"a": SimpleNamespace(numpy=lambda: np.ones(3))}

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=load))
    assert read_tensors("good.pth")["a"].tolist() == [1, 1, 1]
    with pytest.raises(WeightsError, match=r"^bad\.pth: not a state dict of torch, of tensors alone \(UnpicklingError\)$"):
        read_tensors("bad.pth")

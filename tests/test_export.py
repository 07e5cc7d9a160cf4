"""Exported files: they score as Keras does, name what they give, and hold the card of their weights."""

import json

import numpy as np
import pytest

from iqa.cards import Card, card_of, read_card, sha256, shipped_weights
from iqa.commands import export
from iqa.models.metadata import IN_SAVED_MODEL, KEY, outputs_of
from iqa.scoring.scorer import Scorer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SUFFIXES = {"litert": ".tflite", "onnx": ".onnx", "openvino": ".xml", "saved_model": ""}
TINY = {"regression": ("score", (1, 1), (1, 1000)), "histogram": ("histogram", (1, 10), (1, 1000))}


def open_litert(file):
    """(names of the outputs in their order, {name: array} of pixels, text of the card) of a file."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    names = [output["name"] for output in interpreter.get_output_details()]
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    (text,) = [bytes(model.buffers[entry.buffer].data) for entry in model.metadata if entry.name == KEY.encode()]
    runner = interpreter.get_signature_runner()
    return names, lambda pixels: runner(pixels=pixels), text


def open_onnx(file):
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    text = session.get_modelmeta().custom_metadata_map[KEY]
    return names, lambda pixels: dict(zip(names, session.run(None, {"pixels": pixels}), strict=True)), text


def open_openvino(file):
    import openvino

    model = openvino.Core().read_model(file)
    network = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(pixels):
        outputs = network({"pixels": pixels})
        return {name: outputs[name] for name in names}

    names = [output.any_name for output in model.outputs]
    return names, run, model.get_rt_info(KEY).astype(str)


def open_saved_model(folder):
    import tensorflow

    network = tensorflow.saved_model.load(str(folder)).signatures["serving_default"]
    names = sorted(network.structured_outputs, key=lambda name: name == "features")  # a map has no order
    return names, lambda pixels: network(pixels=tensorflow.constant(pixels)), (folder / IN_SAVED_MODEL).read_bytes()


OPEN = {"litert": open_litert, "onnx": open_onnx, "openvino": open_openvino, "saved_model": open_saved_model}


@pytest.mark.parametrize("head", TINY)
@pytest.mark.parametrize("format", SUFFIXES)
def test_an_exported_file_names_its_outputs_holds_its_card_and_scores_as_keras_does(
    command, tiny_networks, photograph, tmp_path, format, head
):
    weights, file = tiny_networks[head], tmp_path / f"m{SUFFIXES[format]}"
    name, *shapes = TINY[head]
    code, out, err = command(export, weights, "--format", format, "--out", file)
    assert code == 0, err
    assert f"float32 pixels (N, 224, 224, 3), 0-255 -> {name} (N, {shapes[0][1]}) and features (N, 1000)" in out

    names, run, text = OPEN[format](file)
    patch = photograph[None, 16:240, 16:240]
    found = run(patch.astype(np.float32))
    assert names == [name, "features"]
    assert [found[name].shape for name in names] == shapes
    expected = Scorer(weights, head=head, runtime="keras").network(patch)
    for ours, theirs in zip((found[name] for name in names), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)

    card = read_card(card_of(weights))
    assert Card.from_json(json.loads(text)) == card == read_card(tmp_path / "m.json")


@pytest.mark.parametrize("format", SUFFIXES)
def test_exported_files_are_written_whole(command, tiny, tmp_path, format):
    assert command(export, tiny, "--format", format, "--out", tmp_path / f"m{SUFFIXES[format]}")[0] == 0
    beside = {"m.json"} | ({"m.bin"} if format == "openvino" else set())
    assert {path.name for path in tmp_path.iterdir()} == {f"m{SUFFIXES[format]}"} | beside


@pytest.mark.parametrize("name", ["ava_vanilla", "ava_patches", "tid2013_regression"])
def test_the_compiled_file_that_ships_holds_the_facts_of_its_card(name):
    card = read_card(card_of(shipped_weights(name)))
    names, _, text = open_litert(card_of(shipped_weights(name)).with_suffix(".tflite"))
    held = Card.from_json(json.loads(text))
    assert names == list(outputs_of(card))
    assert names[:2] == ["score" if card.bins == 1 else "histogram", "features"]
    for fact in ("backbone", "head", "preprocessing", "scale", "sha256", "probe"):
        assert getattr(held, fact) == getattr(card, fact), "python -m iqa.export --shipped"


def test_a_file_beside_its_weights_leaves_their_card_as_it_is(command, copy_of, tiny):
    weights = copy_of(tiny, figures={"srcc": 0.5})
    before = card_of(weights).read_bytes()
    assert command(export, weights, "--format", "litert", "--out", card_of(weights).with_suffix(".tflite"))[0] == 0
    assert card_of(weights).read_bytes() == before


def test_no_card_of_other_weights_is_written_over(command, tiny, tiny_histogram, tmp_path):
    assert command(export, tiny, "--format", "litert", "--out", tmp_path / "m.tflite")[0] == 0
    again = (export, tiny_histogram, "--format", "onnx", "--out", tmp_path / "m.onnx")
    code, _, err = command(*again)
    assert code == 2
    assert "m.json: a file of that name exists" in err
    assert command(*again, "--overwrite")[0] == 0
    assert read_card(tmp_path / "m.json").sha256 == sha256(tiny_histogram)


def test_a_wrong_suffix_is_refused_in_one_line(command, tiny, tmp_path):
    code, _, err = command(export, tiny, "--format", "onnx", "--out", tmp_path / "m.tflite")
    assert code == 2
    assert err.splitlines()[-1].endswith("m.tflite: onnx is written to a name like m.onnx")


def test_no_folder_is_written_over(command, tiny, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    monkeypatch.chdir(tmp_path / "mine")
    for name in (tmp_path / "mine", ".", ".."):
        assert command(export, tiny, "--format", "saved_model", "--out", name)[0] == 2
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"

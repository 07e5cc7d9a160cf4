"""Exported files: they score as Keras does, name what they give, and have the card of their weights beside them."""

import numpy as np
import pytest

from iqa import export
from iqa.cards import card_of, compiled_beside, read_card, sha256
from iqa.errors import ExportError
from iqa.models.compiled import _check_onnx
from iqa.scoring.scorer import load_scorer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SUFFIXES = {"litert": ".tflite", "onnx": ".onnx", "saved_model": ""}


def open_litert(file):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(file)).get_signature_runner()
    return lambda pixels: run(pixels=pixels)


def open_onnx(file):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))


def open_saved_model(folder):
    import tensorflow

    network = tensorflow.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda pixels: network(pixels=tensorflow.constant(pixels))


OPEN = {"litert": open_litert, "onnx": open_onnx, "saved_model": open_saved_model}


@pytest.mark.parametrize("format", SUFFIXES)
def test_an_exported_file_names_its_outputs_and_scores_as_keras_does(command, tiny, photograph, tmp_path, format):
    file, patch = tmp_path / f"m{SUFFIXES[format]}", photograph[None, 16:240, 16:240]
    code, out, err = command(export, tiny, "--format", format, "--out", file)
    assert code == 0, err
    assert "uint8 pixels, 0-255, of 224 a side -> score and features" in out
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "m.json"}
    assert read_card(tmp_path / "m.json").sha256 == sha256(tiny)
    found = OPEN[format](file)(patch)
    assert set(found) == {"score", "features"}
    expected = load_scorer(tiny, runtime="keras").network(patch)
    for name, theirs in zip(("score", "features"), expected, strict=True):
        np.testing.assert_allclose(found[name], theirs, rtol=0, atol=1e-4)


def test_weights_are_compiled_where_scoring_finds_them(command, tiny, copy_of, photograph):
    own = copy_of(tiny, figures={"srcc": 0.5})
    before = read_card(card_of(own))
    for named in ((), ("--format", "litert", "--out", compiled_beside(own))):
        compiled_beside(own).unlink()
        code, out, err = command(export, own, *named)
        assert code == 0 and out.startswith(f"{compiled_beside(own)}: of 50 pictures"), err
    assert read_card(card_of(own)).figures == before.figures
    assert load_scorer(own).network.name == "openvino"
    assert load_scorer(own).score(photograph) == pytest.approx(load_scorer(tiny).score(photograph), abs=1e-5)


def test_a_file_of_keras_2_needs_to_be_told_what_it_is(command, tiny_histogram, tmp_path):
    old = tmp_path / "tiny_old.hdf5"
    old.write_bytes(tiny_histogram.read_bytes())
    code, _, err = command(export, old)
    assert code == 2 and "it has no card; give --like and one of ava_vanilla, " in err


def test_no_card_of_other_weights_is_written_over(command, tiny, tiny_histogram, copy_of, tmp_path):
    own = (export, copy_of(tiny_histogram), "--format", "litert", "--out", tmp_path / "m.tflite")
    (tmp_path / "m.json").write_bytes(card_of(tiny).read_bytes())
    code, _, err = command(*own)
    assert code == 2 and "m.json: a file of that name exists" in err
    assert command(*own, "--overwrite")[0] == 0
    assert read_card(tmp_path / "m.json").sha256 == sha256(tiny_histogram)


def test_a_wrong_suffix_or_a_folder_is_refused_in_one_line(command, tiny, tmp_path, monkeypatch):
    code, _, err = command(export, tiny, "--format", "onnx", "--out", tmp_path / "m.tflite")
    assert code == 2
    assert err.splitlines()[-1].endswith("m.tflite: onnx is written to a name like m.onnx")
    (tmp_path / "thesis.txt").write_text("years")
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path, "."):
        assert command(export, tiny, "--format", "saved_model", "--out", name)[0] == 2
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_network_with_layers_that_onnx_does_not_know_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    said = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("XlaConvV2", ["x"], ["y"])  # into which Keras turns the convolutions of ConvNeXt
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], [said])), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"m\.onnx: this network cannot be written as ONNX: .*XlaConvV2"):
        _check_onnx(tmp_path / "m.onnx")

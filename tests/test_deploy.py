"""docs/deploy.md: its scripts score as `infer` does, without this project."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from AVA import infer_patches, infer_vanilla
from iqa import export
from iqa.cards import card_of, compiled_beside, shipped_weights
from iqa.images.colour import profile_of_codes
from iqa.images.finding import list_images, sample_photograph
from TID2013_regression import infer_regression

PAGE = Path(__file__).resolve().parent.parent / "docs/deploy.md"
SCRIPTS = dict(re.findall(r"^```python (\w+\.py)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))

#: Scripts of the page, and the models that each is tried with: the tiny one is exported here.
CALLS = [
    ("score_litert.py", "ava_vanilla"),
    ("score_litert.py", "ava_patches"),
    ("score_litert.py", "tid2013_regression"),
    ("score_openvino.py", "tid2013_regression"),
    ("score_onnx.py", "tiny"),
    ("score_keras.py", "tiny"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photograph):
    """Pictures of all the kinds that the page speaks of."""
    folder = tmp_path_factory.mktemp("pictures")
    whole = Image.open(sample_photograph()).convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    whole.save(folder / "turned.jpg", exif=turned, quality=90)
    whole.convert("L").save(folder / "grey.png")
    whole.quantize(64).save(folder / "palette.png")
    whole.convert("CMYK").save(folder / "cmyk.jpg")
    clear = whole.copy()
    clear.putalpha(Image.linear_gradient("L").resize(whole.size))
    clear.save(folder / "clear.png")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole.resize((4200, 2700)).save(folder / "large.jpg", icc_profile=srgb)
    whole.resize((250, 1500)).save(folder / "narrow.jpg")
    display_p3 = profile_of_codes(12, 13, True, print)
    Image.fromarray(photograph).save(folder / "wide.png", icc_profile=display_p3)
    clear = Image.fromarray(np.dstack([photograph, photograph[..., 0]]))
    clear.save(folder / "wide_and_clear.png", icc_profile=display_p3)
    Image.fromarray(photograph[:150]).save(folder / "small.png")
    Image.fromarray(np.full((300, 700, 3), 90, np.uint8)).save(folder / "flat.png")
    return [sample_photograph(), *list_images(folder)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("script", "name"), CALLS)
def test_a_script_of_the_page_scores_as_infer_does(
    pictures, script, name, tiny_histogram, tmp_path, monkeypatch, capsys, command
):
    pytest.importorskip({"score_onnx.py": "onnxruntime"}.get(script, "numpy"))
    for file, text in SCRIPTS.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    weights = tiny_histogram if name == "tiny" else shipped_weights(name)
    for file in (compiled_beside(weights), card_of(weights)):
        shutil.copy(file, tmp_path)
    for format, suffix in (("onnx", ".onnx"), ("saved_model", "")):
        if script == {"onnx": "score_onnx.py", "saved_model": "score_keras.py"}[format]:
            assert command(export, weights, "--format", format, "--out", tmp_path / f"tiny{suffix}")[0] == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picture", raising=False)
    monkeypatch.setattr("sys.argv", [script, name, *map(str, pictures)])
    capsys.readouterr()
    runpy.run_path(script)
    found = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    model = infer_vanilla.load(tiny_histogram) if name == "tiny" else None
    infer = {"ava_patches": infer_patches.infer, "tid2013_regression": infer_regression.infer}
    scores = [infer.get(name, infer_vanilla.infer)(path, model) for path in pictures]
    np.testing.assert_allclose(found, [getattr(score, "mean", score) for score in scores], rtol=0, atol=1e-4)


def test_the_scripts_of_the_page_are_short_and_use_nothing_of_this_project():
    for name, text in SCRIPTS.items():
        assert not re.search(r"\b(iqa|AVA|TID2013_regression|idealo_comparison)\b", text), name
    short = [text for name, text in SCRIPTS.items() if name.startswith("score_")]
    assert len(short) == 4
    assert all(len([line for line in text.splitlines() if line.strip()]) <= 15 for text in short)

"""A plain installation, without TensorFlow and Keras: it scores at once, and says what the rest needs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from iqa.cards import card_of, read_card, sha256, shipped_weights
from iqa.images.probe import draw_probe
from iqa.scoring.engines import ENGINES
from iqa.scoring.network_cache import compiled_beside
from iqa.scoring.scorer import Scorer

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.name.removesuffix(".weights.h5") for path in (ROOT / "weights").glob("*.weights.h5"))

#: Imports of what a plain installation lacks fail as they would there.
LIGHT = """
import runpy, sys
for name in ("tensorflow", "keras", "h5py", "openvino", "onnxruntime", "tf2onnx", "pyarrow", "jinja2", "tensorboard"):
    sys.modules[name] = None
"""


def python(code, *arguments, cache, **options):
    environment = os.environ | {"IQA_CACHE": str(cache)}
    command = [sys.executable, "-c", LIGHT + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def run_script(script, *arguments, cache):
    code = "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return python(code, ROOT / script, *arguments, cache=cache)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compiled_file_that_ships_is_the_one_on_the_card(name):
    weights = shipped_weights(name)
    card, file = read_card(card_of(weights)), compiled_beside(weights, ".tflite")
    remedy = "python -m iqa.export --shipped"
    assert card.sha256 == sha256(weights)
    assert file.is_file() and card.compiled == {file.name: sha256(file)}, f"stale or missing; make it with: {remedy}"
    assert len(card.probe) == card.bins, remedy


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compiled_file_that_ships_says_of_the_probe_what_keras_said(name):
    weights = shipped_weights(name)
    card = read_card(card_of(weights))
    run, _ = ENGINES["litert"].open(compiled_beside(weights, ".tflite"), 1)
    outputs, *_ = run(draw_probe(card.preprocessing.size)[None])
    np.testing.assert_allclose(outputs, [card.probe], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compiled_file_that_ships_is_made_of_the_weights_beside_it(name, photograph):
    head = read_card(card_of(shipped_weights(name))).head.kind
    compiled, keras = (Scorer(name, head=head, runtime=runtime).score(photograph) for runtime in ("litert", "keras"))
    np.testing.assert_allclose(compiled.output, keras.output, rtol=0, atol=1e-5)
    np.testing.assert_allclose(compiled.features, keras.features, rtol=0, atol=1e-4)


def test_scoring_needs_no_keras_and_writes_no_cache(save, photograph, tmp_path):
    picture = save("p.png", photograph)
    for script in ("AVA/infer_vanilla.py", "AVA/infer_patches.py", "TID2013_regression/infer_regression.py"):
        done = run_script(script, picture, cache=tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        assert "p.png\t" in done.stdout and not done.stderr
    assert not (tmp_path / "cache").exists()


def test_what_needs_keras_says_which_extra_brings_it(save, photograph, tmp_path):
    picture = save("p.png", photograph)
    done = run_script("AVA/infer_vanilla.py", picture, "--runtime", "keras", cache=tmp_path / "cache")
    assert done.returncode == 2
    assert re.fullmatch(r".*error: .*[Kk]eras.* pip install 'image-quality-assessment\[train\]'\n", done.stderr)


def test_weights_without_a_compiled_file_say_that_keras_must_compile_them(copy_of, save, photograph, tmp_path):
    own = copy_of(shipped_weights("ava_vanilla"))
    done = run_script("AVA/infer_vanilla.py", save("p.png", photograph), "--weights", own, cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "ava_vanilla.weights.h5 needs Keras" in done.stderr and "[train]" in done.stderr


def test_a_damaged_compiled_file_is_not_used(copy_of, save, photograph, tmp_path):
    own = copy_of(shipped_weights("ava_vanilla"))
    content = bytearray(compiled_beside(shipped_weights("ava_vanilla"), ".tflite").read_bytes())
    content[len(content) // 2] ^= 1
    compiled_beside(own, ".tflite").write_bytes(content)
    done = run_script("AVA/infer_vanilla.py", save("p.png", photograph), "--weights", own, cache=tmp_path / "cache")
    assert done.returncode == 2
    assert "ava_vanilla.tflite is not the file that ava_vanilla.json describes" in done.stderr


def test_a_plain_installation_is_six_packages_and_the_extras_name_the_rest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert names == {"numpy", "scipy", "pillow", "matplotlib", "tqdm", "ai-edge-litert"}
    extras = project["optional-dependencies"]
    (every,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", every)[1].split(",")) == set(extras) - {"all"}

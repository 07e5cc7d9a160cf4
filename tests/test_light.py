"""A plain installation, without TensorFlow and Keras: it scores at once, and says what the rest needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from iqa.cards import card_of, compiled_beside, read_card, sha256, shipped_weights
from iqa.scoring.runtimes import open_network

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.name.removesuffix(".weights.h5") for path in (ROOT / "weights").glob("*.weights.h5"))

#: Imports of what a plain installation lacks fail as they would there; then scripts run one after the other.
LIGHT = """
import runpy, sys
for name in ("tensorflow", "keras", "h5py", "openvino", "onnxruntime", "tf2onnx", "pyarrow", "jinja2", "tensorboard"):
    sys.modules[name] = None
scripts, arguments = sys.argv[1].split(","), sys.argv[2:]
for script in scripts:
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        if stop.code or script == scripts[-1]:
            raise
"""


def run_scripts(scripts, *arguments):
    scripts = ",".join(str(ROOT / script) for script in scripts)
    return subprocess.run([sys.executable, "-c", LIGHT, scripts, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_compiled_file_that_ships_is_made_of_the_weights_beside_it_and_says_what_keras_does(name, photograph):
    weights = shipped_weights(name)
    card, file = read_card(card_of(weights)), compiled_beside(weights)
    assert card.sha256 == sha256(weights)
    assert card.compiled == {file.name: sha256(file)}, f"stale or missing; make it with: python -m iqa.export {name}"
    patch = photograph[None, 16:240, 16:240]
    compiled, keras = (open_network(runtime, weights, card, card.sha256)(patch) for runtime in ("litert", "keras"))
    np.testing.assert_allclose(compiled[0], keras[0], rtol=0, atol=1e-5)
    for ours, theirs in zip(compiled, keras, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_scoring_needs_no_keras(save, photograph):
    scripts = ("AVA/infer_vanilla.py", "AVA/infer_patches.py", "TID2013_regression/infer_regression.py", "iqa/__main__.py")
    done = run_scripts(scripts, save("p.png", photograph))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("p.png") == 4 and not done.stderr


def test_what_needs_keras_says_what_to_install(save, photograph):
    done = run_scripts(["AVA/infer_vanilla.py"], save("p.png", photograph), "--runtime", "keras")
    assert done.returncode == 2
    assert re.fullmatch(r".*error: .*[Kk]eras.* pip install tensorflow keras h5py\n", done.stderr)


def test_a_plain_installation_brings_nothing_heavy_and_the_extras_name_the_rest():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert "ai-edge-litert" in names
    assert not names & {"tensorflow", "keras", "h5py", "torch", "openvino", "onnxruntime", "ray", "pyarrow", "grain"}
    extras = project["optional-dependencies"]
    (every,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", every)[1].split(",")) == set(extras) - {"all", "docs"}

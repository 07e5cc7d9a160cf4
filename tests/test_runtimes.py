"""Runtimes: they score as Keras does, or they are not used."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from iqa.cards import CARDLESS, card_of, compiled_beside, read_card, sha256, shipped_weights
from iqa.errors import ExportError, RuntimeUnavailable
from iqa.models import compiled
from iqa.models.compiled import compile_weights
from iqa.scoring import runtimes
from iqa.scoring.runtimes import open_network


@pytest.fixture(scope="module")
def patches(photograph):
    return np.stack([np.roll(photograph, 20 * n, axis=1)[:224, :224] for n in range(3)])


def open_on(runtime, weights, **options):
    weights = shipped_weights(weights) if isinstance(weights, str) else weights
    return open_network(runtime, weights, read_card(card_of(weights)), sha256(weights), **options)


@pytest.fixture(scope="module")
def by_keras(patches):
    return open_on("keras", "ava_vanilla")(patches)


@pytest.mark.parametrize("runtime", ["litert", "openvino", "openvino-bf16"])
def test_every_runtime_scores_as_keras_does_whatever_the_neighbours_of_a_patch(by_keras, patches, runtime):
    try:
        network = open_on(runtime, "ava_vanilla")
    except RuntimeUnavailable as error:
        pytest.skip(str(error))  # a processor without bfloat16
    assert network.description.startswith(f"{runtime} 2")
    found, alone = network(patches), [network(patch[None]) for patch in patches]
    exact = runtime != "openvino-bf16"
    np.testing.assert_allclose(found[0] @ np.arange(1, 11), by_keras[0] @ np.arange(1, 11), atol=1e-4 if exact else 0.03)
    for ours, theirs, one_by_one in zip(found, by_keras, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(ours, np.concatenate(one_by_one))
        assert not exact or np.abs(ours - theirs).max() < 1e-4


def test_one_network_serves_many_threads(tiny, patches):
    network = open_on("openvino", tiny)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: network(patches)[0].tobytes(), range(40)))) == 1


# --- which one is used ----------------------------------------------------------------------------------------------


def replace_litert(monkeypatch, change):
    """Let `change` alter what LiteRT says."""
    opened = runtimes._OPEN["litert"]

    def open_changed(file, threads):
        run = opened(file, threads)
        return lambda patch: [change(array) for array in run(patch)]

    monkeypatch.setitem(runtimes._OPEN, "litert", open_changed)


def test_auto_is_openvino_or_else_litert(tiny, monkeypatch):
    assert open_on("auto", tiny).name == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert open_on("auto", tiny).name == "litert"
    with pytest.raises(RuntimeUnavailable, match="openvino is not installed: pip install openvino"):
        open_on("openvino", tiny)


@pytest.mark.parametrize("change, found", [(0.01, r"0\.01"), (np.nan, "nan")])
def test_a_runtime_that_differs_from_keras_is_refused(tiny, monkeypatch, change, found):
    replace_litert(monkeypatch, lambda array: array + np.float32(change))
    with pytest.raises(RuntimeUnavailable, match=f"litert differs from Keras by {found}"):
        open_on("litert", tiny)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.warns(UserWarning, match=f"scoring with Keras, which is slow: litert differs from Keras by {found}"):
        assert open_on("auto", tiny).name == "keras"


def test_another_backend_of_keras_is_used_if_it_is_asked_for(tiny, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(runtimes, "_open_keras", lambda *_: "keras")
    assert open_on("auto", tiny) == "keras"
    assert open_on("litert", tiny).name == "litert"


def test_a_missing_or_another_compiled_file_is_not_used_and_the_command_that_writes_it_is_named(tiny, copy_of, patches):
    own = copy_of(tiny)
    file = compiled_beside(own)
    expected, content = open_on("litert", own)(patches), bytearray(file.read_bytes())
    command = rf"`python -m iqa\.export {own}` writes"
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        RuntimeUnavailable, match=rf"tiny\.tflite is not the file that tiny\.json describes, which {command}"
    ):
        open_on("litert", own)
    file.unlink()
    with pytest.warns(
        UserWarning, match=rf"scoring with Keras, which is slow: there is no compiled tiny\.tflite.*{command}"
    ):
        assert open_on("auto", own).name == "keras"
    assert compile_weights(own) == file
    for ours, theirs in zip(open_on("auto", own)(patches), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


# --- compiling ------------------------------------------------------------------------------------------------------


def test_a_compiled_file_that_differs_from_keras_is_not_written(tiny, copy_of, monkeypatch):
    own = copy_of(tiny)
    before = compiled_beside(own).read_bytes(), card_of(own).read_bytes()
    run = compiled._run_litert
    monkeypatch.setattr(compiled, "_run_litert", lambda *given: [array + np.float32(1e-4) for array in run(*given)])
    with pytest.raises(ExportError, match=r"tiny\.tflite: not written, it differs from Keras"):
        compile_weights(own)
    assert (compiled_beside(own).read_bytes(), card_of(own).read_bytes()) == before
    assert len(list(own.parent.iterdir())) == 3


def test_a_file_of_keras_2_without_a_card_gets_one_when_it_is_compiled(tiny_histogram, tmp_path, patches):
    old = tmp_path / "tiny_old.hdf5"
    old.write_bytes(tiny_histogram.read_bytes())
    cardless = CARDLESS["idealo"]
    with pytest.raises(RuntimeUnavailable, match=rf"python -m iqa\.export {old} --like idealo` writes"):
        open_network("litert", old, cardless, sha256(old))
    assert compile_weights(old, cardless) == tmp_path / "tiny_old.tflite"
    card = read_card(tmp_path / "tiny_old.json")
    assert (card.backbone, card.sha256) == (cardless.backbone, sha256(old))
    expected = open_network("keras", old, cardless, sha256(old))(patches)
    np.testing.assert_allclose(open_on("auto", old)(patches)[0], expected[0], atol=1e-5)


# --- other processes ------------------------------------------------------------------------------------------------


def test_a_new_process_scores_without_tensorflow_and_ctrl_c_interrupts_it_after_networks_have_come_and_gone(tiny, patches):
    # OpenVINO's cores, on processors with AMX, each set up a stack for signals and freed the one of another.
    code = """
import signal, sys
from pathlib import Path
from iqa.cards import card_of, read_card, sha256
from iqa.scoring.runtimes import open_network
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background was told to ignore it
path = Path(sys.argv[1])
older, newer = (open_network("openvino", path, read_card(card_of(path)), sha256(path)) for _ in range(2))
del older
del newer
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted", *sorted({"tensorflow", "keras", "h5py", "scipy.stats"} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run([sys.executable, "-c", code, tiny], capture_output=True, text=True, env=environment)
    assert done.stdout == "interrupted\n", done.stderr


def test_scoring_reports_to_nobody():
    code = (
        "import sys; from AVA.infer_vanilla import load; load(runtime='openvino'); print(sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None\n", "")

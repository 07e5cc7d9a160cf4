import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from iqa.cards import card_of
from iqa.errors import RuntimeUnavailable
from iqa.images.finding import sample_photograph
from iqa.models import export
from iqa.scoring import runtimes
from iqa.scoring.runtimes import FASTEST_FIRST, CompiledNetwork, cache_folder
from iqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def by_keras(weights):
    return Scorer(weights, runtime="keras")


@pytest.fixture
def own_cache(monkeypatch, tmp_path, weights):
    """A copy of what the cache holds of these weights, to be spoilt."""
    (entry,) = cache_folder().glob(f"{Scorer(weights, runtime='openvino').sha256[:16]}-*")
    shutil.copytree(entry, tmp_path / "cache" / entry.name)
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("runtime", FASTEST_FIRST)
def test_every_runtime_scores_as_keras_does(weights, by_keras, photograph, runtime):
    scorer = Scorer(weights, runtime=runtime)
    expected, found = by_keras.score(photograph), scorer.score(photograph)
    assert scorer.network.description.startswith(f"{runtime} ")
    np.testing.assert_allclose(found.output, expected.output, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-4)


def test_bfloat16_scores_nearly_as_keras_does_or_says_that_the_processor_cannot(photograph):
    try:
        scorer = Scorer("ava_vanilla", head="histogram", runtime="openvino-bf16")
    except RuntimeUnavailable as error:
        assert "bfloat16" in str(error)
        pytest.skip(str(error))
    expected = Scorer("ava_vanilla", head="histogram", runtime="keras").score(photograph).score
    assert scorer.score(photograph).score == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("runtime", ["litert", "openvino"])
def test_a_batch_gives_the_same_numbers_as_one_at_a_time(weights, photograph, runtime):
    network = Scorer(weights, runtime=runtime).network
    patches = np.stack([np.roll(photograph, 20 * n, axis=1)[:224, :224] for n in range(3)])
    together = network(patches)
    alone = [np.concatenate(parts) for parts in zip(*[network(patch[None]) for patch in patches])]
    for a, b in zip(together, alone):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("error", "batch"), [(0, 2), (1e-6, 1)])
def test_pairs_of_patches_go_through_only_if_they_score_as_one_alone_does(weights, photograph, monkeypatch, error, batch):
    opened = runtimes._open_openvino

    def erring_on_pairs(*arguments):
        run, version = opened(*arguments)

        def both(patches):
            results = zip(*[run(patch[None]) for patch in patches])
            return [np.concatenate(parts) + np.float32(error * (len(patches) - 1)) for parts in results]

        return both, version

    alone = Scorer(weights, runtime="openvino").network
    monkeypatch.setitem(runtimes.BATCHES, "openvino", 2)
    monkeypatch.setitem(runtimes._OPENERS, "openvino", erring_on_pairs)
    paired = Scorer(weights, runtime="openvino").network
    assert paired.batch == batch
    patches = np.stack([np.roll(photograph, 20 * n, axis=1)[:224, :224] for n in range(3)])
    for a, b in zip(paired(patches), alone(patches)):
        np.testing.assert_array_equal(a, b)


def test_auto_takes_the_first_that_agrees_with_keras(weights, monkeypatch):
    class Disagrees(CompiledNetwork):
        def __init__(self, name, *arguments):
            if name == FASTEST_FIRST[0]:
                raise RuntimeUnavailable("it differs")
            super().__init__(name, *arguments)

    assert Scorer(weights).network.name == FASTEST_FIRST[0]
    monkeypatch.setattr(runtimes, "CompiledNetwork", Disagrees)
    with pytest.warns(UserWarning, match="it differs"):
        assert Scorer(weights).network.name == FASTEST_FIRST[1]


def test_without_any_other_runtime_keras_scores_and_that_is_said(weights, monkeypatch):
    monkeypatch.setattr(runtimes, "FASTEST_FIRST", ())
    with pytest.warns(UserWarning, match="scoring with Keras, which is slow"):
        assert Scorer(weights).network.name == "keras"


def test_a_runtime_that_is_not_installed_is_refused_with_the_command_that_installs_it(weights, monkeypatch):
    monkeypatch.setitem(runtimes._MODULES, "onnx", "no_such_module")
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'image-quality-assessment\[onnx\]'"):
        Scorer(weights, runtime="onnx")


def test_a_file_that_says_something_else_than_keras_did_is_written_anew(weights, own_cache, by_keras, photograph):
    (probe,) = own_cache.glob("*/probe.npz")
    with np.load(probe) as arrays:
        patches, outputs = arrays["patches"], arrays["outputs"]
    np.savez(probe, patches=patches, outputs=outputs + 0.01)
    assert Scorer(weights, runtime="openvino").score(photograph).score == pytest.approx(
        by_keras.score(photograph).score, abs=1e-4
    )
    with np.load(probe) as arrays:
        np.testing.assert_allclose(arrays["outputs"], outputs, atol=1e-6)


def test_a_runtime_that_never_says_what_keras_did_is_not_used(weights, monkeypatch):
    opened = runtimes._open_litert

    def wrong(*arguments):
        run, version = opened(*arguments)
        return lambda patch: [array + 0.01 for array in run(patch)], version

    monkeypatch.setitem(runtimes._OPENERS, "litert", wrong)
    monkeypatch.setattr(runtimes, "_write", lambda *_: None)
    with pytest.raises(RuntimeUnavailable, match=r"litert differs from Keras by 0\.01"):
        Scorer(weights, runtime="litert")
    monkeypatch.setattr(runtimes, "FASTEST_FIRST", ("litert", "onnx"))
    with pytest.warns(UserWarning, match=r"scoring with onnx: litert differs"):
        assert Scorer(weights).network.name == "onnx"


def test_a_damaged_file_is_written_anew(weights, own_cache):
    (file,) = own_cache.glob("*/network.xml")
    file.write_bytes(b"no network")
    assert Scorer(weights, runtime="openvino").network.name == "openvino"
    assert file.stat().st_size > 100_000


def test_one_network_serves_many_threads(weights, photograph):
    from concurrent.futures import ThreadPoolExecutor

    for runtime in FASTEST_FIRST:
        scorer = Scorer(weights, runtime=runtime)
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(lambda _, scorer=scorer: scorer.score(photograph).score, range(40)))) == 1


def test_ctrl_c_is_an_interrupt_after_scorers_have_come_and_gone(weights):
    # OpenVINO's cores, on processors with AMX, each set up a stack for signals and freed the one of another.
    code = f"""
import os, signal, time
from iqa.scoring.scorer import Scorer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background was told to ignore it
older, newer = (Scorer({str(weights)!r}, runtime="openvino") for _ in range(2))
del older
del newer
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "interrupted\n", done.stderr


def test_a_damaged_probe_is_written_anew(weights, own_cache):
    (probe,) = own_cache.glob("*/probe.npz")
    probe.write_bytes(b"PK\x03\x04 torn")
    assert Scorer(weights, runtime="openvino").network.name == "openvino"


def test_another_padding_is_another_network_in_the_cache(weights, own_cache, tmp_path, photograph):
    for path in (weights, card_of(weights)):
        shutil.copy(path, tmp_path)
    copied = tmp_path / weights.name
    card = json.loads(card_of(copied).read_text())
    card["backbone"]["padding"] = "symmetric"
    card_of(copied).write_text(json.dumps(card))
    assert Scorer(copied, runtime="openvino").score(photograph) != Scorer(weights, runtime="openvino").score(photograph)
    assert len(list(own_cache.iterdir())) == 2


def test_the_first_score_of_a_new_process_needs_neither_tensorflow_nor_keras():
    code = """
import sys
from AVA.infer_vanilla import infer
print(infer(sys.argv[1], runtime="litert").mean, *sorted({"tensorflow", "keras", "scipy.stats"} & set(sys.modules)))
"""
    expected = Scorer("ava_vanilla", head="histogram", runtime="litert").score(sample_photograph()).score
    done = subprocess.run([sys.executable, "-c", code, sample_photograph()], capture_output=True, text=True)
    assert done.stdout.split() == [str(expected)], done.stderr


def test_another_backend_of_keras_is_used_if_it_is_asked_for(weights):
    code = f"""
from iqa.scoring.scorer import Scorer
print(Scorer({str(weights)!r}).network.description)
"""
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split("\n")[0] == "keras on jax", done.stderr


# --- python -m iqa.models.export -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exported_file_takes_pixels_and_scores_as_keras_does(command, weights, by_keras, photograph, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    code, out, _ = command(export, weights, "--format", "litert", "--out", tmp_path / "m.tflite")
    assert code == 0
    assert "float32 pixels (N, 224, 224, 3), 0-255 -> (N, 1) and (N, 1000)" in out
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    assert source["dtype"] == np.float32  # the cache's own files, of the tests above, take uint8
    interpreter.set_tensor(source["index"], photograph[None, 16:240, 16:240].astype(np.float32))
    interpreter.invoke()
    outputs = [interpreter.get_tensor(target["index"]) for target in interpreter.get_output_details()]
    (score,) = [output for output in outputs if output.shape == (1, 1)]
    assert score[0, 0] == pytest.approx(by_keras.score(photograph).score, abs=1e-4)


@pytest.mark.parametrize("format, name", [("openvino", "m.xml"), ("saved_model", "m")])
def test_other_formats_are_written_whole(command, weights, tmp_path, format, name):
    assert command(export, weights, "--format", format, "--out", tmp_path / name)[0] == 0
    beside = {"m.bin"} if format == "openvino" else set()
    assert {path.name for path in tmp_path.iterdir()} == {name} | beside


def test_a_wrong_suffix_is_refused_in_one_line(command, weights, tmp_path):
    code, _, err = command(export, weights, "--format", "onnx", "--out", tmp_path / "m.tflite")
    assert code == 2
    assert err.splitlines()[-1].endswith("m.tflite: onnx is written to a name like m.onnx")


def test_no_folder_is_written_over(command, weights, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    monkeypatch.chdir(tmp_path / "mine")
    for name in (tmp_path / "mine", ".", ".."):
        assert command(export, weights, "--format", "saved_model", "--out", name)[0] == 2
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"

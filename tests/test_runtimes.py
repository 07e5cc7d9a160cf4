"""Runtimes: they score as Keras does, or they are not used; and the files that they keep."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from iqa.cards import sha256
from iqa.environment import cache_folder
from iqa.errors import RuntimeUnavailable
from iqa.scoring import runtimes
from iqa.scoring.engines import ENGINES
from iqa.scoring.runtimes import RUNTIMES
from iqa.scoring.scorer import Scorer

AUTOMATIC = [name for name, engine in ENGINES.items() if engine.automatic]


def open_shipped(runtime):
    return Scorer("ava_vanilla", head="histogram", runtime=runtime)


@pytest.fixture(scope="module")
def by_keras():
    return open_shipped("keras")


@pytest.fixture(scope="module")
def tiny_by_keras(tiny):
    return Scorer(tiny, runtime="keras")


@pytest.fixture
def own_cache(monkeypatch, tmp_path, tiny):
    """A copy of what the cache holds of the tiny network for LiteRT, to be spoilt."""
    (entry,) = cache_folder().glob(f"{Scorer(tiny, runtime='litert').sha256[:16]}-*")
    shutil.copytree(entry, tmp_path / "cache" / entry.name)
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def patches_of(photograph):
    return np.stack([np.roll(photograph, 20 * n, axis=1)[:224, :224] for n in range(3)])


@pytest.mark.parametrize("runtime", AUTOMATIC)
def test_every_runtime_scores_as_keras_does(by_keras, photograph, runtime):
    scorer = open_shipped(runtime)
    expected, found = by_keras.score(photograph), scorer.score(photograph)
    assert scorer.network.description.startswith(f"{runtime} ")
    np.testing.assert_allclose(found.output, expected.output, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.features, expected.features, rtol=0, atol=1e-4)


@pytest.mark.parametrize("runtime", ["litert", "openvino"])
def test_a_batch_gives_the_same_numbers_as_one_at_a_time(photograph, runtime):
    network = open_shipped(runtime).network
    patches = patches_of(photograph)
    together, alone = network(patches), [network(patch[None]) for patch in patches]
    for output, outputs_alone in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(output, np.concatenate(outputs_alone))


def test_one_network_serves_many_threads(tiny, photograph):
    for runtime in AUTOMATIC:
        scorer = Scorer(tiny, runtime=runtime)
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(lambda _, scorer=scorer: scorer.score(photograph).score, range(40)))) == 1


def test_bfloat16_scores_nearly_as_keras_does_or_says_that_the_processor_cannot(by_keras, photograph):
    try:
        scorer = open_shipped("openvino-bf16")
    except RuntimeUnavailable as error:
        assert "bfloat16" in str(error)
        pytest.skip(str(error))
    assert scorer.score(photograph).score == pytest.approx(by_keras.score(photograph).score, abs=0.03)


@pytest.mark.parametrize(("error", "batch"), [(0, 2), (1e-6, 1)])
def test_pairs_of_patches_go_through_only_if_they_score_as_one_alone_does(tiny, photograph, monkeypatch, error, batch):
    alone = Scorer(tiny, runtime="openvino").network

    def open_erring_on_pairs(*arguments):
        run, version = ENGINES["openvino"].open(*arguments)

        def run_both(patches):
            results = zip(*[run(patch[None]) for patch in patches], strict=True)
            return [np.concatenate(parts) + np.float32(error * (len(patches) - 1)) for parts in results]

        return run_both, version

    paired_engine = replace(ENGINES["openvino"], batch=2, open=open_erring_on_pairs)
    monkeypatch.setattr(runtimes, "ENGINES", ENGINES | {"openvino": paired_engine})
    paired = Scorer(tiny, runtime="openvino").network
    assert paired.batch == batch
    for a, b in zip(paired(patches_of(photograph)), alone(patches_of(photograph)), strict=True):
        np.testing.assert_array_equal(a, b)


# --- which one is used ----------------------------------------------------------------------------------------------


def open_wrongly(file, threads):
    """LiteRT that is off by 0.01."""
    run, version = ENGINES["litert"].open(file, threads)
    return lambda patch: [array + np.float32(0.01) for array in run(patch)], version


def test_every_engine_is_offered():
    assert set(RUNTIMES) == {"auto", "keras", *ENGINES}


def test_auto_takes_the_fastest_that_agrees_with_keras(tiny, monkeypatch):
    assert Scorer(tiny).network.name == AUTOMATIC[0] == "openvino"
    wrong = replace(ENGINES["litert"], open=open_wrongly)
    monkeypatch.setattr(runtimes, "ENGINES", {"litert": wrong, "onnx": ENGINES["onnx"]})
    with pytest.warns(UserWarning, match=r"scoring with onnx: litert differs from Keras by 0\.01"):
        assert Scorer(tiny).network.name == "onnx"


def test_a_runtime_that_differs_from_keras_is_refused(tiny, monkeypatch):
    monkeypatch.setattr(runtimes, "ENGINES", {"litert": replace(ENGINES["litert"], open=open_wrongly)})
    with pytest.raises(RuntimeUnavailable, match=r"litert differs from Keras by 0\.01"):
        Scorer(tiny, runtime="litert")


def test_a_runtime_that_answers_no_numbers_is_refused(tiny, monkeypatch):
    def open_blankly(file, threads):
        run, version = ENGINES["litert"].open(file, threads)
        return lambda patch: [array * np.float32(np.nan) for array in run(patch)], version

    monkeypatch.setattr(runtimes, "ENGINES", {"litert": replace(ENGINES["litert"], open=open_blankly)})
    with pytest.raises(RuntimeUnavailable, match="litert differs from Keras by nan"):
        Scorer(tiny, runtime="litert")


def test_without_any_other_runtime_keras_scores_and_that_is_said(tiny, monkeypatch):
    monkeypatch.setattr(runtimes, "ENGINES", {})
    with pytest.warns(UserWarning, match="scoring with Keras, which is slow: no other runtime"):
        assert Scorer(tiny).network.name == "keras"


def test_a_runtime_that_is_not_installed_is_refused_with_the_command_that_installs_it(tiny, monkeypatch):
    monkeypatch.setattr(runtimes, "ENGINES", {"onnx": replace(ENGINES["onnx"], module="no_such_module")})
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'image-quality-assessment\[onnx\]'"):
        Scorer(tiny, runtime="onnx")


def test_a_runtime_gets_the_processors_that_this_process_may_use(tiny, monkeypatch):
    asked = []

    def open_and_note(file, threads):
        asked.append(threads)
        return ENGINES["litert"].open(file, threads)

    monkeypatch.setattr(runtimes, "ENGINES", {"litert": replace(ENGINES["litert"], open=open_and_note)})
    monkeypatch.setattr(runtimes, "processors", lambda: 3)
    Scorer(tiny, runtime="litert")
    Scorer(tiny, runtime="litert", threads=1)
    assert asked == [3, 1]


# --- the cache ------------------------------------------------------------------------------------------------------


def record_anew(cache):
    """Make the record in a cache agree with what lies there, as if it had been written so."""
    (record,) = cache.glob("*/network.tflite.json")
    facts = json.loads(record.read_text())
    facts["sha256"] = {name: sha256(record.with_name(name)) for name in facts["sha256"]}
    record.write_text(json.dumps(facts))


def test_a_file_that_no_longer_says_what_keras_did_is_written_again(tiny, own_cache, tiny_by_keras, photograph):
    (probe,) = own_cache.glob("*/probe.tflite.npz")
    with np.load(probe) as arrays:
        patches, outputs = arrays["patches"], arrays["outputs"]
    np.savez(probe, patches=patches, outputs=outputs + 0.01)
    record_anew(own_cache)
    expected = tiny_by_keras.score(photograph).score
    assert Scorer(tiny, runtime="litert").score(photograph).score == pytest.approx(expected, abs=1e-4)
    with np.load(probe) as arrays:
        np.testing.assert_allclose(arrays["outputs"], outputs, atol=1e-6)


def test_a_file_that_differs_by_one_bit_is_not_used_but_written_again_and_that_is_said(tiny, own_cache, photograph):
    expected = Scorer(tiny, runtime="litert").score(photograph).score
    for name in ("network.tflite", "probe.tflite.npz", "network.tflite.json"):
        (file,) = own_cache.glob(f"*/{name}")
        good = file.read_bytes()
        middle = len(good) // 2
        file.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        with pytest.warns(UserWarning, match=r"network\.tflite is not the file that was compiled from .*: compiled anew"):
            assert Scorer(tiny, runtime="litert").score(photograph).score == expected
        assert Scorer(tiny, runtime="litert").score(photograph).score == expected  # without a warning


def test_the_files_of_another_model_are_not_used(tiny, own_cache, copy_of, photograph):
    before = set(own_cache.glob("*/network.tflite.json"))
    other = copy_of(tiny, backbone={"padding": "symmetric"})
    expected = Scorer(other, runtime="litert").score(photograph).score
    (others,) = set(own_cache.glob("*/network.tflite.json")) - before
    shutil.copytree(min(before).parent, others.parent, dirs_exist_ok=True)
    with pytest.warns(UserWarning, match="compiled anew"):
        assert Scorer(other, runtime="litert").score(photograph).score == expected


@pytest.mark.filterwarnings("ignore:.*compiled anew")
@pytest.mark.parametrize(
    ("name", "content"),
    [("network.tflite", b"no network"), ("probe.tflite.npz", b"PK\x03\x04 torn"), ("network.tflite.json", b"[]")],
)
@pytest.mark.parametrize("recorded", [False, True])
def test_a_damaged_file_is_written_again(tiny, own_cache, tiny_by_keras, photograph, name, content, recorded):
    (file,) = own_cache.glob(f"*/{name}")
    size = file.stat().st_size
    file.write_bytes(content)
    if recorded and not name.endswith(".json"):
        record_anew(own_cache)
    expected = tiny_by_keras.score(photograph).score
    assert Scorer(tiny, runtime="litert").score(photograph).score == pytest.approx(expected, abs=1e-4)
    assert file.stat().st_size == pytest.approx(size, rel=0.1)


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("IQA_CACHE", str(tmp_path / "file"))
    with pytest.raises(RuntimeUnavailable, match=r"file/.* cannot be written: .*IQA_CACHE"):
        Scorer(tiny, runtime="litert")


def test_another_padding_is_another_network_in_the_cache(tiny, own_cache, copy_of, photograph):
    other = copy_of(tiny, backbone={"padding": "symmetric"})
    scores = [Scorer(path, runtime="litert").score(photograph).score for path in (tiny, other)]
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)
    assert len(list(own_cache.iterdir())) == 2


# --- other processes ------------------------------------------------------------------------------------------------


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ctrl_c_is_an_interrupt_after_scorers_have_come_and_gone(tiny):
    # OpenVINO's cores, on processors with AMX, each set up a stack for signals and freed the one of another.
    Scorer(tiny, runtime="openvino")  # compiled here, where the tiny network can be built
    code = """
import signal, sys
from iqa.scoring.scorer import Scorer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background was told to ignore it
older, newer = (Scorer(sys.argv[1], runtime="openvino") for _ in range(2))
del older
del newer
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    assert python(code, tiny) == "interrupted\n"
    assert signal.getsignal(signal.SIGINT)  # this process was not hit


def test_the_first_score_of_a_new_process_needs_neither_tensorflow_nor_keras(tiny, save, photograph):
    expected = Scorer(tiny, runtime="litert").score(photograph).score
    code = """
import sys
from TID2013_regression.infer_regression import infer, load
score = infer(sys.argv[2], load(sys.argv[1], runtime="litert"))
print(score, *sorted({"tensorflow", "keras", "scipy.stats"} & set(sys.modules)))
"""
    assert python(code, tiny, save("p.png", photograph)).split() == [str(expected)]


def test_another_backend_of_keras_is_used_if_it_is_asked_for_and_scores_the_same(by_keras, save, photograph):
    code = """
import sys
from iqa.scoring.scorer import Scorer
scorer = Scorer("ava_vanilla", head="histogram")
print(scorer.network.description, scorer.score(sys.argv[1]).score, sep="\\n")
"""
    description, score = python(code, save("p.png", photograph), KERAS_BACKEND="jax").splitlines()[-2:]
    assert description == "keras on jax"
    assert float(score) == pytest.approx(by_keras.score(photograph).score, abs=1e-4)

"""Worker processes: they score as this process does, and whatever happens to one of them costs one picture."""

import os
import signal
import time

import numpy as np
import pytest

from iqa.cards import AVA_SCALE, keras2_card
from iqa.errors import WorkerError
from iqa.scoring import pool as pools
from iqa.scoring.pool import Workers
from iqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(tiny):
    return Scorer(tiny, runtime="litert")


@pytest.fixture
def pictures(save, photograph, tmp_path):
    paths = [save(f"{number}.png", np.roll(photograph, 9 * number, axis=0)) for number in range(6)]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    return [*paths[:3], tmp_path / "broken.png", *paths[3:]]


@pytest.fixture
def run_in_workers(monkeypatch):
    """run_in_workers(code): what workers run before they serve, with `Geometry` to put another decoder in its place."""

    def arrange(code):
        program = f"""
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from iqa.images.geometry import Geometry
{code}
from iqa.scoring.pool_worker import serve
serve()
"""
        monkeypatch.setattr(pools, "PROGRAM", program)

    return arrange


def test_workers_score_as_this_process_does_in_the_same_order(scorer, pictures):
    here, there = (list(scorer.score_all(pictures, workers=count)) for count in (0, 2))
    assert [path for path, _ in there] == pictures
    for (_, one), (_, other) in zip(here, there, strict=True):
        assert one.reason == other.reason
        assert one.reason or one.output == other.output
    assert [path.name for path, prediction in there if prediction.reason] == ["broken.png"]
    assert len({prediction.score for _, prediction in there if not prediction.reason}) == 6


@pytest.mark.parametrize("runtime", ["litert", "keras"])
def test_what_is_amiss_with_a_picture_that_is_scored_all_the_same_comes_with_its_score(tiny, save, photograph, runtime):
    whole = save("whole.jpg", photograph)
    cut = whole.with_name("cut.jpg")
    cut.write_bytes(whole.read_bytes()[:-2])
    scorer = Scorer(tiny, runtime=runtime)
    for workers in (0, 2):
        (_, good), (_, warned) = scorer.score_all([whole, cut], workers=workers)
        assert good.warning is None and warned.warning == "the file lacks its end, but no pixels"
        assert warned.score == pytest.approx(good.score, abs=1e-5)
    assert scorer.score(cut).warning == "the file lacks its end, but no pixels"


def test_a_broken_image_takes_no_other_of_its_batch_with_it(tiny, pictures, run_in_workers):
    run_in_workers("""
from dataclasses import replace
from iqa.scoring.engines import ENGINES
ENGINES["openvino"] = replace(ENGINES["openvino"], batch=2)
""")
    alone = Scorer(tiny, runtime="openvino")
    for path, prediction in alone.score_all(pictures * 3, workers=2):
        if path.name == "broken.png":
            assert prediction.reason
        else:
            assert prediction.score == alone.score(path).score


def test_with_keras_workers_decode(tiny, pictures):
    scorer = Scorer(tiny, runtime="keras")
    here, there = (list(scorer.score_all(pictures, 3, count)) for count in (0, 2))
    assert [(path, one.reason) for path, one in here] == [(path, one.reason) for path, one in there]
    assert [one.score for _, one in here if not one.reason] == [one.score for _, one in there if not one.reason]


def test_workers_see_what_the_card_says_and_not_what_is_said_of_weights_without_one(tiny_histogram, photograph, save):
    # The card says bilinear, what stands in for a card would say nearest neighbour.
    cardless = keras2_card("histogram", "resize", AVA_SCALE)
    scorer = Scorer(tiny_histogram, head="histogram", cardless=cardless, runtime="keras")
    paths = [save(f"{name}.png", photograph[:, : 256 - 50 * number]) for number, name in enumerate("ab")]
    here, there = ([one.score for _, one in scorer.score_all(paths, workers=count)] for count in (0, 2))
    assert here == pytest.approx(there, abs=1e-5)


def test_workers_import_nothing_from_the_current_folder(scorer, pictures, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    path, prediction = next(scorer.score_all(pictures, workers=2))
    assert path == pictures[0] and prediction.reason is None


def test_names_of_any_bytes_reach_the_workers(scorer, photograph, tmp_path, save):
    os.rename(save("a.png", photograph), tmp_path / os.fsdecode(b"caf\xe9\n'.png"))
    paths = list(tmp_path.glob("*.png")) * 2
    assert [one.score for _, one in scorer.score_all(paths, workers=2)] == [scorer.score(photograph).score] * 2


def test_paths_are_taken_only_as_they_are_needed(scorer, pictures):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield pictures[0]

    results = scorer.score_all(endless(), workers=2)
    for _ in range(5):
        next(results)
    results.close()
    assert 5 <= len(taken) < 100


def test_an_image_that_kills_its_worker_is_named_and_the_others_are_scored(scorer, pictures, run_in_workers):
    run_in_workers("""
see = Geometry.patches
def patches(self, image, notes=None):
    if image.endswith("2.png"):
        os.kill(os.getpid(), signal.SIGSEGV)  # a decoder with a hole
    return see(self, image)
Geometry.patches = patches
""")
    predictions = dict(scorer.score_all(pictures, workers=2))
    reasons = {path.name: one.reason for path, one in predictions.items() if one.reason}
    assert list(predictions) == pictures
    assert reasons.pop("2.png") == f"its decoder crashed (signal {signal.SIGSEGV.value})"
    assert list(reasons) == ["broken.png"]


def test_a_worker_that_is_killed_once_costs_nothing(scorer, pictures):
    with Workers(scorer.recipe, 2) as pool:
        answers = pool.map(pictures * 5)
        results = [next(answers)]
        killed = pool.processes
        for process in killed:
            os.kill(process, signal.SIGKILL)
        results += answers
        assert set(killed).isdisjoint(pool.processes)
    assert [path for path, _ in results] == pictures * 5
    assert {answer.reason for _, answer in results if answer.reason} == {"it is not an image, or of an unknown format"}


def test_an_image_that_takes_too_long_is_named(scorer, pictures, monkeypatch, run_in_workers):
    monkeypatch.setattr(pools, "PATIENCE", 0.5)
    monkeypatch.setattr(pools, "TRIES", 1)
    run_in_workers("""
see = Geometry.patches
Geometry.patches = lambda self, image, notes: time.sleep(600) if image.endswith("1.png") else see(self, image)
""")
    started = time.monotonic()
    predictions = dict(scorer.score_all(pictures, workers=2))
    assert predictions[pictures[1]].reason == "it took longer than 0.5 s"
    assert predictions[pictures[0]].reason is None
    assert time.monotonic() - started < 60


def test_workers_that_cannot_start_are_an_error_and_not_a_million_unscored_images(scorer, pictures, monkeypatch):
    monkeypatch.setattr(pools, "PROGRAM", "raise SystemExit(3)")
    with pytest.raises(WorkerError, match="the workers cannot be started: exit code 3"):
        list(scorer.score_all(pictures, workers=2))


def test_no_process_is_left_behind(scorer, pictures):
    with Workers(scorer.recipe, 2) as pool:
        next(pool.map(pictures))
        processes = pool.processes
        for process in processes:
            os.kill(process, 0)  # it lives
    assert processes
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_workers_of_a_run_that_fails_are_ended(scorer, pictures):
    with pytest.raises(RuntimeError, match="elsewhere"), Workers(scorer.recipe, 2) as pool:
        next(pool.map(pictures))
        processes = pool.processes
        raise RuntimeError("elsewhere")
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)

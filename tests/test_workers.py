import os
import signal
import time

import numpy as np
import pytest

from iqa.cards import AVA_SCALE, keras2_card
from iqa.errors import WorkerError
from iqa.scoring import pool as workers
from iqa.scoring.pool import Workers
from iqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(weights):
    return Scorer(weights, runtime="litert")


@pytest.fixture
def pictures(save, photograph, tmp_path):
    paths = [save(f"{number}.png", np.roll(photograph, 9 * number, axis=0)) for number in range(6)]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    return [*paths[:3], tmp_path / "broken.png", *paths[3:]]


def test_workers_score_as_this_process_does_in_the_same_order(scorer, pictures):
    here, there = (list(scorer.score_all(pictures, workers=count)) for count in (0, 2))
    assert [path for path, _ in there] == pictures
    for (_, one), (_, other) in zip(here, there):
        assert one.reason == other.reason
        assert one.reason or one.output == other.output


def test_a_broken_image_takes_no_other_of_its_batch_with_it(weights, pictures, monkeypatch):
    alone = Scorer(weights, runtime="openvino")
    in_pairs = "from iqa.scoring import runtimes; runtimes.BATCHES['openvino'] = 2; from"
    monkeypatch.setattr(workers, "_START", workers._START.replace("from", in_pairs))
    pictures *= 3
    for path, result in alone.score_all(pictures, workers=2):
        if path.name == "broken.png":
            assert result.reason
        else:
            assert result.score == alone.score(path).score


def test_with_keras_workers_decode(weights, pictures):
    scorer = Scorer(weights, runtime="keras")
    here, there = (list(scorer.score_all(pictures, 3, count)) for count in (0, 2))
    assert [(path, one.reason) for path, one in here] == [(path, one.reason) for path, one in there]
    assert [one.score for _, one in here if not one.reason] == [one.score for _, one in there if not one.reason]


def test_workers_see_what_the_card_says_and_not_what_is_said_of_weights_without_one(photograph, save):
    scorer = Scorer(
        "ava_vanilla", head="histogram", cardless=keras2_card("histogram", "resize", AVA_SCALE), runtime="keras"
    )
    paths = [save(f"{name}.png", photograph[:, : 256 - 50 * number]) for number, name in enumerate("ab")]
    here, there = ([result.score for _, result in scorer.score_all(paths, workers=count)] for count in (0, 2))
    assert here == pytest.approx(there, abs=1e-5)


def test_workers_import_nothing_from_the_current_folder(scorer, pictures, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert not next(scorer.score_all(pictures, workers=2))[1].error


def test_names_of_any_bytes_reach_the_workers(scorer, photograph, tmp_path, save):
    os.rename(save("a.png", photograph), tmp_path / os.fsdecode(b"caf\xe9\n'.png"))
    paths = list(tmp_path.glob("*.png")) * 2
    assert [result.score for _, result in scorer.score_all(paths, workers=2)] == [scorer.score(photograph).score] * 2


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
    assert len(taken) < 100


def test_an_image_that_kills_its_worker_is_named_and_the_others_are_scored(scorer, pictures, monkeypatch, tmp_path):
    # A decoder with a hole, as a worker would import it.
    monkeypatch.setattr(
        workers,
        "_START",
        """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from iqa.scoring import scorer as scoring
seen = scoring.Geometry.patches
def patches(self, image):
    if image.endswith("2.png"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return seen(self, image)
scoring.Geometry.patches = patches
from iqa.scoring.pool import serve
serve()
""",
    )
    results = dict(scorer.score_all(pictures, workers=2))
    errors = {path.name: result.reason for path, result in results.items() if result.reason}
    assert errors.pop("2.png") == f"its decoder crashed (signal {signal.SIGSEGV.value})"
    assert list(errors) == ["broken.png"]


def test_a_worker_that_is_killed_once_costs_nothing(scorer, pictures):
    with Workers(scorer.recipe, 2) as pool:
        answers = pool.map(pictures * 5)
        results = [next(answers)]
        for worker in list(pool._all):
            worker.kill()
        results += answers
    assert [path for path, _, _ in results] == pictures * 5
    assert {error for _, _, error in results if error} == {"it is not an image, or of an unknown format"}


def test_an_image_that_takes_too_long_is_named(scorer, pictures, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    monkeypatch.setattr(workers, "TRIES", 1)
    monkeypatch.setattr(
        workers,
        "_START",
        """
import sys, time
sys.path.insert(0, sys.argv[1])
from iqa.scoring import scorer as scoring
seen = scoring.Geometry.patches
scoring.Geometry.patches = lambda self, image: time.sleep(600) if image.endswith("1.png") else seen(self, image)
from iqa.scoring.pool import serve
serve()
""",
    )
    started = time.monotonic()
    errors = {path.name: result.reason for path, result in scorer.score_all(pictures, workers=2) if result.reason}
    assert errors["1.png"] == "it took longer than 0.5 s"
    assert time.monotonic() - started < 60


def test_workers_that_cannot_start_are_an_error_and_not_a_million_unscored_images(scorer, pictures, monkeypatch):
    monkeypatch.setattr(workers, "_START", "raise SystemExit(3)")
    with pytest.raises(WorkerError, match="the workers cannot be started: exit code 3"):
        list(scorer.score_all(pictures, workers=2))


def test_no_process_is_left_behind(scorer, pictures):
    with Workers(scorer.recipe, 2) as pool:
        next(pool.map(pictures))
        processes = [worker._process for worker in pool._all]
    assert processes
    assert all(process.poll() is not None for process in processes)

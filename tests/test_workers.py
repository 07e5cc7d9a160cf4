"""Worker processes: they score as this process does, and whatever happens to one of them costs one picture."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqa.cards import AVA_SCALE, keras2_card
from iqa.errors import ImageError, UsageError, WorkerError
from iqa.scoring import pool as pools
from iqa.scoring.collection import RunOptions, named_entries, score_to_file
from iqa.scoring.messages import TEXT, Answer, Form, MessageError, read_answer, read_ready, write_answer, write_ready
from iqa.scoring.pool import Workers
from iqa.scoring.scorer import Scorer

ROOT = Path(__file__).resolve().parent.parent

#: A decoder that crashes over one of the pictures.
CRASHING = """
see = Geometry.patches
def patches(self, image, notes=None):
    if image.endswith("2.png"):
        os.kill(os.getpid(), signal.SIGSEGV)  # a decoder with a hole
    return see(self, image)
Geometry.patches = patches
"""

#: One that takes for ever.
SLOW = """
see = Geometry.patches
Geometry.patches = lambda self, image, notes: time.sleep(600) if image.endswith("1.png") else see(self, image)
"""


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
    run_in_workers(CRASHING)
    predictions = dict(scorer.score_all(pictures, workers=2))
    reasons = {path.name: one.reason for path, one in predictions.items() if one.reason}
    assert list(predictions) == pictures
    assert reasons.pop("2.png") == f"its decoder crashed (signal {signal.SIGSEGV.value})"
    assert list(reasons) == ["broken.png"]


def test_the_last_picture_of_a_run_kills_a_worker_and_not_the_run_and_is_remembered(
    scorer, pictures, run_in_workers, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError("disk full")

    run_in_workers(CRASHING)
    out, told = tmp_path / "s.csv", []
    monkeypatch.setattr("iqa.scoring.collection.write_scores", refuse)
    for _ in range(2):
        with pytest.raises(OSError, match="disk full"):
            score_to_file(scorer, lambda: named_entries([pictures[2]]), out, RunOptions(workers=1), tell=told.append)
        monkeypatch.setattr(Scorer, "score_all", None)  # nothing is left for the run that is resumed
    assert told == [f"{pictures[2]}: its decoder crashed (signal {signal.SIGSEGV.value})"] * 2


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


def test_an_image_that_takes_too_long_is_named(scorer, pictures, run_in_workers):
    run_in_workers(SLOW)
    started = time.monotonic()
    predictions = dict(scorer.score_all(pictures, workers=2, timeout=5))
    assert predictions[pictures[1]].reason == "it took longer than 5 s"
    assert [one.reason for path, one in predictions.items() if path.name not in ("1.png", "broken.png")] == [None] * 5
    assert time.monotonic() - started < 60


def test_one_image_with_a_timeout_is_scored_in_a_worker_that_stays(tiny, pictures, run_in_workers):
    scorer = Scorer(tiny, runtime="litert")
    expected = scorer.score(pictures[0]).score
    run_in_workers(SLOW)
    for image in (pictures[0], pictures[0].read_bytes(), io.BytesIO(pictures[0].read_bytes())):
        assert scorer.score(image, timeout=60).score == expected
    assert len(scorer._pool().processes) == 1
    with pytest.raises(ImageError, match=r"it took longer than 0\.2 s"):
        scorer.score(pictures[1], timeout=0.2)
    with pytest.raises(ImageError, match="there is no such file"):
        scorer.score("gone.png", timeout=60)
    with pytest.raises(UsageError, match="which a worker can decode"):
        scorer.score(np.asarray(Image.open(pictures[0])), timeout=60)
    with pytest.raises(TypeError, match="not NoneType"):
        scorer.score(None, timeout=60)
    (process,) = scorer._pool().processes
    scorer._pool().close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_with_keras_too_one_image_with_a_timeout_is_decoded_in_a_worker(tiny, pictures):
    scorer = Scorer(tiny, runtime="keras")
    assert scorer.score(pictures[0], timeout=60).score == scorer.score(pictures[0]).score
    scorer._pool().close()


def test_workers_that_cannot_start_are_an_error_and_not_a_million_unscored_images(scorer, pictures, monkeypatch):
    monkeypatch.setattr(pools, "PROGRAM", "raise SystemExit(3)")
    with pytest.raises(WorkerError, match="the workers cannot be started: exit code 3; --workers 0 does without them"):
        list(scorer.score_all(pictures, workers=2))


def test_a_worker_that_hangs_while_it_starts_is_ended(scorer, pictures, monkeypatch):
    monkeypatch.setattr(pools, "PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(pools, "TIME_TO_START", 0.2)
    monkeypatch.setattr(pools, "STARTS", 1)
    with pytest.raises(WorkerError, match=r"one did not start within 0\.2 s"):
        list(scorer.score_all(pictures, workers=1))


def test_workers_that_are_killed_while_they_start_are_started_again(scorer, pictures, tmp_path, run_in_workers):
    run_in_workers(f"""
with open({str(tmp_path / "starts")!r}, "a+") as starts:
    starts.write("x")
    starts.flush()
    starts.seek(0)
    if len(starts.read()) <= 3:
        os.kill(os.getpid(), signal.SIGKILL)
""")
    predictions = dict(scorer.score_all(pictures, workers=1))
    assert [path.name for path, one in predictions.items() if one.reason] == ["broken.png"]


def test_a_worker_that_sends_nonsense_costs_one_picture(scorer, pictures, run_in_workers):
    run_in_workers("""
from iqa.scoring import pool_worker
write = pool_worker.write_answer
def lie(channel, answer, form):
    channel.write(b"{}!" * 100) if answer.reason else write(channel, answer, form)
pool_worker.write_answer = lie
""")
    predictions = dict(scorer.score_all(pictures, workers=1))
    reasons = {path.name: one.reason for path, one in predictions.items() if one.reason}
    assert reasons == {"broken.png": "its decoder sent nonsense"}


def test_a_worker_finds_the_standard_library_before_other_packages(tmp_path):
    for module in ("json", "numpy", "iqa"):
        (tmp_path / f"{module}.py").touch()
    program = pools.PROGRAM.partition("from iqa")[0] + "import iqa, json, numpy; print(iqa, json, numpy)"
    done = subprocess.run([sys.executable, "-P", "-c", program, tmp_path], capture_output=True, text=True, env={})
    iqa, standard, numpy = done.stdout.split("<module")[1:]
    assert str(tmp_path) in iqa and str(tmp_path) in numpy and str(tmp_path) not in standard


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds it")
def test_a_worker_has_a_bound_on_its_memory():
    program = """
from iqa.scoring.pool_worker import bound_memory
bound_memory(200 << 20)
small = bytearray(100 << 20)
try:
    bytearray(200 << 20)
except MemoryError:
    print("bounded")
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT).stdout == b"bounded\n"


#: A parent whose worker has begun to decode a picture, which takes for ever and lets no other thread of it run.
PARENT = """
import json, sys
from iqa.scoring import pool
hang = '''
from iqa.images.geometry import Geometry
def hang(self, image, notes):
    print("decoding", file=sys.stderr, flush=True)
    (1 << 10 ** 9) ** 999
Geometry.patches = hang
serve()'''
pool.PROGRAM = pool.PROGRAM.replace("serve()", hang)
pool.temporary_file = lambda: sys.stderr.buffer
workers = pool.Workers(json.loads(sys.argv[1]), 1)
workers._threads.submit(workers._ask, sys.argv[2:], 600)
while not workers.processes:
    pass
print(*workers.processes, flush=True)
"""


def test_a_worker_ends_with_its_parent_even_in_the_middle_of_a_picture(scorer, pictures):
    command = [sys.executable, "-c", PARENT, json.dumps(scorer.recipe), pictures[0]]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert int(parent.stdout.readline())
    while "decoding" not in parent.stderr.readline():
        pass
    parent.kill()
    # The end of its stderr comes when the last process that could write to it has ended, the worker.
    parent.communicate(timeout=60)


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


# --- what is said ----------------------------------------------------------------------------------------------------

SCORES = Form(np.float32, (10,))


def sent(answer, form=SCORES):
    channel = io.BytesIO()
    write_answer(channel, answer, form)
    return channel.getvalue()


def test_answers_arrive_as_they_were_sent():
    shares, patches = np.arange(10, dtype=np.float32), np.zeros((2, 4, 4, 3), np.uint8)
    channel = io.BytesIO()
    write_ready(channel)
    write_answer(channel, Answer(shares, warning="flat"), SCORES)
    write_answer(channel, Answer(None, "it is\nbroken \x1b[31m" + 3000 * "x"), SCORES)
    write_answer(channel, Answer(patches), Form(np.uint8, (None, 4, 4, 3), 2))
    channel.seek(0)
    read_ready(channel)
    answer = read_answer(channel, SCORES)
    np.testing.assert_array_equal(answer.array, shares)
    assert answer.warning == "flat"
    reason = read_answer(channel, SCORES).reason
    assert reason.startswith("it is broken ?[31mxxx") and len(reason) <= TEXT
    np.testing.assert_array_equal(read_answer(channel, Form(np.uint8, (None, 4, 4, 3), 2)).array, patches)


@pytest.mark.parametrize(
    "content",
    [
        b"{" + 100 * b"x",
        b"ready\n" + bytes(40),
        sent(Answer(np.ones(10, np.float32))).replace(b"iqa", b"iqb"),
        sent(Answer(np.ones(9, np.float32))),
        sent(Answer(np.ones((1, 10), np.float32))),
        sent(Answer(np.full(10, np.nan, np.float32))),
        sent(Answer(np.ones((9, 9, 9), np.uint8)), Form(np.uint8, (9, 9, 9))),
        b"iqa\1\1\1\xff\xff" + 200 * b"\0",
        b"iqa\1\1\1\0\0" + 16 * b"\xff",
        b"iqa\1\1\xff\0\0" + bytes(16),
        b"iqa\1\x09\1\0\0" + bytes(16),
        b"iqa\1\0\1\0\0" + bytes(16),
    ],
)
def test_an_answer_of_another_form_is_refused(content):
    with pytest.raises(MessageError):
        read_answer(io.BytesIO(content), SCORES)


@pytest.mark.parametrize("length", range(64))
def test_an_answer_that_breaks_off_is_none(length):
    content = sent(Answer(np.ones(10, np.float32)))
    assert len(content) == 64
    with pytest.raises(EOFError):
        read_answer(io.BytesIO(content[:length]), SCORES)


def test_the_form_bounds_what_a_parent_takes(tiny_histogram, tiny):
    recipes = [Scorer(tiny_histogram, head="histogram", runtime="litert").recipe, Scorer(tiny, runtime="keras").recipe]
    assert Form.of(recipes[0]) == Form(np.float32, (10,))
    patches = Form.of(recipes[1])
    assert patches.admits((1, 224, 224, 3)) and not patches.admits((10**6, 224, 224, 3))
    assert not Form.of({"thumbnail": 200}).admits((10**6,))


# --- forks -----------------------------------------------------------------------------------------------------------

FORKING = """
import os, signal, sys, threading
import numpy as np
from iqa.scoring.scorer import load_scorer
scorer = load_scorer(sys.argv[1], runtime="litert")
image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
expected = scorer.score(image).score
threading.Thread(target=lambda: [scorer.score(image) for _ in iter(int, 1)], daemon=True).start()
for _ in range(8):
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that hangs is ended
        same = load_scorer(sys.argv[1], runtime="litert") is scorer
        os._exit(0 if same and abs(scorer.score(image).score - expected) < 1e-4 else 3)
    assert os.waitpid(child, 0)[1] == 0
print("all scored", flush=True)
os._exit(0)
"""


def test_a_process_that_is_forked_while_another_thread_scores_has_a_scorer_that_works(tiny):
    Scorer(tiny, runtime="litert")  # compiled here, where the tiny network can be built
    done = subprocess.run([sys.executable, "-c", FORKING, tiny], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "all scored\n", done.stderr


def test_keras_in_a_process_that_was_forked_is_refused_and_does_not_hang(tiny, photograph, monkeypatch):
    scorer = Scorer(tiny, runtime="keras")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(ValueError, match="start the process by spawn or forkserver"):
        scorer.score(photograph)

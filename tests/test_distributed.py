"""Scoring on a Ray cluster, of one machine here: what comes out is what a local run writes, whatever dies meanwhile."""

import gc
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from AVA import infer_vanilla
from iqa.errors import ImageError, UsageError, WorkerError
from iqa.images import stored
from iqa.images.finding import LeftOut, named_images
from iqa.images.stored import StoredFile, fetch
from iqa.labels.opinions import Prediction
from iqa.scoring import distributed
from iqa.scoring import pool as pools
from iqa.scoring.collection import RunOptions, named_entries, score_to_file

RUNTIME = ("--runtime", "litert")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def pictures(photograph, tmp_path_factory):
    """24 pictures, one of them in a folder of its own and one broken, and a text."""
    folder = tmp_path_factory.mktemp("holiday")
    (folder / "b").mkdir()
    for number in range(24):
        place = folder / ("b" if number == 7 else "") / f"{number:02d}.jpg"
        Image.fromarray(np.roll(photograph, 9 * number, axis=1)).save(place)
    (folder / "05.jpg").write_bytes((folder / "05.jpg").read_bytes()[:700])
    (folder / "notes.txt").write_text("left out")
    return folder


@pytest.fixture(scope="module")
def scorer():
    return infer_vanilla.load(runtime="litert")


@pytest.fixture(scope="module")
def ray():
    """Ray, connected to a cluster of this machine, which lasts as long as the tests of this file."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("pyarrow")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            distributed.connect()
        except WorkerError as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("this machine is too busy to start Ray, which must take no more than 30 s")
        yield ray
        ray.shutdown()
        gc.collect()  # what Ray leaves to the collector must not be found in a test of something else


def score(scorer, out, named, engine=None, **options):
    """The lines that are told and the bytes that are written."""
    told = []
    entries = partial(named_entries, named, stored=True)
    score_to_file(scorer, entries, out, RunOptions(workers=2, engine=engine, **options), tell=told.append)
    return told, out.read_bytes()


def find_actors():
    """The numbers of the processes that are actors of this process's cluster."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"_Actor" in (folder / "cmdline").read_bytes() and parent_of(parent_of(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue  # it has ended
    return found


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


# --- with a cluster --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_run_on_ray_writes_what_a_local_run_writes_even_if_an_actor_is_killed(
    ray, scorer, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(distributed, "BLOCK", 3)
    killed = []

    def engine(waiting):
        for number, result in enumerate(distributed.score_on_ray(scorer.recipe, waiting)):
            if number == 2:
                killed.append(find_actors()[0])
                os.kill(killed[0], signal.SIGKILL)
            yield result

    local = score(scorer, tmp_path / "local.csv", [pictures])
    assert score(scorer, tmp_path / "ray.csv", [pictures], engine) == local
    assert len(killed) == 1 and "05.jpg: it cannot be decoded" in local[0][0]


def test_pictures_on_shared_storage_score_as_files_do_and_are_scored_again_when_they_change(
    ray, scorer, pictures, tmp_path, photograph
):
    engine = partial(distributed.score_on_ray, scorer.recipe)
    _, here = score(scorer, tmp_path / "here.jsonl", [pictures])
    told, there = score(scorer, tmp_path / "there.jsonl", [f"file://{pictures}"], engine, keep=True)
    assert there.decode() == here.decode().replace(str(pictures), f"file://{pictures}")
    assert len(told) == 1 and told[0].startswith(f"file://{pictures}/05.jpg: it cannot be decoded")

    Image.fromarray(photograph[::-1]).save(pictures / "05.jpg")
    try:
        asked = []

        def counted(waiting):
            asked.extend(waiting)
            yield from engine(iter(asked))

        _, again = score(scorer, tmp_path / "there.jsonl", [f"file://{pictures}"], counted, keep=True)
        assert [str(path) for _, path in asked] == [f"file://{pictures}/05.jpg"]
        assert len(again.splitlines()) == len(there.splitlines()) and b"error" not in again
    finally:
        (pictures / "05.jpg").write_bytes((pictures / "05.jpg").read_bytes()[:700])


def test_weights_are_sent_to_a_machine_that_lacks_them(scorer, pictures, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("ray"), "get", lambda files: files)
    (model,) = distributed._models_of(scorer.recipe)
    files = distributed._files_of([model])
    place = distributed._place(Path("/nowhere") / scorer.weights.name, scorer.sha256, files)
    assert place != scorer.weights and place.read_bytes() == scorer.weights.read_bytes()
    sent = distributed._Actor(scorer.recipe | {"weights": str(place)}, files, distributed._versions_of([model]), 60)
    ((_, prediction),) = answers(sent, [pictures / "00.jpg"])
    sent._pool.close()
    np.testing.assert_allclose(prediction.output, scorer.score(pictures / "00.jpg").output, atol=1e-6)


def test_a_command_line_that_ray_has_no_part_in_says_so(command, pictures, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    code, _, err = command(infer_vanilla, pictures, "--engine", "ray", *RUNTIME)
    assert code == 2 and "give --out" in err
    code, _, err = command(infer_vanilla, pictures, "--out", out, "--ray-address", "auto", *RUNTIME)
    assert code == 2 and "--ray-address is for --engine ray" in err
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = command(infer_vanilla, pictures, "--out", out, "--engine", "ray", *RUNTIME)
    assert code == 2 and len(err.splitlines()) == 1 and "pip install 'image-quality-assessment[ray]'" in err
    assert not list(tmp_path.iterdir())


def test_an_address_at_which_nothing_answers_is_refused_at_once(command, pictures, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    out = tmp_path / "s.csv"
    code, _, err = command(
        infer_vanilla, pictures, "--out", out, "--engine", "ray", "--ray-address", "127.0.0.1:9", *RUNTIME
    )
    assert code == 2 and len(err.splitlines()) == 1 and "no Ray cluster at 127.0.0.1:9" in err


# --- an actor, in this process ---------------------------------------------------------------------------------------


def answers(actor, paths):
    """What the driver reads in the answers of an actor."""
    import pyarrow

    block = pyarrow.table({"position": range(len(paths)), "path": [os.fsencode(path) for path in paths]})
    return [distributed._read_row(row) for row in actor(block).to_pylist()]


@pytest.fixture
def actor(scorer):
    pytest.importorskip("pyarrow")
    actor = distributed._Actor(scorer.recipe, None, distributed._versions_of([scorer.recipe]), 60)
    yield actor
    actor._pool.close()


def test_a_decoder_that_crashes_costs_one_picture(actor, scorer, pictures, monkeypatch):
    monkeypatch.setattr(
        pools,
        "PROGRAM",
        """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from iqa.images.geometry import Geometry
see = Geometry.patches
def patches(self, image, notes=None):
    if image.endswith("02.jpg"):
        os.kill(os.getpid(), signal.SIGSEGV)  # a decoder with a hole
    return see(self, image)
Geometry.patches = patches
from iqa.scoring.pool_worker import serve
serve()
""",
    )
    paths = [pictures / f"{number:02d}.jpg" for number in range(4)]
    said = answers(actor, paths)
    assert [position for position, _ in said] == [0, 1, 2, 3]
    assert [one.reason for _, one in said] == [None, None, f"its decoder crashed (signal {signal.SIGSEGV.value})", None]
    assert said[3][1].score == pytest.approx(scorer.score(paths[3]).score, abs=1e-6)


def test_a_machine_that_does_not_see_a_picture_ends_the_run(actor, pictures, tmp_path, monkeypatch):
    gone = tmp_path / "gone.jpg"
    ((_, said),) = answers(actor, [gone])  # which is nowhere
    assert said.reason == "there is no such file"
    row = actor._row(0, str(pictures / "00.jpg"), reason="there is no such file", missing=True)
    with pytest.raises(WorkerError, match=r"00\.jpg: is not on .*; all machines must see it"):
        distributed._read_row(row)


def test_a_machine_with_another_decoder_ends_the_run(scorer, pictures):
    pytest.importorskip("pyarrow")
    expected = distributed._versions_of([scorer.recipe]) | {"pillow": "1.0"}
    actor = distributed._Actor(scorer.recipe, None, expected, 60)
    with pytest.raises(WorkerError, match=r": pillow is [\d.]+ there and 1\.0 here"):
        answers(actor, [pictures / "00.jpg"])


def test_a_stored_file_that_cannot_be_fetched_is_named(actor, pictures):
    pytest.importorskip("fsspec")
    here, nowhere = f"file://{pictures}/00.jpg", f"file://{pictures}/gone.jpg"
    (_, first), (_, second) = answers(actor, [nowhere, here])
    assert first.reason == "there is no such file" and second.output is not None


def test_keras_does_not_score_on_ray(scorer):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="choose another --runtime"):
        next(distributed.score_on_ray(scorer.recipe | {"runtime": "keras"}, iter([])))


# --- whatever scores -------------------------------------------------------------------------------------------------


def test_scores_that_come_in_any_order_are_written_in_that_of_the_pictures(scorer, pictures, tmp_path):
    def backwards(waiting):
        for position, path in reversed(list(waiting)):
            yield position, Prediction(np.full(10, 0.1, np.float32), warning=path.name)

    _, written = score(scorer, tmp_path / "s.jsonl", [pictures], backwards)
    rows = [json.loads(line) for line in written.splitlines()]
    names = [os.path.relpath(row["path"], pictures) for row in rows]
    assert names == [str(path.relative_to(pictures)) for path, _ in named_images([pictures])]
    assert all(row["warning"] == os.path.basename(row["path"]) for row in rows)


def test_what_a_killed_run_recorded_is_not_scored_again(scorer, pictures, tmp_path):
    told = []

    def some(waiting):
        for number, (position, _) in enumerate(reversed(list(waiting))):
            if number == 10:
                raise KeyboardInterrupt
            yield position, Prediction(np.full(10, 0.1, np.float32))

    def rest(waiting):
        for position, path in waiting:
            told.append(path)
            yield position, Prediction(np.full(10, 0.1, np.float32))

    with pytest.raises(KeyboardInterrupt):
        score(scorer, tmp_path / "s.csv", [pictures], some)
    score(scorer, tmp_path / "s.csv", [pictures], rest)
    assert told == [path for path, _ in named_images([pictures])][:14]


# --- URLs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def storage():
    """A storage of fsspec's that lies in the memory of this process."""
    fsspec = pytest.importorskip("fsspec")
    storage = fsspec.filesystem("memory")
    for name in ("b/2.JPG", "b/10.jpg", "a.png", "notes.txt", ".thumbnails/a.png", "b/._2.jpg"):
        storage.pipe(f"/shelf/{name}", name.encode())
    yield storage
    storage.rm("/shelf", recursive=True)


def test_a_url_names_a_file_a_folder_or_a_pattern(storage):
    left_out = LeftOut()

    def names(url):
        return [
            (str(path).removeprefix("memory:///shelf/"), why)
            for path, why in named_images([url], (), False, left_out, True)
        ]

    assert names("memory://shelf") == [("a.png", None), ("b/10.jpg", None), ("b/2.JPG", None)]
    assert left_out == {".txt": 1}
    assert names("memory://shelf/b/*.jpg") == [("b/._2.jpg", None), ("b/10.jpg", None)]
    assert names("memory://shelf/notes.txt") == [("notes.txt", None)]
    assert names("memory://shelf/c.png") == [("memory://shelf/c.png", "there is no such file")]
    ((_, why),) = named_images(["nonsense://shelf"], stored=True)
    assert why.startswith("the storage cannot be read: ") and "nonsense" in why


def test_urls_are_for_ray(command, tmp_path):
    code, _, err = command(infer_vanilla, "s3://bucket/a.jpg", "--out", tmp_path / "s.csv", *RUNTIME)
    assert code == 2 and "s3://bucket/a.jpg: URLs are for --engine ray" in err


def test_a_fetch_that_fails_for_a_moment_is_tried_again(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "PAUSES", (0.0, 0.0))
    get, failures = type(storage).get_file, [OSError("the line is down"), OSError("still")]

    def get_file(self, *arguments):
        if failures:
            raise failures.pop()
        return get(self, *arguments)

    monkeypatch.setattr(type(storage), "get_file", get_file)
    fetch("memory://shelf/a.png", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"a.png" and not failures
    failures += [OSError("the line is down")] * 3
    with pytest.raises(ImageError, match="it cannot be fetched: the line is down"):
        fetch("memory://shelf/a.png", tmp_path / "a.png")
    with pytest.raises(ImageError, match="there is no such file"):
        fetch("memory://shelf/gone.png", tmp_path / "a.png")


def test_a_url_and_a_path_are_told_apart():
    assert stored.path_of("s3://bucket/a//b.jpg") == StoredFile("s3://bucket/a//b.jpg")
    assert os.fspath(stored.path_of("s3://bucket/a//b.jpg")) == "s3://bucket/a//b.jpg"
    for name in ("a.jpg", "/a/b.jpg", "C:/a.jpg", str(Path("s3://bucket/a.jpg"))):
        assert stored.path_of(name) == Path(name)

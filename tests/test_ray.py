"""Scoring on a Ray cluster, of one machine here: what comes out is what a local run writes, whatever dies meanwhile."""

import gc
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from AVA import infer_vanilla
from iqa.errors import ImageError, UsageError, WorkerError
from iqa.images import stored
from iqa.images.finding import LeftOut, named_images
from iqa.images.stored import StoredFile, fetch, path_of
from iqa.scoring import ray_engine
from iqa.scoring.results import Result

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
RUNTIME = ("--runtime", "litert")


@pytest.fixture(scope="module")
def pictures(photograph, tmp_path_factory):
    """12 pictures, one of them broken, and a text."""
    folder = tmp_path_factory.mktemp("holiday")
    for number in range(12):
        Image.fromarray(np.roll(photograph, 9 * number, axis=1)).save(folder / f"{number:02d}.jpg")
    (folder / "05.jpg").write_bytes((folder / "05.jpg").read_bytes()[:700])
    (folder / "notes.txt").write_text("left out")
    return folder


@pytest.fixture(scope="module")
def ray():
    """Ray, connected to a cluster of this machine, which lasts as long as the tests of this file."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            ray_engine.connect()
        except WorkerError as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("this machine is too busy to start Ray, which must take no more than 30 s")
        yield ray
        ray.shutdown()
        gc.collect()  # what Ray leaves to the collector must not be found in a test of something else


def find_actors():
    """The numbers of the processes that are actors of this process's cluster."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = b"(Actor)" in (folder / "cmdline").read_bytes()
            if named and parent_of(parent_of(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue  # it has ended
    return found


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_run_on_ray_writes_what_a_local_run_writes_even_if_an_actor_is_killed(
    ray, command, pictures, tmp_path, monkeypatch
):
    killed, score = [], ray_engine.score_on_ray

    def score_and_kill(*arguments):
        for number, result in enumerate(score(*arguments)):
            if number == 1 and not killed:
                killed.append(find_actors()[0])
                os.kill(killed[0], signal.SIGKILL)
            yield result

    monkeypatch.setattr(ray_engine, "score_on_ray", score_and_kill)
    monkeypatch.setattr(ray_engine, "BLOCK", 2)
    local, there, stored = (tmp_path / f"{name}.csv" for name in ("local", "ray", "stored"))
    assert command(infer_vanilla, pictures, "--out", local, *RUNTIME)[0] == 1
    code, _, err = command(infer_vanilla, pictures, "--out", there, "--engine", "ray", *RUNTIME)
    assert code == 1 and "05.jpg: it cannot be decoded" in err and len(killed) == 1
    assert there.read_bytes() == local.read_bytes()
    code, _, err = command(infer_vanilla, f"file://{pictures}", "--out", stored, "--engine", "ray", *RUNTIME)
    assert code == 1 and f"file://{pictures}/05.jpg: it cannot be decoded" in err
    assert stored.read_text() == local.read_text().replace(str(pictures), f"file://{pictures}")


def test_a_command_line_that_ray_has_no_part_in_says_so(command, pictures, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    out = ("--out", tmp_path / "s.csv", *RUNTIME)

    def refused(*arguments):
        code, _, err = command(infer_vanilla, *arguments)
        assert code == 2
        return err

    assert "give --out" in refused(pictures, "--engine", "ray", *RUNTIME)
    assert "--ray-address is for --engine ray" in refused(pictures, "--ray-address", "auto", *out)
    assert "s3://bucket/a.jpg: URLs are for --engine ray" in refused("s3://bucket/a.jpg", *out)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    nowhere = refused(pictures, "--engine", "ray", "--ray-address", "127.0.0.1:9", *out)
    assert "no Ray cluster at 127.0.0.1:9" in nowhere and len(nowhere.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'image-quality-assessment[ray]'" in refused(pictures, "--engine", "ray", *out)


def test_keras_does_not_score_on_ray():
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="choose another --runtime"):
        next(ray_engine.score_on_ray({"beauty": {"runtime": "keras"}}, []))


# --- an actor, in this process ---------------------------------------------------------------------------------------


def stand_in(recipes, thumbnails, features):
    """In the place of `open_models`: the score is the number of bytes of the file."""
    return lambda paths: [
        Result(path, {"size": path.stat().st_size}) if path.exists() else Result(path, error="no such file")
        for path in paths
    ]


@pytest.fixture
def ask(monkeypatch):
    """ask(path, expected={}) -> what an actor says of a picture, if it must have the versions that are expected."""
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr(ray_engine, "open_models", stand_in)

    def ask(path, expected=()):
        actor = ray_engine.Actor({}, None, dict(expected), 60, None)
        (row,) = actor(pyarrow.table({"row": [pickle.dumps((3, path))]}))["row"].to_pylist()
        if not expected:
            actor._workers.close()
        return pickle.loads(row)

    return ask


def test_an_actor_reads_stored_files_and_names_those_that_cannot_be_fetched(ask, pictures):
    pytest.importorskip("fsspec")
    position, result, trouble = ask(StoredFile(f"file://{pictures}/00.jpg"))
    assert (position, result.scores["size"], trouble) == (3, (pictures / "00.jpg").stat().st_size, None)
    assert ask(StoredFile(f"file://{pictures}/gone.jpg"))[1].error == "there is no such file"


def test_a_machine_that_cannot_score_says_what_is_wrong_with_it(ask, pictures):
    assert "gone.jpg: is not on " in ask(pictures / "gone.jpg")[2]
    position, _, trouble = ask(pictures / "00.jpg", {"pillow": "1.0"})
    assert position is None and trouble.endswith("this machine has pillow 1.0, that one has not")


def test_weights_are_sent_to_a_machine_that_lacks_them(monkeypatch, tmp_path):
    monkeypatch.setattr(pytest.importorskip("ray"), "get", lambda files: files)
    (tmp_path / "a.weights.h5").write_bytes(b"weights")
    (tmp_path / "a.tflite").write_bytes(b"compiled")
    recipe = {"weights": tmp_path / "a.weights.h5", "sha256": "1234"}
    files = ray_engine._files_of({"beauty": recipe})
    place = ray_engine._place(recipe | {"weights": "/nowhere/a.weights.h5"}, files)
    assert place.read_bytes() == b"weights" and place.with_name("a.tflite").read_bytes() == b"compiled"


# --- URLs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def storage():
    """A storage of fsspec's that lies in the memory of this process."""
    storage = pytest.importorskip("fsspec").filesystem("memory")
    for name in ("b/2.JPG", "b/10.jpg", "a.png", "notes.txt", ".thumbnails/a.png", "b/._2.jpg"):
        storage.pipe(f"/shelf/{name}", name.encode())
    yield storage
    storage.rm("/shelf", recursive=True)


def test_a_url_names_a_file_a_folder_or_a_pattern(storage):
    left_out = LeftOut()

    def names(url):
        found = named_images([url], (), False, left_out, True)
        return [(str(path).removeprefix("memory:///shelf/"), why) for path, why in found]

    assert names("memory://shelf") == [("a.png", None), ("b/10.jpg", None), ("b/2.JPG", None)]
    assert left_out == {".txt": 1}
    assert names("memory://shelf/b/*.jpg") == [("b/._2.jpg", None), ("b/10.jpg", None)]
    assert names("memory://shelf/c.png") == [("memory://shelf/c.png", "there is no such file")]
    ((_, why),) = named_images(["nonsense://shelf"], stored=True)
    assert why.startswith("the storage cannot be read: ") and "nonsense" in why
    assert path_of("s3://bucket/a//b.jpg") == StoredFile("s3://bucket/a//b.jpg")
    assert path_of(str(Path("s3://bucket/a.jpg"))) == Path("s3:/bucket/a.jpg")


def test_a_fetch_that_fails_for_a_moment_is_tried_again(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "PAUSES", (0.0, 0.0))
    get, failures = type(storage).get_file, [OSError("the line is down")] * 2

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

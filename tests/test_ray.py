"""Scoring on a Ray cluster, of one machine here: what comes out is what a local run writes."""

import gc
import sys

import numpy as np
import pytest
from PIL import Image

from AVA import infer_vanilla
from iqa.errors import UsageError
from iqa.images import stored
from iqa.images.finding import LeftOut, named_images
from iqa.images.stored import StoredFile, fetch
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
        ray_engine.connect()
        yield ray
        ray.shutdown()
        gc.collect()  # what Ray leaves to the collector must not be found in a test of something else


def test_a_run_on_ray_writes_what_a_local_run_writes(ray, command, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "BLOCK", 4)
    local, there, url = tmp_path / "local.csv", tmp_path / "ray.csv", f"file://{pictures}"
    assert command(infer_vanilla, pictures, "--out", local, *RUNTIME)[0] == 1
    code, _, err = command(infer_vanilla, pictures, url, "--out", there, "--engine", "ray", *RUNTIME)
    assert code == 1 and f"{pictures}/05.jpg: it cannot be decoded" in err and f"{url}/05.jpg: it cannot be" in err
    heading, *rows = local.read_text().splitlines()
    assert there.read_text().splitlines() == [heading, *rows, *(row.replace(str(pictures), url) for row in rows)]


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
    with pytest.raises(UsageError, match="choose another --runtime"):
        next(ray_engine.score_on_ray({"beauty": {"runtime": "keras"}}, []))
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'ray[data]'" in refused(pictures, "--engine", "ray", *out)


def stand_in(recipes, thumbnails, features):
    """In the place of `open_models`: the score is the number of bytes of the file."""
    return lambda paths: [Result(path, {"size": path.stat().st_size} if path.exists() else {}) for path in paths]


def test_an_actor_fetches_stored_files_and_says_what_its_machine_lacks(pictures, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(ray_engine, "open_models", stand_in)
    stored = [StoredFile(f"file://{pictures}/{name}") for name in ("00.jpg", "gone.jpg")]
    actor = ray_engine.Actor({}, {}, 60, None)
    (three, first), (four, second) = ray_engine._rows(actor(ray_engine._table(zip((3, 4), stored, strict=True))))
    actor._workers.close()
    assert (three, four) == (3, 4) and first.scores["size"] == (pictures / "00.jpg").stat().st_size
    assert second.error == "there is no such file"
    lacking = {"beauty": {"weights": "/nowhere/a.weights.h5", "sha256": "12"}}
    ((position, trouble),) = ray_engine._rows(ray_engine.Actor(lacking, {"pillow": "1.0"}, 60, None)(None))
    assert position is None and trouble.endswith("this machine lacks pillow 1.0, /nowhere/a.weights.h5")


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

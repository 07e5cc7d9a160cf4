"""Runs over collections: what is found, what is written, and that nothing is lost when a run is killed."""

import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bad_files import bad_files
from PIL import Image as Picture

from AVA import infer_vanilla
from iqa.errors import JournalError
from iqa.evaluation.predictions import read_predictions
from iqa.images import finding as inputs
from iqa.images.finding import images_below, named_images
from iqa.scoring.journal import Image, Journal
from TID2013_regression import infer_regression

ROOT = Path(__file__).resolve().parent.parent

# 30 kills of a run of 1,000 images take some minutes: IQA_THOROUGH=1 asks for them.
IMAGES, KILLS = (1000, 30) if os.environ.get("IQA_THOROUGH") else (120, 3)


@pytest.fixture
def pictures(tmp_path, photograph):
    """Four pictures in nested folders, and what is none."""
    folder = tmp_path / "pictures"
    for number, name in enumerate(("b.png", "a/z.png", "a/c/y.PNG", "é\n&<.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.roll(photograph, 20 * number, axis=1)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def names(found, folder):
    return [(path.relative_to(folder).as_posix(), reason) for path, reason in found]


# --- what was meant -------------------------------------------------------------------------------------------------


def test_folders_are_walked_in_the_order_of_paths(pictures):
    found = names(images_below(pictures), pictures)
    assert found == [("a/c/y.PNG", None), ("a/z.png", None), ("b.png", None), ("é\n&<.png", None)]


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_walked(pictures, monkeypatch):
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("/c"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(inputs.os, "scandir", refusing)
    found = names(images_below(pictures), pictures)
    assert found[0] == ("a/c", "the folder cannot be read (Permission denied)")
    assert len(found) == 4


def test_links_in_circles_end(pictures):
    (pictures / "circle").symlink_to(pictures)
    (pictures / "self.png").symlink_to("self.png")
    assert len(list(images_below(pictures))) == 4


def test_patterns_that_the_shell_left_are_looked_for(pictures):
    found = named_images([f"{pictures}/**/*.png"])
    assert {name for name, _ in names(found, pictures)} == {"a/z.png", "b.png", "é\n&<.png"}
    ((path, reason),) = named_images([f"{pictures}/*.tif"])
    assert (path.name, reason) == ("*.tif", "no file matches this pattern")
    (pictures / "circle").symlink_to(pictures)
    assert len(list(named_images([f"{pictures}/**"]))) == 5  # notes.txt too: a pattern is taken at its word
    assert [name for name, _ in names(named_images([f"{pictures}/a*"]), pictures)] == ["a/c/y.PNG", "a/z.png"]
    assert [name for name, _ in names(named_images([f"{pictures}/**/c/*"]), pictures)] == ["a/c/y.PNG"]


def test_a_file_that_is_named_like_a_pattern_is_that_file(pictures, photograph):
    Picture.fromarray(photograph).save(pictures / "a[1].png")
    assert list(named_images([str(pictures / "a[1].png")])) == [(pictures / "a[1].png", None)]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_lists_of_paths_are_read_in_any_encoding(tmp_path, separator):
    listed = [b"a b.png", "é.png".encode(), b"caf\xe9.png"]
    (tmp_path / "list").write_bytes(separator.join(listed) + separator)
    assert [os.fsencode(path) for path, _ in named_images([], [tmp_path / "list"])] == listed


def test_names_that_no_file_can_have_are_named_and_the_others_are_scored(command, weights, pictures, tmp_path):
    (tmp_path / "list").write_bytes(b"x" * 300 + b"\n" + os.fsencode(pictures / "b.png") + b"\n")
    options = ("--weights", weights, "--list", tmp_path / "list", "--list", tmp_path / "gone")
    code, out, err = command(infer_regression, *options)
    assert code == 1
    assert len(out.splitlines()) == 1
    assert "gone: the list cannot be read (No such file or directory)" in err
    assert command(infer_regression, *options, "--out", tmp_path / "s.csv")[0] == 1


def test_nothing_is_written_if_nothing_that_was_named_exists(command, weights, tmp_path):
    (tmp_path / "s.csv").write_text("years")
    code, _, err = command(infer_regression, tmp_path / "typo", "--weights", weights, "--out", tmp_path / "s.csv")
    assert code == 2
    assert "not written" in err
    assert (tmp_path / "s.csv").read_text() == "years"
    assert not list(tmp_path.glob("*.journal"))


def test_a_folder_that_cannot_be_written_is_one_line(command, weights, pictures, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, _, err = command(infer_regression, pictures, "--weights", weights, "--out", tmp_path / "file/s.csv")
    assert code == 2
    assert "Traceback" not in err and "file" in err.splitlines()[-1]


def test_paths_come_through_stdin(weights, pictures):
    script = ROOT / "TID2013_regression/infer_regression.py"
    listed = b"\0".join(os.fsencode(path) for path, _ in images_below(pictures))
    done = subprocess.run(
        [sys.executable, script, "--weights", weights, "--list", "-", "--json"], input=listed, capture_output=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["y.PNG", "z.png", "b.png", "é\n&<.png"]


# --- the journal ----------------------------------------------------------------------------------------------------


def test_a_journal_knows_what_was_done_after_a_kill(tmp_path, pictures):
    images = [Image(str(path), path, label=[1.5]) for path, _ in images_below(pictures)]
    journal = Journal(tmp_path / "j", {"run": 1})
    assert list(journal.list(images)) == []
    (first, _), (second, _), *_ = journal.waiting()
    journal.record(first, output=np.array([2.5]))
    journal.record(second, reason="broken")
    with pytest.raises(JournalError, match="another run is writing it"):
        Journal(tmp_path / "j", {"run": 1})
    # Not closed: what a kill leaves is what lies there now.
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("j*"):
        shutil.copy(file, killed)
    journal.close()
    with Journal(killed / "j", {"run": 1}) as again:
        assert list(again.list(images)) == []
        assert again.count() == (4, 2)
        assert [path for _, path in again.waiting()] == [image.path for image in images[2:]]
        assert [(i.output.tolist(), i.label.tolist()) for i in again.images(scored=True)] == [([2.5], [1.5])]
        assert next(again.images(scored=False)).reason == "broken"
        again.finish()
    assert not list(killed.iterdir())


def test_the_journal_of_another_run_is_begun_anew(tmp_path, pictures):
    with Journal(tmp_path / "j", {"run": 1}) as journal:
        list(journal.list([Image("a", None, reason="gone")]))
        assert not journal.replaced
    with Journal(tmp_path / "j", {"run": 2}) as other:
        assert other.replaced
        assert other.count() == (0, 0)


def test_a_file_that_is_no_journal_is_replaced(tmp_path):
    (tmp_path / "j").write_bytes(b"no database" * 1000)
    with Journal(tmp_path / "j", {}) as journal:
        assert journal.replaced
        assert journal.count() == (0, 0)


def test_what_comes_changes_or_is_named_twice_is_told_and_what_goes_keeps_its_score(tmp_path, pictures, photograph):
    paths = [path for path, _ in images_below(pictures)]
    images = [Image(str(path), path) for path in paths]
    with Journal(tmp_path / "j", {}) as journal:
        assert list(journal.list([*images, images[0]])) == [(str(paths[0]), "named twice")]
        for position, _ in list(journal.waiting()):
            journal.record(position, output=[1.0])
    paths[1].unlink()
    Picture.fromarray(photograph[:240]).save(paths[2])
    Picture.fromarray(photograph).save(pictures / "new.png")
    images.append(Image(str(pictures / "new.png"), pictures / "new.png"))
    with Journal(tmp_path / "j", {}) as journal:
        told = dict(journal.list(images))
        assert told == {
            str(paths[2]): "changed since it was scored",
            str(pictures / "new.png"): "new since the run began",
        }
        assert [path for _, path in journal.waiting()] == [paths[2], pictures / "new.png"]
        assert [image.path for image in journal.images()] == [*paths, pictures / "new.png"]


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(pictures, photograph):
    (pictures / "broken.png").write_bytes(bad_files(photograph)["half a png"])
    return pictures


def scored(pictures, model):
    return {path: infer_vanilla.infer(path, model) for path, _ in images_below(pictures) if path.stem != "broken"}


@pytest.fixture(scope="module")
def model():
    return infer_vanilla.load()


def test_csv_holds_a_row_an_image(command, mixed, model, tmp_path):
    assert command(infer_vanilla, mixed, "--out", tmp_path / "s.csv")[0] == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text("utf-8"), newline="")))
    expected = scored(mixed, model)
    assert len(rows) == 5
    for row in rows:
        if row["error"]:
            assert row["path"].endswith("broken.png") and not row["mean"]
        else:
            score = expected[Path(row["path"])]
            assert float(row["mean"]) == pytest.approx(score.mean, abs=1e-5)
            assert [float(row[f"share_{vote}"]) for vote in range(1, 11)] == pytest.approx(score.histogram.tolist())


def test_json_lines_are_what_json_prints(command, mixed, tmp_path):
    assert command(infer_vanilla, mixed, "--out", tmp_path / "s.jsonl")[0] == 1
    _, printed, _ = command(infer_vanilla, mixed, "--json")
    assert (tmp_path / "s.jsonl").read_text() == printed


def test_parquet_holds_the_scores_and_where_they_come_from(command, mixed, model, tmp_path):
    from pyarrow import parquet

    assert command(infer_vanilla, mixed, "--out", tmp_path / "s.parquet")[0] == 1
    table = parquet.read_table(tmp_path / "s.parquet")
    expected = scored(mixed, model)
    for row in table.to_pylist():
        assert row["error"] or row["mean"] == pytest.approx(expected[Path(row["path"])].mean, abs=1e-5)
    assert table.schema.metadata[b"model"] == b"ava_vanilla"


def test_mat_of_images_without_labels_has_their_paths_and_is_no_set_to_measure(command, mixed, tmp_path):
    from scipy import io as matlab

    assert command(infer_vanilla, mixed, "--out", tmp_path / "s.mat")[0] == 1
    content = matlab.loadmat(tmp_path / "s.mat")
    assert content["predictions"].shape == (4, 1, 10)
    assert np.isnan(content["labels"][:, 1:]).all()
    assert str(mixed / "b.png") in [name.item() for name in content["filenames"].ravel()]
    with pytest.raises(ValueError, match="images without labels"):
        read_predictions(tmp_path / "s.mat", bins=10)


def test_scores_without_labels_of_one_number_too(command, weights, mixed, tmp_path):
    code, out, _ = command(infer_regression, mixed, "--weights", weights, "--out", tmp_path / "s.csv")
    assert (code, out) == (1, f"{tmp_path / 's.csv'}: 4 images scored, 1 skipped\n")
    assert (tmp_path / "s.csv").read_text().startswith("path,mean,label,error")


def test_an_output_of_an_unknown_kind_is_refused_before_anything_is_scored(command, pictures, tmp_path):
    code, _, err = command(infer_vanilla, pictures, "--out", tmp_path / "s.xlsx")
    assert code == 2
    assert "scores are written as .mat, .csv, .jsonl, .parquet" in err


def test_a_path_named_twice_is_told_and_scored_once(command, pictures, tmp_path):
    code, out, err = command(infer_vanilla, pictures, pictures / "b.png", "--out", tmp_path / "s.csv")
    assert code == 0
    assert "4 images scored" in out
    assert f"{pictures / 'b.png'}: named twice" in err


def test_an_image_that_appears_during_the_run_is_told_and_scored(command, pictures, tmp_path, photograph, monkeypatch):
    waiting = Journal.waiting

    def appearing(self):
        yield from waiting(self)
        Picture.fromarray(photograph).save(pictures / "late.png")

    monkeypatch.setattr(Journal, "waiting", appearing)
    code, out, err = command(infer_vanilla, pictures, "--out", tmp_path / "s.csv", "--workers", 0)
    assert code == 0
    assert "5 images scored" in out
    assert f"{pictures / 'late.png'}: new since the run began" in err


def test_what_is_no_longer_named_is_left_out(tmp_path, pictures):
    images = [Image(str(path), path) for path, _ in images_below(pictures)]
    with Journal(tmp_path / "j", {}) as journal:
        list(journal.list(images))
        assert list(journal.list(images[1:])) == [(images[0].key, "no longer named")]
        assert journal.count()[0] == 3


def test_an_image_that_vanishes_during_the_run_is_one_that_is_skipped(command, pictures, tmp_path, monkeypatch):
    waiting = Journal.waiting

    def vanishing(self):
        for position, path in waiting(self):
            if path.name == "b.png":
                path.unlink()
            yield position, path

    monkeypatch.setattr(Journal, "waiting", vanishing)
    code, out, err = command(infer_vanilla, pictures, "--out", tmp_path / "s.csv", "--workers", 0)
    assert code == 1
    assert "3 images scored, 1 skipped" in out
    assert f"{pictures / 'b.png'}: there is no such file" in err


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def collection(tmp_path, photograph):
    """A folder of images with 40 bad files of 30 kinds among them, and their names."""
    rng = np.random.default_rng(0)
    small = photograph[16:240, 16:240]
    files = {f"{number:04d}.jpg": None for number in range(IMAGES)}
    bad = bad_files(photograph)
    chosen = [*bad.values(), *bad.values()][:40]
    places = rng.permutation(IMAGES)[: len(chosen)]
    for place, content in zip(places, chosen):
        files[f"{place:04d}.jpg"] = content
    folder = tmp_path / "collection"
    folder.mkdir()
    for number, (name, content) in enumerate(files.items()):
        if content is None:
            Picture.fromarray(np.roll(small, 3 * number, axis=(number % 2))).save(folder / name)
        else:
            (folder / name).write_bytes(content)
    return folder, {f"{place:04d}.jpg" for place in places}


def test_a_run_that_is_killed_again_and_again_ends_with_the_arrays_of_one_that_was_not(collection, tmp_path):
    folder, bad = collection

    def command(out):
        return [sys.executable, ROOT / "AVA/infer_vanilla.py", folder, "--out", out, "--runtime", "litert"]

    infer_vanilla.load(runtime="litert")  # writes the network, which is no part of the run's time
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = time.monotonic()
    assert subprocess.run(command(tmp_path / "whole.mat"), **quiet).returncode == 1
    duration = time.monotonic() - started
    from scipy import io as matlab

    whole = matlab.loadmat(tmp_path / "whole.mat")
    assert {Path(name.item()).name for name, _ in whole["skipped"]} == bad
    moments = random.Random(0)
    interrupted = resumed_later = 0
    for kill in range(KILLS):
        out = tmp_path / f"killed-{kill}.mat"
        process = subprocess.Popen(command(out), **quiet)
        try:
            process.wait(moments.uniform(0, duration))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            interrupted += 1
            resumed_later += done_in(out.with_name(f"{out.name}.journal")) > 0
        if not out.exists() or list(tmp_path.glob("*.journal")):
            assert subprocess.run(command(out), **quiet).returncode == 1
        resumed = matlab.loadmat(out)
        for name in ("labels", "predictions", "filenames", "skipped"):
            np.testing.assert_array_equal(resumed[name], whole[name])
        assert not list(tmp_path.glob("*.journal*"))
    assert interrupted
    # Most were killed after some images had been scored, which the resumed run then did not score again.
    assert resumed_later >= interrupted / 3


def done_in(journal):
    """How many images a journal that was left by a kill holds as done."""
    copy = journal.with_name("copy")
    for end in ("", "-wal"):
        if Path(f"{journal}{end}").exists():
            shutil.copy(f"{journal}{end}", f"{copy}{end}")
    database = sqlite3.connect(copy)
    try:
        return database.execute("SELECT count(coalesce(output, reason)) FROM images").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0
    finally:
        database.close()
        for left in copy.parent.glob("copy*"):
            left.unlink()

"""Runs over collections: what is found, what is written, and that nothing is lost when a run is killed."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_files import bad_files
from PIL import Image

from AVA import infer_vanilla
from iqa.errors import ImageError, JournalError
from iqa.evaluation.predictions import read_predictions
from iqa.files import text_to_name
from iqa.images import finding as inputs
from iqa.images.finding import LeftOut, images_below, in_words, named_images, read_list
from iqa.images.reading import read_image
from iqa.labels.opinions import Prediction
from iqa.scoring.journal import Entry, Journal
from TID2013_regression import infer_regression

ROOT = Path(__file__).resolve().parent.parent

# 60 kills of a run of 1,000 images take some minutes: IQA_THOROUGH=1 asks for them.
IMAGES, KILLS = (1000, 30) if os.environ.get("IQA_THOROUGH") else (120, 2)


@pytest.fixture
def pictures(tmp_path, photograph):
    """Four pictures in nested folders, and what is none."""
    folder = tmp_path / "pictures"
    for number, name in enumerate(("b.png", "a/z.png", "a/c/y.PNG", "é\n&<.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(photograph, 20 * number, axis=1)).save(folder / name)
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


def test_links_in_circles_end_and_links_to_nothing_are_named(pictures):
    (pictures / "circle").symlink_to(pictures)
    (pictures / "self.png").symlink_to("self.png")
    (pictures / "gone.txt").symlink_to("nowhere")
    left_out = LeftOut()
    found = names(images_below(pictures, left_out), pictures)
    assert len(found) == 5
    assert ("self.png", "a link to a file that does not exist") in found
    assert left_out == {".txt": 1, "linked folder": 1, "broken link": 1}


def test_pictures_of_every_suffix_are_found_and_the_rest_is_counted_by_kind(tmp_path):
    pytest.importorskip("pillow_heif")
    pytest.importorskip("rawpy")
    suffixes = ["jfif", "PJPEG", "mpo", "j2k", "pbm", "pnm", "apng", "heic", "heif", "avif", "jpg", "cr2", "NEF", "dng"]
    for name in (*(f"a.{suffix}" for suffix in suffixes), "a.pdf", "b.PDF", "a.mov", "README"):
        (tmp_path / name).touch()
    left_out = LeftOut()
    found = {path.suffix[1:] for path, _ in images_below(tmp_path, left_out)}
    assert found == set(suffixes)
    assert in_words(left_out) == "left out: 2 .pdf, 1 without a suffix, 1 .mov"


def test_what_systems_put_beside_pictures_is_passed_over(pictures):
    (pictures / "notes.txt").unlink()
    for name in (
        ".DS_Store",
        "a/Thumbs.db",
        "._b.png",
        "@eaDir/b.png/SYNOPHOTO_THUMB_M.jpg",
        ".thumbnails/b.png",
        "a/__MACOSX/._z.png",
    ):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).touch()
    left_out = LeftOut()
    assert len(list(images_below(pictures, left_out))) == 4
    assert not left_out


def test_a_pipe_with_the_name_of_a_picture_is_named_and_not_waited_for(pictures):
    os.mkfifo(pictures / "pipe.png")
    assert ("pipe.png", None) in names(images_below(pictures), pictures)
    with pytest.raises(ImageError, match="a pipe or a device"):
        read_image(pictures / "pipe.png")


def test_files_in_a_folder_that_can_be_listed_but_not_entered_are_named(pictures, monkeypatch):
    def refusing(path, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(inputs.os, "stat", refusing)
    monkeypatch.setattr(inputs.os, "lstat", refusing)
    assert len(list(images_below(pictures))) == 4


def test_a_thousand_levels_of_folders_are_walked(tmp_path):
    levels = 1500
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("p.png", os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        ((path, reason),) = images_below(tmp_path)
        assert (path.name, reason, len(path.parts)) == ("p.png", None, len(tmp_path.parts) + levels + 1)
        assert [path for path, _ in named_images([f"{tmp_path}/**/*.png"])] == [path]
    finally:  # pytest would remove it by recursion, and end its next runs with a RecursionError
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_what_is_left_out_is_said_in_one_line_at_the_end(command, tiny, pictures, tmp_path):
    for options in ((), ("--out", tmp_path / "s.csv")):
        code, _, err = command(infer_regression, pictures, "--weights", tiny, *options)
        assert code == 0
        assert err.splitlines().count("left out: 1 .txt") == 1


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
    Image.fromarray(photograph).save(pictures / "a[1].png")
    assert list(named_images([str(pictures / "a[1].png")])) == [(pictures / "a[1].png", None)]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lists_of_paths_are_read_in_any_encoding(tmp_path, separator, mark):
    listed = [b"a b.png", "é.png".encode(), b"caf\xe9.png"]
    (tmp_path / "list").write_bytes(mark + separator.join(listed) + separator)
    found = named_images([], [tmp_path / "list"], null=separator == b"\0")
    assert [os.fsencode(path) for path, _ in found] == listed


@pytest.mark.parametrize("content", [b"", b"a", b"a\n", b"a\nb", b"a\nbc\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbfa"])
def test_lists_of_a_few_bytes_are_read(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    assert list(read_list(tmp_path / "list")) == content.removeprefix(b"\xef\xbb\xbf").decode().split()


@pytest.mark.parametrize("null", [False, True])
def test_a_list_that_is_marked_as_utf_16_is_read_as_such(tmp_path, null):
    (tmp_path / "list").write_bytes(("a é.png\0/b.png\0" if null else "a é.png\r\n/b.png\r\n").encode("utf-16"))
    assert list(read_list(tmp_path / "list", null)) == ["a é.png", "/b.png"]


@pytest.mark.parametrize("content", ["a/b.jpg\r\n".encode("utf-16-le"), "a/b.jpg\n".encode("utf-16-be"), b"a\0/\0"])
def test_a_list_with_zero_bytes_that_were_not_asked_for_is_refused_and_walks_no_disk(tmp_path, content):
    (tmp_path / "list").write_bytes(content)
    ((path, reason),) = named_images([], [tmp_path / "list"])
    assert path.name == "list"
    assert "zero byte in line 1: give -0" in reason


def test_a_path_in_a_list_is_never_a_pattern(pictures):
    (pictures / "list").write_text(f"{pictures}/[b].png\n{pictures}/*.png\n")
    found = names(named_images([], [pictures / "list"]), pictures)
    assert found == [("[b].png", None), ("*.png", None)]


def test_zero_bytes_without_a_list_are_refused(command, tiny, pictures):
    code, _, err = command(infer_regression, pictures, "--weights", tiny, "-0")
    assert code == 2
    assert "-0 says how a list is separated" in err


def test_names_that_no_file_can_have_are_named_and_the_others_are_scored(command, tiny, pictures, tmp_path):
    (tmp_path / "list").write_bytes(b"x" * 300 + b"\n" + os.fsencode(pictures / "b.png") + b"\n")
    options = ("--weights", tiny, "--list", tmp_path / "list", "--list", tmp_path / "gone")
    code, out, err = command(infer_regression, *options)
    assert code == 1
    assert len(out.splitlines()) == 1
    assert "gone: the list cannot be read (No such file or directory)" in err
    assert command(infer_regression, *options, "--out", tmp_path / "s.csv")[0] == 1


def test_nothing_is_written_if_nothing_that_was_named_exists(command, tiny, tmp_path):
    (tmp_path / "s.csv").write_text("years")
    options = ("--weights", tiny, "--out", tmp_path / "s.csv", "--overwrite")
    code, _, err = command(infer_regression, tmp_path / "typo", *options)
    assert code == 2
    assert "not written" in err
    assert (tmp_path / "s.csv").read_text() == "years"
    assert not list(tmp_path.glob("*.journal"))


def test_a_folder_that_cannot_be_written_is_one_line(command, tiny, pictures, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, _, err = command(infer_regression, pictures, "--weights", tiny, "--out", tmp_path / "file/s.csv")
    assert code == 2
    assert "Traceback" not in err and "file" in err.splitlines()[-1]


def test_paths_come_through_stdin(tiny, pictures):
    script = ROOT / "TID2013_regression/infer_regression.py"
    infer_regression.load(tiny)  # compiled here, where the tiny network can be built
    listed = b"\0".join(os.fsencode(path) for path, _ in images_below(pictures))
    done = subprocess.run(
        [sys.executable, script, "--weights", tiny, "--list", "-", "-0", "--json"], input=listed, capture_output=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["y.PNG", "z.png", "b.png", "é\n&<.png"]


# --- the journal ----------------------------------------------------------------------------------------------------


def test_a_journal_knows_what_was_done_after_a_kill(tmp_path, pictures):
    images = [Entry(str(path), path, label=np.array([1.5])) for path, _ in images_below(pictures)]
    journal = Journal(tmp_path / "j", {"run": 1})
    assert list(journal.enter(images)) == []
    (first, _), (second, _), *_ = journal.waiting()
    journal.record(first, Prediction(np.array([2.5], np.float32)))
    journal.record(second, Prediction(reason="broken"))
    with pytest.raises(JournalError, match="another run is writing it"):
        Journal(tmp_path / "j", {"run": 1})
    # Not closed: what a kill leaves is what lies there now.
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in tmp_path.glob("j*"):
        shutil.copy(file, killed)
    journal.close()
    with Journal(killed / "j", {"run": 1}) as again:
        assert list(again.enter(images)) == []
        assert again.count() == (4, 2)
        assert [path for _, path in again.waiting()] == [image.path for image in images[2:]]
        assert [(i.output.tolist(), i.label.tolist()) for i in again.entries(scored=True)] == [([2.5], [1.5])]
        assert next(again.entries(scored=False)).reason == "broken"
        again.finish()
    assert not list(killed.iterdir())


def test_what_comes_changes_or_is_named_twice_is_told_and_what_goes_keeps_its_score(tmp_path, pictures, photograph):
    paths = [path for path, _ in images_below(pictures)]
    images = [Entry(str(path), path) for path in paths]
    with Journal(tmp_path / "j", {}) as journal:
        assert list(journal.enter([*images, images[0]])) == [(str(paths[0]), "named twice")]
        for position, _ in list(journal.waiting()):
            journal.record(position, Prediction(np.array([1.0], np.float32)))
    paths[1].unlink()
    Image.fromarray(photograph[:240]).save(paths[2])
    Image.fromarray(photograph).save(pictures / "new.png")
    images.append(Entry(str(pictures / "new.png"), pictures / "new.png"))
    with Journal(tmp_path / "j", {}) as journal:
        told = dict(journal.enter(images))
        assert told == {
            str(paths[2]): "changed since it was scored",
            str(pictures / "new.png"): "new since the run began",
        }
        assert [path for _, path in journal.waiting()] == [paths[2], pictures / "new.png"]
        assert [image.path for image in journal.entries()] == [*paths, pictures / "new.png"]


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(pictures, photograph):
    (pictures / "broken.png").write_bytes(bad_files(photograph)["half a png"])
    return pictures


@pytest.fixture(scope="module")
def model(tiny_histogram):
    return infer_vanilla.load(tiny_histogram)


@pytest.fixture
def score_to(command, tiny_histogram):
    """score_to(file, images ..., options ...) -> (exit code, stdout, stderr) of AVA's infer script with the tiny model."""
    return lambda out, *arguments: command(infer_vanilla, *arguments, "--weights", tiny_histogram, "--out", out)


def scores_of(pictures, model):
    return {path: infer_vanilla.infer(path, model) for path, _ in images_below(pictures) if path.stem != "broken"}


def test_csv_holds_a_row_an_image(score_to, mixed, model, tmp_path):
    assert score_to(tmp_path / "s.csv", mixed)[0] == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text("utf-8"), newline="")))
    expected = scores_of(mixed, model)
    assert len(rows) == 5
    for row in rows:
        if row["error"]:
            assert row["path"].endswith("broken.png") and not row["mean"]
        else:
            score = expected[Path(text_to_name(row["path"]))]
            assert float(row["mean"]) == pytest.approx(score.mean, abs=1e-5)
            assert [float(row[f"share_{vote}"]) for vote in range(1, 11)] == pytest.approx(score.histogram.tolist())


def test_json_lines_are_what_json_prints(score_to, command, mixed, tiny_histogram, tmp_path):
    assert score_to(tmp_path / "s.jsonl", mixed)[0] == 1
    _, printed, _ = command(infer_vanilla, mixed, "--weights", tiny_histogram, "--json")
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert {row.pop("model").split()[0] for row in rows} == {"tiny"}
    assert rows == [json.loads(line) for line in printed.splitlines()]


def test_parquet_holds_the_scores_and_where_they_come_from(score_to, mixed, model, tmp_path):
    from pyarrow import parquet

    assert score_to(tmp_path / "s.parquet", mixed)[0] == 1
    table = parquet.read_table(tmp_path / "s.parquet")
    expected = scores_of(mixed, model)
    for row in table.to_pylist():
        assert row["error"] or row["mean"] == pytest.approx(expected[Path(row["path"])].mean, abs=1e-5)
    assert table.schema.metadata[b"model"] == b"tiny"


def test_mat_of_images_without_labels_has_their_paths_and_is_no_set_to_measure(score_to, mixed, tmp_path):
    from scipy import io as matlab

    assert score_to(tmp_path / "s.mat", mixed)[0] == 1
    content = matlab.loadmat(tmp_path / "s.mat")
    assert content["predictions"].shape == (4, 1, 10)
    assert np.isnan(content["labels"][:, 1:]).all()
    assert str(mixed / "b.png") in [name.item() for name in content["filenames"].ravel()]
    with pytest.raises(ValueError, match="images without labels"):
        read_predictions(tmp_path / "s.mat", bins=10)


def test_scores_without_labels_of_one_number_too(command, tiny, mixed, tmp_path):
    code, out, _ = command(infer_regression, mixed, "--weights", tiny, "--out", tmp_path / "s.csv")
    assert (code, out) == (1, f"{tmp_path / 's.csv'}: 4 images scored, 1 skipped\n")
    assert (tmp_path / "s.csv").read_text().startswith("path,mean,label,warning,error")


def test_an_output_of_an_unknown_kind_is_refused_before_anything_is_scored(score_to, pictures, tmp_path):
    code, _, err = score_to(tmp_path / "s.xlsx", pictures)
    assert code == 2
    assert "scores are written as .mat, .csv, .jsonl, .parquet" in err


def test_a_path_named_twice_is_told_and_scored_once(score_to, pictures, tmp_path):
    code, out, err = score_to(tmp_path / "s.csv", pictures, pictures / "b.png")
    assert code == 0
    assert "4 images scored" in out
    assert f"{pictures / 'b.png'}: named twice" in err


def test_an_image_that_appears_during_the_run_is_told_and_scored(score_to, pictures, tmp_path, photograph, monkeypatch):
    waiting = Journal.waiting

    def appearing(self):
        yield from waiting(self)
        Image.fromarray(photograph).save(pictures / "late.png")

    monkeypatch.setattr(Journal, "waiting", appearing)
    code, out, err = score_to(tmp_path / "s.csv", pictures, "--workers", 0)
    assert code == 0
    assert "5 images scored" in out
    assert f"{pictures / 'late.png'}: new since the run began" in err


def test_what_is_no_longer_named_is_left_out(tmp_path, pictures):
    images = [Entry(str(path), path) for path, _ in images_below(pictures)]
    with Journal(tmp_path / "j", {}) as journal:
        list(journal.enter(images))
        assert list(journal.enter(images[1:])) == [(images[0].key, "no longer named")]
        assert journal.count()[0] == 3


def test_a_look_that_finds_nothing_or_fails_forgets_nothing(tmp_path, pictures):
    images = [Entry(str(path), path) for path, _ in images_below(pictures)]
    lost = Entry("folder", tmp_path, prediction=Prediction(reason="the folder cannot be read"))
    with Journal(tmp_path / "j", {}) as journal:
        list(journal.enter(images))
        assert list(journal.enter([])) == []
        assert list(journal.enter(images[2:], forget=False)) == []
        assert list(journal.enter([lost], forget=False)) == [("folder", "the folder cannot be read")]
        assert journal.count() == (4, 0)
        assert list(journal.enter([*images[2:], lost])) == [("folder", "new since the run began")]
        assert journal.count() == (5, 1)


def test_a_list_that_is_a_pipe_is_scored_and_written(score_to, pictures, tmp_path):
    out, into = os.pipe()
    os.write(into, b"".join(os.fsencode(path) + b"\0" for path in pictures.rglob("*.png")))
    os.close(into)
    code, said, _ = score_to(tmp_path / "s.csv", "-0", "--list", f"/dev/fd/{out}")
    os.close(out)
    assert (code, said) == (0, f"{tmp_path / 's.csv'}: 3 images scored, 0 skipped\n")


@pytest.mark.parametrize("what", ["list", "folder"])
def test_a_list_or_folder_that_goes_while_its_images_are_scored_costs_none(score_to, pictures, tmp_path, monkeypatch, what):
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in pictures.rglob("*.png") if path.name != "é\n&<.png"))
    waiting, scandir = Journal.waiting, os.scandir

    def refusing(folder):
        raise PermissionError(13, "Permission denied")

    def going(self):
        yield from waiting(self)
        if what == "list":
            (tmp_path / "list").unlink(missing_ok=True)
        else:
            monkeypatch.setattr(inputs.os, "scandir", refusing)

    monkeypatch.setattr(Journal, "waiting", going)
    named = ("--list", tmp_path / "list") if what == "list" else (pictures,)
    code, said, err = score_to(tmp_path / "s.csv", *named, "--workers", 0)
    monkeypatch.setattr(inputs.os, "scandir", scandir)
    assert code == 0
    assert f"{2 if what == 'list' else 4} images scored, 0 skipped" in said
    assert "cannot be read" in err


def test_an_image_that_vanishes_during_the_run_is_one_that_is_skipped(score_to, pictures, tmp_path, monkeypatch):
    waiting = Journal.waiting

    def vanishing(self):
        for position, path in waiting(self):
            if path.name == "b.png":
                path.unlink()
            yield position, path

    monkeypatch.setattr(Journal, "waiting", vanishing)
    code, out, err = score_to(tmp_path / "s.csv", pictures, "--workers", 0)
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
    for place, content in zip(places, chosen, strict=True):
        files[f"{place:04d}.jpg"] = content
    folder = tmp_path / "collection"
    folder.mkdir()
    for number, (name, content) in enumerate(files.items()):
        if content is None:
            Image.fromarray(np.roll(small, 3 * number, axis=(number % 2))).save(folder / name)
        else:
            (folder / name).write_bytes(content)
    return folder, {f"{place:04d}.jpg" for place in places}


#: A run that says after each picture that it is noted, so that a test can kill it there.
TELLING = """
import sys
from iqa.scoring.journal import Journal
record = Journal.record
def record_and_tell(self, *arguments):
    record(self, *arguments)
    print("noted", flush=True)
Journal.record = record_and_tell
from AVA import infer_vanilla
from iqa.commands.terminal import run
run(infer_vanilla.main)
"""


def start(*arguments):
    command = [sys.executable, "-c", TELLING, *map(str, arguments), "--runtime", "litert", "--workers", "1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)


def finish(process):
    """(exit code, how many pictures were noted) of a run that is left to itself."""
    out, _ = process.communicate()
    return process.returncode, out.splitlines().count("noted")


def test_a_run_that_is_killed_again_and_again_ends_with_the_arrays_of_one_that_was_not(
    collection, tiny_histogram, tmp_path
):
    from scipy import io as matlab

    folder, bad = collection
    common = (folder, "--weights", tiny_histogram, "--out")
    infer_vanilla.load(tiny_histogram, runtime="litert")  # compiled here, where the tiny network can be built
    assert finish(start(*common, tmp_path / "whole.mat")) == (1, IMAGES)
    whole = matlab.loadmat(tmp_path / "whole.mat")
    assert {Path(name.item()).name for name, _ in whole["skipped"]} == bad
    moments = random.Random(0)
    for kill in range(KILLS):
        out = tmp_path / f"killed-{kill}.mat"
        noted = 0
        for _ in range(2):  # a resumed run is killed too
            process = start(*common, out)
            until = moments.randrange(1, IMAGES // 3)
            for line in process.stdout:
                noted += line == "noted\n"
                if not (until := until - 1):
                    process.send_signal(signal.SIGKILL)
                    break
            noted += process.stdout.read().count("noted\n")
            assert process.wait() == -signal.SIGKILL
            process.stdout.close()
            assert not out.exists()
        code, rest = finish(start(*common, out))
        assert code == 1
        # Nothing is scored twice, but for a picture that was noted and not yet told when the kill came.
        assert IMAGES - 2 <= noted + rest <= IMAGES
        resumed = matlab.loadmat(out)
        for name in ("labels", "predictions", "filenames", "skipped"):
            np.testing.assert_array_equal(resumed[name], whole[name])
        assert not list(tmp_path.glob("*.journal*"))

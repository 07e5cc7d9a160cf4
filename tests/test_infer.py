"""The infer scripts as a user meets them: rows, tables, labelled sets, exit codes, and runs that are killed."""

import json
import os
import re
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
from idealo_comparison import infer as infer_idealo
from idealo_comparison import infer_technical
from iqa.evaluation.predictions import read_predictions
from iqa.files import text_to_name
from iqa.images.finding import images_below
from iqa.scoring.journal import Journal
from TID2013_regression import infer_regression

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def pictures(pictures, photograph):
    """And a broken one."""
    (pictures / "broken.png").write_bytes(bad_files(photograph)["half a png"])
    return pictures


@pytest.fixture
def infer(command, tiny_histogram):
    """infer(arguments ...) -> (exit code, stdout, stderr) of AVA's infer script with a tiny model, in this process."""
    return lambda *arguments: command(infer_vanilla, *arguments, "--weights", tiny_histogram, "--workers", 0)


@pytest.fixture
def expected(pictures, tiny_histogram):
    """{path: score} of the pictures that can be scored."""
    model = infer_vanilla.load(tiny_histogram)
    return {path: infer_vanilla.infer(path, model) for path, _ in images_below(pictures) if path.stem != "broken"}


def test_a_row_is_printed_for_each_image_and_the_bad_ones_are_named(infer, pictures, expected):
    code, out, err = infer(pictures)
    assert code == 1
    rows = [line.split("\t") for line in out.splitlines()]
    assert [text_to_name(path) for path, *_ in rows] == [str(path) for path in expected]
    for (_, mean, std, percentile), score in zip(rows, expected.values(), strict=True):
        assert (mean, std) == (f"{score.mean:.4f}", f"{score.std:.4f}")
        assert percentile == f"{score.percentile:.0f} % of AVA score lower"
    assert err.splitlines()[-1] == "left out: 1 .txt"
    assert any("broken.png: it cannot be decoded" in line for line in err.splitlines())


def test_rows_of_json_have_the_keys_of_the_contract(infer, pictures, expected):
    code, out, _ = infer(pictures, "--json", "--batch-size", 2)
    rows = {text_to_name(row["path"]): row for row in map(json.loads, out.splitlines())}
    assert code == 1
    assert set(rows.pop(str(pictures / "broken.png"))) == {"path", "error"}
    for path, score in expected.items():
        row = rows[str(path)]
        assert list(row) == ["path", "mean", "std", "percentile", "histogram"]
        assert (row["mean"], row["histogram"]) == (score.mean, score.histogram.tolist())


def test_names_that_no_file_can_have_are_named_and_the_others_are_scored(infer, pictures, tmp_path):
    (tmp_path / "list").write_bytes(b"x" * 300 + b"\n" + os.fsencode(pictures / "b.png") + b"\n")
    code, out, err = infer("--list", tmp_path / "list", "--list", tmp_path / "gone")
    assert (code, len(out.splitlines())) == (1, 1)
    assert "gone: the list cannot be read (No such file or directory)" in err


def test_missing_weights_are_one_line_that_says_where_to_get_them(command, tmp_path):
    code, out, err = command(infer_vanilla, tmp_path, "--weights", tmp_path / "bad.weights.h5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "there is no such file; train it with AVA/ava_vanilla.py" in err


def test_nothing_is_said_of_ava_unless_the_card_says_so(infer, command, pictures, copy_of, tiny_histogram, tmp_path):
    (tmp_path / "tiny.hdf5").write_bytes(tiny_histogram.read_bytes())  # as a file of Keras 2, which has no card
    options = (pictures / "b.png", "--weights", tmp_path / "tiny.hdf5", "--json", "--runtime", "keras")
    aesthetic, technical = (json.loads(command(script, *options)[1]) for script in (infer_idealo, infer_technical))
    assert set(aesthetic) - set(technical) == {"percentile"}
    weights = copy_of(tiny_histogram, scale={"population": None})
    shutil.copy(tiny_histogram.with_name("tiny.tflite"), weights.with_name("tiny.tflite"))
    out, page = tmp_path / "s.csv", tmp_path / "page.html"
    assert command(infer_vanilla, pictures / "b.png", "--weights", weights, "--out", out, "--report", page)[0] == 0
    assert "percentile" not in out.read_text()
    assert "AVA" not in re.sub(r"base64,[^\"]*", "", page.read_text())  # three letters of a picture may be these


def test_mat_of_images_without_labels_has_their_paths_and_is_no_set_to_measure(infer, pictures, tmp_path):
    from scipy import io as matlab

    infer(pictures, "--out", tmp_path / "s.mat")
    content = matlab.loadmat(tmp_path / "s.mat")
    assert content["predictions"].shape == (4, 1, 10) and content["predictions"].dtype == np.float32
    assert np.isnan(content["labels"][:, 1:]).all()
    with pytest.raises(ValueError, match="images without labels"):
        read_predictions(tmp_path / "s.mat", bins=10)


def test_nothing_is_written_if_nothing_that_was_named_exists(infer, tmp_path):
    (tmp_path / "s.csv").write_text("years")
    code, _, err = infer(tmp_path / "typo", "--out", tmp_path / "s.csv", "--overwrite")
    assert code == 2 and "there is no such file" in err and "nothing was written" in err
    assert (tmp_path / "s.csv").read_text() == "years"
    assert not list(tmp_path.glob("*.journal*"))


# --- while a run goes on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--keep"], ["--list", "-"]], ids=" ".join)
def test_a_folder_that_is_away_for_a_moment_loses_no_score(infer, tmp_path, photograph, monkeypatch, options):
    here, there, elsewhere = (tmp_path / name for name in ("here", "there", "elsewhere"))
    for folder in (here, there):
        folder.mkdir()
        for number in range(3):
            Image.fromarray(np.roll(photograph, 9 * number, axis=0)).save(folder / f"{number}.png")
    waiting, looks = Journal.waiting, []

    def vanishing(self):
        looks.append(1)
        for position, path in waiting(self):
            if len(looks) == 1 and path == there / "0.png":
                there.rename(elsewhere)
            yield position, path
        if elsewhere.exists():
            elsewhere.rename(there)

    monkeypatch.setattr(Journal, "waiting", vanishing)
    (tmp_path / "list").write_text("".join(f"{path}\n" for path, _ in images_below(tmp_path)))
    with open(tmp_path / "list") as listed:
        monkeypatch.setattr(sys, "stdin", listed)
        code, out, _ = infer(*([] if "-" in options else [here, there]), "--out", tmp_path / "s.csv", *options)
    assert (code, out) == (0, f"{tmp_path / 's.csv'}: 6 images scored, 0 skipped\n")
    assert len(looks) > 1


def test_a_list_that_is_a_pipe_is_scored_and_written(infer, pictures, tmp_path):
    out, into = os.pipe()
    os.write(into, b"".join(os.fsencode(path) + b"\0" for path in (pictures / "b.png", pictures / "a/z.png")))
    os.close(into)
    code, printed, _ = infer("-0", "--list", f"/dev/fd/{out}", "--out", tmp_path / "s.csv")
    os.close(out)
    assert (code, printed) == (0, f"{tmp_path / 's.csv'}: 2 images scored, 0 skipped\n")


# --- labelled sets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path, photograph):
    """Six images of TID2013's form, of which one is missing, one broken and one too small."""
    folder = tmp_path / "tid"
    folder.mkdir()
    names = [f"i01_01_{level}" for level in range(1, 6)] + ["i02_01_1"]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(photograph, 9 * number, axis=0)).save(folder / f"{name.upper()}.BMP")
    (folder / "I01_01_2.BMP").unlink()
    (folder / "I01_01_3.BMP").write_bytes(b"BM")
    Image.fromarray(photograph[:60]).save(folder / "I01_01_4.BMP")
    rows = [f"{5 - number / 2:.5f} {name}.bmp\n" for number, name in enumerate(names)]
    (folder / "mos_with_names.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def infer_labelled(command, tiny, labelled):
    given = ("--labels", labelled / "mos_with_names.txt", "--images", labelled, "--weights", tiny, "--workers", 0)
    return lambda out, *options: command(infer_regression, *given, "--out", out, *options)


def test_a_labelled_run_writes_scores_in_label_order_and_names_what_it_skipped(infer_labelled, tiny, labelled, tmp_path):
    code, out, _ = infer_labelled(tmp_path / "p.mat")
    read = read_predictions(tmp_path / "p.mat")
    assert code == 1 and "3 images scored, 3 skipped" in out
    assert read.filenames == ["I01_01_1.BMP", "I01_01_5.BMP", "I02_01_1.BMP"]
    assert read.labels.tolist() == [5, 3, 2.5]
    assert [name for name, _ in read.skipped] == ["i01_01_2", "I01_01_3.BMP", "I01_01_4.BMP"]
    assert "256x60 pixels are too few" in read.skipped[2][1]
    assert read.provenance["geometry"] == "grid of at most 24 patches of 224x224, mean of the patches"
    assert not (tmp_path / "p.mat.journal").exists()
    one = infer_regression.infer(labelled / "I01_01_5.BMP", infer_regression.load(tiny))
    assert read.predictions[1] == np.float32(one)


def test_a_labelled_run_of_nothing_or_half_of_one_is_an_error_of_usage(command, infer_labelled, labelled, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = infer_labelled(tmp_path / "p.mat", "--images", tmp_path / "empty")
    assert code == 2 and "holds none of the 6 images" in err
    assert command(infer_regression, "--labels", labelled / "mos_with_names.txt")[0] == 2


@pytest.mark.parametrize(
    ("script", "options", "named"),
    [
        (infer_regression, ["a.png", "--json", "--out", "s.csv"], ["--json", "--out"]),
        (infer_regression, ["a.png", "--references", "i01"], ["--references", "--labels"]),
        (infer_regression, ["a.png", "-0"], ["-0", "--list"]),
        (infer_vanilla, ["--labels", "l", "--images", "f", "--out", "o.mat", "a.png"], ["--labels", "no other images"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_which_one_would_be_ignored_are_refused_by_name(command, script, options, named):
    code, out, err = command(script, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(name in err for name in named)


# --- kills ------------------------------------------------------------------------------------------------------------

#: A run that tells of each picture that it is noted, so that a test can kill it there.
TELLING = """
from iqa.scoring.journal import Journal
record = Journal.record
Journal.record = lambda *noted: (record(*noted), print("noted", flush=True))
from AVA import infer_vanilla
from iqa.commands.terminal import run
run(infer_vanilla.main)
"""


def test_a_run_that_is_killed_twice_ends_with_the_arrays_of_one_that_was_not(tiny_histogram, photograph, tmp_path):
    from scipy import io as matlab

    folder, bad = tmp_path / "collection", list(bad_files(photograph).values())
    folder.mkdir()
    for number in range(60):
        if number % 5 == 4:
            (folder / f"{number:04d}.jpg").write_bytes(bad[number % len(bad)])
        else:
            Image.fromarray(np.roll(photograph[16:240, 16:240], 3 * number, axis=0)).save(folder / f"{number:04d}.jpg")

    def start(out):
        options = (folder, "--weights", tiny_histogram, "--runtime", "litert", "--workers", "1", "--out", out)
        command = [sys.executable, "-c", TELLING, *map(str, options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)

    whole = start(tmp_path / "whole.mat")
    assert whole.communicate() and whole.returncode == 1
    out, noted = tmp_path / "killed.mat", 0
    for until in (7, 16):
        process = start(out)
        noted += sum(process.stdout.readline() == "noted\n" for _ in range(until))
        process.send_signal(signal.SIGKILL)
        noted += process.communicate()[0].count("noted\n")
        assert process.returncode == -signal.SIGKILL and not out.exists()
    last = start(out)
    noted += last.communicate()[0].count("noted\n")
    assert last.returncode == 1 and noted <= 60 + 2 * 12  # pictures without a score are tried again
    expected, found = matlab.loadmat(tmp_path / "whole.mat"), matlab.loadmat(out)
    assert len(expected["skipped"]) == 12
    for name in ("labels", "predictions", "filenames", "skipped"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert not list(tmp_path.glob("*.journal*"))

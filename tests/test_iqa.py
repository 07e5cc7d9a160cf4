"""The command `iqa`: both answers for each picture, from one reading; tables, pages, and runs that can be resumed."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from base64 import b64decode

import numpy as np
import pytest
from PIL import ExifTags, Image

from AVA import infer_vanilla
from iqa.commands import score
from iqa.scoring import many
from iqa.scoring import pair as pairs
from iqa.scoring.many import load_pair
from iqa.scoring.pair import Opinion, Pair
from iqa.scoring.report import SIDE
from iqa.scoring.scorer import load_scorer
from TID2013_regression import infer_regression

RUNTIME = ("--runtime", "litert")


@pytest.fixture(scope="module")
def pair():
    return load_pair("litert")


@pytest.fixture(scope="module")
def folder(photograph, tmp_path_factory):
    """Four pictures, the last two in a burst, a small one, a broken one, and a text."""
    folder = tmp_path_factory.mktemp("holiday")
    exif = Image.Exif()
    for number in range(4):
        pixels = np.ascontiguousarray(np.roll(photograph, 60 * number, axis=1)[: 256 - 8 * number])
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 10:2{min(number, 2)}:0{number}"
        Image.fromarray(pixels).save(folder / f"{number}.jpg", exif=exif, quality=90 - 20 * number)
    Image.fromarray(photograph[:40, :40]).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes((folder / "0.jpg").read_bytes()[:700])
    (folder / "notes.txt").write_text("left out")
    return folder


def test_both_answers_are_those_of_the_two_scripts(folder, pair):
    picture = folder / "1.jpg"
    ((_, prediction),) = pair.score_all([picture])
    opinion = Opinion.of(prediction)
    beauty = infer_vanilla.infer(picture, infer_vanilla.load(runtime="litert"))
    assert opinion.beauty.mean == pytest.approx(beauty.mean, abs=1e-6)
    np.testing.assert_array_equal(opinion.beauty.histogram, beauty.histogram)
    technical = infer_regression.infer(picture, infer_regression.load(runtime="litert"))
    assert opinion.technical == pytest.approx(technical, abs=1e-6)
    assert (opinion.width, opinion.height) == (256, 248)


def test_workers_say_the_same_as_this_process(folder, pair):
    paths = sorted(folder.glob("*.*g"))
    here, there = (list(pair.score_all(paths, workers=workers)) for workers in (0, 2))
    assert [path for path, _ in here] == [path for path, _ in there] == paths
    for (_, mine), (_, theirs) in zip(here, there, strict=True):
        assert (mine.reason, mine.warning) == (theirs.reason, theirs.warning)
        if mine.output is not None:
            np.testing.assert_allclose(mine.output, theirs.output, atol=1e-6)


def test_a_table_is_printed_and_each_failure_is_named(command, folder):
    code, out, err = command(score, folder, *RUNTIME, "--workers", 0)
    assert code == 1
    header, *lines = out.splitlines()
    assert header.split() == ["beauty/10", "above", "in", "AVA", "technical/9", "main", "fault", "picture"]
    assert [line.split()[-1].rsplit("/")[-1] for line in lines[:4]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert "broken.jpg: it cannot be decoded" in err and "left out: 1 .txt" in err


def test_the_time_for_a_picture_holds_where_rows_are_printed_too(command, folder, monkeypatch):
    asked = {}

    def score_all(self, paths, **options):
        asked.update(options)
        return iter(())

    monkeypatch.setattr(Pair, "score_all", score_all)
    command(score, folder / "0.jpg", *RUNTIME, "--workers", 1, "--timeout", 7)
    assert asked == {"workers": 1, "timeout": 7.0}


def test_rows_of_json_have_the_columns_of_the_table(command, folder, tmp_path):
    code, out, _ = command(score, folder / "0.jpg", folder / "broken.jpg", "--json", *RUNTIME)
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    names = ["path", "beauty", "beauty_std", "beauty_percentile", "technical", "fault", "fault_share", "width", "height"]
    assert list(first) == names
    assert set(second) == {"path", "error"}
    assert command(score, tmp_path / "missing.png", *RUNTIME)[0] == 2


def test_a_table_a_page_and_the_best_come_from_one_run(command, folder, tmp_path):
    pytest.importorskip("jinja2")
    out, page = tmp_path / "s.csv", tmp_path / "page.html"
    code, said, err = command(score, folder, "--out", out, "--report", page, "--top", 2, *RUNTIME)
    assert code == 1, err
    with open(out, newline="") as file:
        rows = {os.path.basename(row["path"]): row for row in csv.DictReader(file)}
    assert float(rows["0.jpg"]["beauty"]) > 1 and float(rows["0.jpg"]["technical"]) and rows["0.jpg"]["error"] == ""
    assert rows["broken.jpg"]["error"].startswith("it cannot be decoded")
    assert len(said.splitlines()) == 1 + 2 + 1
    text = page.read_text()
    assert ">beauty<" in text and ">technical<" in text
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_page_takes_its_thumbnails_from_the_scoring(command, folder, tmp_path, monkeypatch, workers):
    pytest.importorskip("jinja2")

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("iqa.scoring.report._make_thumbnail", refuse)
    monkeypatch.setattr("iqa.scoring.report.Workers", refuse)
    page = tmp_path / "page.html"
    code, _, err = command(score, folder, "--report", page, "--workers", workers, *RUNTIME)
    assert code == 1, err  # one is broken
    pattern = r'data-name="([^"]+)".*?<img src="data:image/webp;base64,([^"]+)"'
    shown = dict(re.findall(pattern, page.read_text(), re.DOTALL))
    assert set(shown) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "small.png"}
    for name, data in shown.items():
        whole, small = Image.open(folder / name).convert("RGB"), Image.open(io.BytesIO(b64decode(data))).convert("RGB")
        assert max(small.size) == min(SIDE, max(whole.size))
        expected, found = (np.asarray(image.resize((20, 20)), np.float32) for image in (whole, small))
        assert np.abs(found - expected).mean() < 6, name


def test_what_a_killed_writer_left_of_the_output_is_removed(command, folder, tmp_path):
    left = tmp_path / ".scores.csv.abcdefgh"
    left.mkdir()
    (left / "scores.csv").write_text("half of")
    code, _, err = command(score, folder, *RUNTIME, "--out", tmp_path / "scores.csv")
    assert code == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


def test_a_table_of_an_earlier_run_is_replaced_and_no_other_file(command, folder, tmp_path):
    for name in ("s.csv", "s.jsonl", "s.parquet"):
        for _ in range(2):
            assert command(score, folder / "0.jpg", "--out", tmp_path / name, *RUNTIME)[0] == 0
        (tmp_path / name).write_text("thesis,years\n1,2\n")
        code, _, err = command(score, folder / "0.jpg", "--out", tmp_path / name, *RUNTIME)
        assert code == 2 and "give --overwrite" in err
    assert command(score, folder / "0.jpg", "--out", tmp_path / "s.csv", "--overwrite", *RUNTIME)[0] == 0


def test_a_run_that_was_stopped_goes_on_where_it_stopped(command, folder, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    score_all = Pair.score_all

    def stop_after_two(self, paths, *arguments, **options):
        for number, answer in enumerate(score_all(self, paths, *arguments, **options)):
            if number == 2:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(Pair, "score_all", stop_after_two)
    code, _, err = command(score, folder, "--out", out, *RUNTIME, "--workers", 0)
    assert code == 130 and not out.exists()
    assert "stopped after 2 of 6 images: the same command goes on from there" in err
    monkeypatch.setattr(Pair, "score_all", score_all)
    judged, judge = [], pairs.judge
    monkeypatch.setattr(pairs, "judge", lambda path, *rest: judged.append(path.name) or judge(path, *rest))
    assert command(score, folder, "--out", out, *RUNTIME, "--workers", 0)[0] == 1
    assert len(judged) == 4
    assert len(out.read_text().splitlines()) == 7


def test_bursts_are_found_and_the_best_of_each_is_named(command, folder):
    code, out, err = command(score, folder, "--bursts", *RUNTIME)
    assert code == 1, err
    assert out.splitlines()[-1].startswith("burst 1: 2 pictures, the best is ")
    code, out, _ = command(score, folder, "--bursts", "--json", *RUNTIME)
    rows = {os.path.basename(row["path"]): row for row in map(json.loads, out.splitlines())}
    assert [rows[f"{number}.jpg"].get("burst") for number in range(4)] == [None, None, 1, 1]
    assert rows["2.jpg"]["best_of_burst"] != rows["3.jpg"]["best_of_burst"]


def test_stars_and_shelves_are_made_for_a_set(command, folder, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in folder.glob("?.jpg"):
        (copies / path.name).write_bytes(path.read_bytes())
    code, _, err = command(score, copies, "--sort-into", tmp_path / "sorted", "--xmp", "--by", "technical", *RUNTIME)
    assert code == 0, err
    assert "stars: 4 sidecars written" in err and "4 pictures sorted" in err
    assert len(list(copies.glob("*.jpg.xmp"))) == len(list((tmp_path / "sorted").glob("*/*.jpg"))) == 4
    code, _, err = command(score, copies, "--sort-into", tmp_path / "sorted", *RUNTIME)
    assert code == 2 and "a new or an empty folder" in err


@pytest.mark.parametrize(
    "options",
    [("-0",), ("--json", "--out", "s.csv"), ("--copy",), ("--replace-stars",), ("--out", "s.mat"), ("--top", "0")],
)
def test_options_that_do_not_go_together_are_refused_before_anything_is_scored(command, folder, options):
    code, out, err = command(score, folder, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_the_command_works_as_a_module_and_finds_lists(folder, tmp_path):
    (tmp_path / "list").write_bytes(b"\0".join(os.fsencode(folder / name) for name in ("0.jpg", "1.jpg")))
    command = [sys.executable, "-m", "iqa", "-0", "--list", "-", "--json", *RUNTIME]
    with open(tmp_path / "list", "rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [str(folder / "0.jpg"), str(folder / "1.jpg")]
    done = subprocess.run([sys.executable, "-m", "iqa", "--no-such-option"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("iqa: error: ")


def test_nothing_is_said_of_ava_if_the_card_does_not(command, folder, copy_of, monkeypatch):
    from iqa.cards import shipped_weights

    own = copy_of(shipped_weights("ava_vanilla"), scale={"population": None})
    monkeypatch.setattr(many, "load_scorer", lambda name, **rest: load_scorer(own if "ava" in name else name, **rest))
    _, out, _ = command(score, folder / "0.jpg", *RUNTIME)
    assert "AVA" not in out.splitlines()[0] and out.count("%") == out.count("noise")  # of the fault alone
    assert "beauty_percentile" not in json.loads(command(score, folder / "0.jpg", "--json", *RUNTIME)[1])


def test_a_flat_frame_carries_the_warning_once(command, tmp_path):
    Image.new("RGB", (300, 300), (90, 90, 90)).save(tmp_path / "flat.png")
    _, out, _ = command(score, tmp_path / "flat.png", "--json", *RUNTIME)
    assert json.loads(out)["warning"] == "nearly one flat colour: the score says little"
    _, out, _ = command(score, tmp_path / "flat.png", *RUNTIME)
    assert out.endswith("flat.png  (warning: nearly one flat colour: the score says little)\n")

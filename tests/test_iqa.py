"""The command `iqa`: both answers for each picture, from one reading; tables, pages, and runs that can be resumed."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from base64 import b64decode
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from iqa.commands import iqa, scoring
from iqa.files import name_to_text, printable
from iqa.scoring import many
from iqa.scoring.ranking import STRUCTURE, RankedSet, structure_of
from iqa.scoring.results import Result
from iqa.scoring.sidecars import rate

RUNTIME = ("--runtime", "litert", "--workers", "0")


@pytest.fixture(scope="module")
def folder(photograph, tmp_path_factory):
    """Four pictures, the last two in a burst, a small one, a broken one, and a text."""
    folder = tmp_path_factory.mktemp("holiday")
    exif = Image.Exif()
    for number in range(4):
        pixels = np.ascontiguousarray(np.roll(photograph, 60 * min(number, 2), axis=1)[: 256 - 8 * number])
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 10:2{min(number, 2)}:0{number}"
        Image.fromarray(pixels).save(folder / f"{number}.jpg", exif=exif, quality=90 - 20 * number)
    Image.fromarray(photograph[:40, :40]).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes((folder / "0.jpg").read_bytes()[:700])
    (folder / "notes.txt").write_text("left out")
    return folder


def test_a_table_is_printed_and_each_failure_is_named(command, folder):
    code, out, err = command(iqa, folder, *RUNTIME, "--workers", 0)
    assert code == 1
    header, *lines = out.splitlines()
    percentiles = ["quality/5", "BIQ2021", "percentile", "beauty/10", "AVA", "percentile"]
    assert header.split() == [*percentiles, "technical/9", "main", "fault", "picture"]
    assert [line.split()[-1].rsplit("/")[-1] for line in lines[:4]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert "broken.jpg: it cannot be decoded" in err and "left out: 1 .txt" in err
    assert re.search(r"4 pictures: quality [\d.]+ to [\d.]+, median [\d.]+; main faults: \d \w+", err)


def test_what_one_of_the_models_refuses_is_said_once_however_the_run_ends(command, tmp_path):
    Image.effect_noise((80, 80), 64).convert("RGB").save(tmp_path / "small.png")
    for options in ([], ["--bursts"], ["--top", 1], ["--out", tmp_path / "s.csv"]):
        *_, err = command(iqa, tmp_path / "small.png", *options, *RUNTIME)
        assert err.count("small.png: 80x80 pixels are too few to judge") == 1, options


def test_rows_of_json_have_the_columns_of_the_table(command, folder, tmp_path):
    code, out, _ = command(iqa, folder / "0.jpg", folder / "broken.jpg", "--json", *RUNTIME)
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    scores = [f"{name}{of}" for name in ("quality", "beauty") for of in ("", "_std", "_percentile")]
    assert list(first) == ["path", *scores, "technical", "width", "height"]
    assert set(second) == {"path", "error"}
    assert command(iqa, tmp_path / "missing.png", *RUNTIME)[0] == 2


def test_a_table_a_page_and_the_best_come_from_one_run(command, folder, tmp_path):
    out, page = tmp_path / "s.csv", tmp_path / "page.html"
    code, printed, err = command(iqa, folder, "--out", out, "--report", page, "--top", 2, *RUNTIME)
    assert code == 1, err
    with open(out, newline="") as file:
        rows = {os.path.basename(row["path"]): row for row in csv.DictReader(file)}
    assert float(rows["0.jpg"]["beauty"]) > 1 and float(rows["0.jpg"]["technical"]) and rows["0.jpg"]["error"] == ""
    assert rows["broken.jpg"]["error"].startswith("it cannot be decoded")
    assert len(printed.splitlines()) == 1 + 2 + 1
    assert not list(tmp_path.glob("*.journal*"))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_page_takes_its_thumbnails_from_the_scoring(command, folder, tmp_path, monkeypatch, workers):
    def refuse(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr("iqa.scoring.page.thumbnail", refuse)
    page = tmp_path / "page.html"
    code, _, err = command(iqa, folder, "--report", page, "--workers", workers, *RUNTIME)
    assert code == 1, err  # one is broken
    pattern = r'data-name="([^"]+)".*?<img src="data:image/webp;base64,([^"]+)"'
    shown = dict(re.findall(pattern, page.read_text(), re.DOTALL))
    assert set(shown) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "small.png"}
    for name, data in shown.items():
        images = Image.open(folder / name).convert("RGB"), Image.open(io.BytesIO(b64decode(data))).convert("RGB")
        expected, found = (np.asarray(image.resize((20, 20)), np.float32) for image in images)
        assert np.abs(found - expected).mean() < 6, name


def test_a_run_that_was_stopped_is_resumed(command, folder, tmp_path, monkeypatch):
    out, scored = tmp_path / "s.csv", []
    score_pictures = many.score_pictures

    def stop_after_two(paths, *rest):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.extend(paths)
        return score_pictures(paths, *rest)

    monkeypatch.setattr(many, "score_pictures", stop_after_two)
    code, _, err = command(iqa, folder, "--out", out, *RUNTIME, "--workers", 0)
    assert code == 130 and not out.exists()
    assert "stopped after 2 of 6 images: the same command resumes the run" in err
    scored.clear()
    monkeypatch.setattr(many, "score_pictures", lambda paths, *rest: scored.extend(paths) or score_pictures(paths, *rest))
    assert command(iqa, folder, "--out", out, *RUNTIME, "--workers", 0)[0] == 1
    assert len(set(scored)) == 4
    assert len(out.read_text().splitlines()) == 7


def test_a_file_that_appears_at_out_during_the_run_stays(command, folder, tmp_path, monkeypatch):
    out, score = tmp_path / "s.csv", scoring.score_collection
    monkeypatch.setattr(scoring, "score_collection", lambda *some: (out.write_text("a thesis"), score(*some))[1])
    code, _, err = command(iqa, folder / "0.jpg", "--out", out, *RUNTIME)
    assert code == 2 and "s.csv: a file of that name exists" in err and out.read_text() == "a thesis"


def test_bursts_are_found_and_the_best_of_each_is_named(command, folder):
    code, out, err = command(iqa, folder, "--bursts", *RUNTIME)
    assert code == 1, err
    assert out.splitlines()[-1].startswith("burst 1: 2 pictures, the best is ")
    code, out, _ = command(iqa, folder, "--bursts", "--json", *RUNTIME, "--workers", 1)
    rows = {os.path.basename(row["path"]): row for row in map(json.loads, out.splitlines())}
    assert [rows[f"{number}.jpg"].get("burst") for number in range(4)] == [None, None, 1, 1]
    assert rows["2.jpg"]["best_of_burst"] != rows["3.jpg"]["best_of_burst"]
    _, out, err = command(iqa, folder, "--bursts", "--top", 9, *RUNTIME)
    assert len(out.splitlines()) == 1 + 4 + 1 and out.count("(and 1 like it)") == 1
    assert "3 of 6 images (50 %)" in err and "\r" not in err  # no terminal, no bar


def test_copies_that_lost_their_time_are_one_picture_and_the_best_shelf_holds_one_of_a_burst():
    look = np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    shots = [(0, 0), (1, None), (0, 1), (2, None), (1, None), (3, 0), (0, None)]  # which picture, and at which second
    results = [
        Result(Path(f"{n}.jpg"), {"beauty": float(n)}, taken=None if second is None else datetime(2024, 5, 1, 9, 9, second),
               features={STRUCTURE: structure_of(look[of])})
        for n, (of, second) in enumerate(shots)
    ]  # fmt: skip
    ranked = RankedSet(lambda: iter(results), ["beauty"], "beauty", bursts=True)
    assert ranked.bursts == [[0, 2, 6], [1, 4]]
    assert [(result.path.name, place.of) for result, place in ranked.top(9)] == [
        *(("6.jpg", 3), ("5.jpg", 1), ("4.jpg", 2), ("3.jpg", 1))
    ]
    twice = RankedSet(lambda: iter([*results, *results]), ["beauty"], "beauty", bursts=True)
    assert sum(place >= 0.9 for _, place in twice.placed()) == 2
    assert sum(place >= 0.9 for _, place in twice.placed(repeats=False)) == 1


def test_marks_of_a_page_become_the_stars_of_the_user(command, tmp_path):
    first, second = tmp_path / "a\n.jpg", tmp_path / "b.jpg"
    for path in (first, second):
        Image.new("RGB", (9, 9)).save(path)
        rate(path, 5)
    marks = {printable(name_to_text(first)): 4, str(second): -1, "/gone.jpg": 3, f"{second} ": 9}
    (tmp_path / "marks.json").write_text(json.dumps({"marks": marks}))
    code, _, err = command(iqa, "--xmp-from", tmp_path / "marks.json")
    assert code == 1 and "/gone.jpg: there is no such file" in err and "1-5 stars, or -1 for rejected, not 9" in err
    assert "stars: 2 sidecars written" in err
    assert rate(first, 2) == "has 4 stars already" and rate(second, 2) == "is rejected already"
    (tmp_path / "marks.json").write_text("[]")
    assert command(iqa, "--xmp-from", tmp_path / "marks.json")[0] == 2


def test_stars_and_shelves_are_made_for_a_set(command, folder, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    for path in folder.glob("?.jpg"):
        (copies / path.name).write_bytes(path.read_bytes())
    code, _, err = command(iqa, copies, "--sort-into", tmp_path / "sorted", "--xmp", "--by", "technical", *RUNTIME)
    assert code == 0, err
    assert "stars: 4 sidecars written" in err and "4 pictures sorted" in err
    assert len(list(copies.glob("*.jpg.xmp"))) == len(list((tmp_path / "sorted").glob("*/*.jpg"))) == 4
    code, _, err = command(iqa, copies, "--sort-into", tmp_path / "sorted", *RUNTIME)
    assert code == 2 and "a new or an empty folder" in err


@pytest.mark.parametrize(
    "options",
    [("-0",), ("--json", "--out", "s.csv"), ("--copy",), ("--replace-stars",), ("--out", "s.mat"), ("--top", "0"),
     ("--keep",), ("--by", "size"), ("--model", "mine.h5"), ("--xmp-from", "marks.json"),
     ("--timeout", "5", "--workers", "0"), ("--ray-address", "auto"), ("--engine", "ray")],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused_before_anything_is_scored(command, folder, options):
    code, out, err = command(iqa, folder, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_the_command_works_as_a_module_and_reads_lists(folder):
    listed = b"\0".join(os.fsencode(folder / name) for name in ("0.jpg", "1.jpg"))
    done = subprocess.run(
        [sys.executable, "-m", "iqa", "-0", "--list", "-", "--json", *RUNTIME], input=listed, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [str(folder / "0.jpg"), str(folder / "1.jpg")]


def test_a_flat_frame_carries_the_warning_once(command, tmp_path):
    Image.new("RGB", (300, 300), (90, 90, 90)).save(tmp_path / "flat.png")
    _, out, _ = command(iqa, tmp_path / "flat.png", "--json", *RUNTIME)
    assert json.loads(out)["warning"] == "nearly one flat colour: the score says little"

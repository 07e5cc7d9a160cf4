"""Results that take no other file's place, and the names in them."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from AVA import infer_vanilla, plot_vanilla
from iqa.cards import card_of
from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions
from iqa.files import text_to_name
from iqa.images.finding import images_below

SUFFIXES = (".csv", ".jsonl", ".mat", ".parquet")


@pytest.fixture
def score(command, tiny_histogram):
    """score(*arguments) -> (exit code, stdout, stderr) of the infer script with a tiny network."""
    usual = ("--weights", tiny_histogram, "--runtime", "keras", "--workers", 0)
    return lambda *arguments: command(infer_vanilla, *usual, *arguments)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a folder of two pictures, a list of them and people's labels."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name)
    (tmp_path / "list.csv").write_text("pictures/a.png\n")
    (tmp_path / "labels.csv").write_text("path,score\na.png,5\nb.png,6\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def other(tiny_histogram, tmp_path):
    """The same network under another name."""
    weights = tmp_path / "tiny_other.weights.h5"
    shutil.copy(tiny_histogram, weights)
    shutil.copy(card_of(tiny_histogram), card_of(weights))
    return weights


# --- files that are there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_written_over_by_the_same_model_and_by_no_other(score, folder, suffix, other):
    out = folder / f"scores{suffix}"
    assert score("pictures", "--out", out)[0] == 0
    assert score("pictures/a.png", "--out", out)[0] == 0
    before = out.read_bytes()
    code, printed, err = score("pictures", "--out", out, "--weights", other)
    assert (code, printed) == (2, "") and "--overwrite" in err
    assert out.read_bytes() == before
    assert score("pictures", "--out", out, "--weights", other, "--overwrite")[0] == 0
    assert out.read_bytes() != before and not list(folder.glob("*journal*"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_table_is_not_written_over(score, folder, suffix):
    for number, content in enumerate([b"a photograph", b"path,mean\na,1\n", b"{}\n"]):
        out = folder / f"{number}{suffix}"
        out.write_bytes(content)
        code, _, err = score("pictures", "--out", out)
        assert code == 2 and "a file of that name exists" in err and out.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["pictures", "--out", "folder.csv"], "it is a folder"),
        (["pictures", "--report", "no/page.html"], "there is no folder no"),
        (["--list", "list.csv", "--out", "pictures/../list.csv", "--overwrite"], "an input is never overwritten"),
        (["--labels", "labels.csv", "--images", "pictures", "--out", "labels.csv"], "an input is never overwritten"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_refused_before_the_model_is_loaded(score, folder, monkeypatch, arguments, reason):
    monkeypatch.setattr(infer_vanilla, "load", lambda *_, **__: pytest.fail("loaded"))
    (folder / "folder.csv").mkdir()
    code, printed, err = score(*arguments)
    assert (code, printed, len(err.splitlines())) == (2, "", 1) and reason in err
    assert not (folder / "no").exists()


def test_figures_and_metrics_are_written_over_their_own_kind_alone(command, folder):
    rng = np.random.default_rng(0)
    votes, outputs = rng.dirichlet(np.ones(10), 30), rng.dirichlet(np.ones(10), 30)
    write_predictions("a.mat", Predictions(votes, outputs, [f"{number}.jpg" for number in range(30)]))
    for _ in range(2):
        code, _, err = command(plot_vanilla, "a.mat", "--bootstrap", 5, "--figure", "f.png", "--json", "m.json")
        assert code == 0, err
    Path("other.png").write_bytes(b"another picture")
    Path("votes.json").write_text(json.dumps([{"image_id": "a", "label": [1] * 10}]))
    for options in (["--figure", "other.png"], ["--json", "votes.json"], ["--json", "a.mat"]):
        code, printed, err = command(plot_vanilla, "a.mat", *options)
        assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert Path("other.png").read_bytes() == b"another picture"
    assert read_predictions("a.mat", bins=10).filenames
    assert command(plot_vanilla, "a.mat", "--bootstrap", 5, "--figure", "other.png", "--overwrite")[0] == 0


# --- names ------------------------------------------------------------------------------------------------------------

NASTY = (
    "=1+1.png", "-rf.png", "@SUM(A1).png", "two\nlines.png", "\ttab.png", "\x1b[2J.png", "\x85next.png", "\u202egnp.png",
    "\udcff.png", "\\x41.png", "a,b;\"c'.png", "é猫.png",
)  # fmt: skip


@pytest.fixture
def nasty(tmp_path, monkeypatch):
    """The working folder is one of pictures with names that do harm where they are printed as they are."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    monkeypatch.chdir(pictures)
    for name in NASTY:
        Image.new("RGB", (8, 8)).save(name, "PNG")
    (pictures / "broken\n=0.png").write_text("no picture")
    os.symlink("nowhere", "li\nnk\x1b.png")
    (pictures / "k.\x1b[2Jpdf").touch()
    return tmp_path


def is_harmless(text):
    return all(line.replace("\t", "").isprintable() for line in text.replace("\r", "").split("\n"))


def test_rows_and_errors_show_names_escaped(score, nasty):
    code, printed, err = score(".", "--report", nasty / "page.html")
    assert code == 1 and is_harmless(printed) and is_harmless(err) and "left out: 1 .\\x1b[2jpdf" in err
    assert len(printed.splitlines()) == len(NASTY) and len(list(images_below("."))) == len(NASTY) + 2
    assert "broken\\x0a=0.png: it is not an image" in err
    page = (nasty / "page.html").read_text()
    assert is_harmless(page) and "broken\\x0a=0.png" in page
    for arguments in (["--runtime", "a\n\x1b[2Jb"], ["a", "--out", "x\n\x1b.txt"], ["--list", "\n\x1b"]):
        code, printed, err = score(*arguments)
        assert code == 2 and printed == "" and is_harmless(err) and len(err.splitlines()) <= 2


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_tables_give_the_names_back_and_none_of_them_is_a_formula_or_a_row(score, nasty, suffix):
    out = nasty / f"scores{suffix}"
    code, printed, _ = score(".", *(("--out", out) if suffix else ("--json",)))
    assert code == 1
    if suffix == ".csv":
        text = out.read_bytes().decode()
        assert is_harmless(text)
        rows = list(csv.reader(text.splitlines()))
        assert not [cell for row in rows for cell in row if cell[:1] in ("=", "+", "@", "-")]
        names = [row[0] for row in rows[1:]]
    elif suffix == ".parquet":
        names = pytest.importorskip("pyarrow.parquet").read_table(out)["path"].to_pylist()
    elif suffix == ".mat":
        read = scipy.io.loadmat(out, simplify_cells=True)
        names = [*read["filenames"], *(name for name, _ in read["skipped"])]
    else:
        text = out.read_text() if suffix else printed
        assert text.isascii()
        names = [json.loads(line)["path"] for line in text.splitlines()]
    assert {os.path.normpath(text_to_name(name)) for name in names} == {*NASTY, "broken\n=0.png", "li\nnk\x1b.png"}

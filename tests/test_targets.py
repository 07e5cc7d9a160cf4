"""Results that take no other file's place, and the names in them, for a model that needs no network."""

import csv
import json
import os
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from AVA import compare_with_people, plot_vanilla
from idealo_comparison import compare
from iqa.cards import AVA_SCALE, TID2013_SCALE, Backbone, Card, Head, Preprocessing
from iqa.commands import export, infer
from iqa.commands.terminal import run
from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions
from iqa.files import text_to_name
from iqa.images.finding import images_below
from iqa.labels.opinions import Prediction
from iqa.labels.ratings import locate_ratings, read_ratings
from TID2013_regression import make_labels

SUFFIXES = (".csv", ".jsonl", ".mat", ".parquet")


class Model:
    """What the commands need of a `Scorer`: it gives any picture the same opinion."""

    def __init__(self, head="histogram", name="model", digest="0" * 64):
        scale, preprocessing = (AVA_SCALE, Preprocessing("resize", interpolation="bilinear")), Preprocessing("patch")
        self.card = Card(
            Backbone("mobilenet_v2", "imagenet", "keras", 1e-3),
            Head(head),
            *(reversed(scale) if head == "histogram" else (preprocessing, TID2013_SCALE)),
        )
        self.weights, self.sha256, self.geometry = Path(f"{name}.weights.h5"), digest, "all of it"
        self.network = types.SimpleNamespace(name="none", description="none", packages=())
        self.recipe = {}

    def score_all(self, images, *_):
        for image in images:
            try:
                Image.open(image).close()
                yield image, Prediction(np.full(self.card.bins, 1 / self.card.bins, np.float32))
            except OSError:
                yield image, Prediction(reason="it is \x1b[31mno\nimage")


@pytest.fixture
def score(monkeypatch, capsys):
    """score(model or None, *arguments) -> (exit code, stdout, stderr) of an infer script; None may not even be loaded."""

    def call(model, *arguments):
        monkeypatch.setattr("sys.argv", ["infer.py", *map(str, arguments)])
        capsys.readouterr()

        def load(_=None):
            assert model, "loaded"
            return model

        def main():
            parser = infer.infer_parser("", "none.h5")
            parsed = parser.parse_args()
            parsed.workers = 0
            read = lambda: locate_ratings(read_ratings(parsed.labels), parsed.folder)  # noqa: E731
            return infer.infer_images(parser, parsed, load, read)

        with pytest.raises(SystemExit) as stop:
            run(main)
        return stop.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a folder of two pictures, a list of them and people's labels."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / name)
    (tmp_path / "list.csv").write_text("pictures/a.png\n")
    (tmp_path / "labels.csv").write_text("path,score\na.png,5\nb.png,6\n")
    (tmp_path / "votes.json").write_text(json.dumps([{"image_id": "a", "label": [1] * 10}]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_is_written_over_by_the_same_model_and_by_no_other(score, folder, suffix):
    out = folder / f"scores{suffix}"
    assert score(Model(), "pictures", "--out", out)[0] == 0
    assert score(Model(), "pictures/a.png", "--out", out)[0] == 0
    before = out.read_bytes()
    others = [Model(name="other"), Model(digest="1" * 64), Model(head="regression", digest="2" * 64)]
    for other in others:
        code, printed, err = score(other, "pictures", "--out", out)
        assert (code, printed, len(err.splitlines())) == (2, "", 1) and "--overwrite" in err
        assert out.read_bytes() == before
    assert score(others[0], "pictures", "--out", out, "--overwrite")[0] == 0
    assert out.read_bytes() != before and not list(folder.glob("*journal*"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_table_is_not_written_over(score, folder, suffix):
    for number, content in enumerate([b"a photograph", b"path,mean\na,1\n", b"{}\n", b"[]", b"\0" * 200]):
        out = folder / f"{number}{suffix}"
        out.write_bytes(content)
        code, _, err = score(Model(), "pictures", "--out", out)
        assert code == 2 and "a file of that name exists" in err and out.read_bytes() == content
    original = folder / "original.mat"
    write_predictions(original, Predictions(np.full((2, 10), 0.1), np.full((2, 10), 0.1), ["a", "b"]))
    assert score(Model(), "pictures", "--out", original)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["pictures", "--out", "folder.csv"], "it is a folder"),
        (["pictures", "--out", "no/scores.csv"], "there is no folder no"),
        (["pictures", "--report", "no/page.html"], "there is no folder no"),
        (["--list", "list.csv", "--out", "list.csv"], "an input is never overwritten"),
        (["--list", "list.csv", "--out", "pictures/../list.csv", "--overwrite"], "an input is never overwritten"),
        (["--labels", "labels.csv", "--images", "pictures", "--out", "labels.csv"], "an input is never overwritten"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_refused_before_the_model_is_loaded(score, folder, arguments, reason):
    (folder / "folder.csv").mkdir()
    code, printed, err = score(None, *arguments)
    assert (code, printed, len(err.splitlines())) == (2, "", 1) and reason in err
    assert not (folder / "no").exists()


def test_a_page_is_written_over_pages_alone(score, folder):
    for _ in range(2):
        assert score(Model(), "pictures", "--report", "page.html")[0] == 0
    Path("mine.html").write_text("<!DOCTYPE html><html lang='en'><p>mine")
    code, printed, err = score(Model(), "pictures", "--report", "mine.html")
    assert (code, printed) == (2, "") and "mine.html" in err and "mine" in Path("mine.html").read_text()


# --- figures, metrics, models -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [plot_vanilla, compare])
def test_figures_and_metrics_are_written_over_their_own_kind_alone(command, folder, script):
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.ones(10), 30)
    files = ["a.mat", "b.mat"][: 1 if script is plot_vanilla else 2]
    for file in files:
        outputs = rng.dirichlet(np.ones(10), 30)
        write_predictions(file, Predictions(votes, outputs, [f"{number}.jpg" for number in range(30)]))
    for suffix in (".png", ".svg", ".pdf"):
        for _ in range(2):
            code, _, err = command(script, *files, "--bootstrap", 5, "--figure", f"f{suffix}", "--json", "m.json")
            assert code == 0, err
        Path(f"other{suffix}").write_bytes(b"another picture")
        for options in (["--figure", f"other{suffix}"], ["--json", "votes.json"], ["--json", files[0]]):
            code, printed, err = command(script, *files, *options)
            assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert Path("other.png").read_bytes() == b"another picture"
    assert read_predictions(files[0], bins=10).filenames
    assert command(script, *files, "--bootstrap", 5, "--figure", "other.png", "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (export, ["ava_vanilla", "--format", "litert", "--out", "x.tflite"]),
        (export, ["ava_vanilla", "--format", "openvino", "--out", "y.xml"]),
        (export, ["ava_vanilla", "--format", "litert", "--out", "no/x.tflite"]),
        (make_labels, ["--mos", "labels.csv", "--out", "votes.json"]),
        (make_labels, ["--mos", "votes.json", "--out", "votes.json", "--overwrite"]),
        (compare_with_people, ["--images", "pictures", "--votes", "labels.csv", "--json", "votes.json"]),
        (compare_with_people, ["--images", "pictures", "--votes", "labels.csv", "--json", "labels.csv"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.__name__.split(".")[-1],
)
def test_no_model_and_no_labels_are_lost_to_a_mistyped_name(command, folder, script, arguments):
    for name in ("x.tflite", "y.bin", "x.weights.h5", "y.json"):
        Path(name).write_text("precious")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, printed, err = command(script, *arguments)
    assert (code, printed, len(err.splitlines())) == (2, "", 1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# --- names ------------------------------------------------------------------------------------------------------------

NASTY = (
    "=1+1.png", "-rf.png", "@SUM(A1).png", "+1.png", "two\nlines.png", "\ra.png", "\ttab.png", "\x1b[2J.png", "\x7f.png",
    "\x85next.png", "\u202egnp.png", "\u2028.png", "\udcff.png", "\\x41.png", "\\udcff.png", "a,b;\"c'.png", "é猫.png",
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
    return tmp_path


def is_harmless(text):
    return all(line.replace("\t", "").isprintable() for line in text.split("\n"))


def test_rows_for_people_are_one_for_each_picture_whatever_it_is_called(score, nasty):
    code, printed, err = score(Model(), ".", "--report", nasty / "page.html")
    assert code == 1 and is_harmless(printed) and is_harmless(err.replace("\r", ""))
    assert len(printed.splitlines()) == len(NASTY) and all(line.count("\t") == 3 for line in printed.splitlines())
    assert "broken\\x0a=0.png: it is \\x1b[31mno\\x0aimage" in err
    page = (nasty / "page.html").read_text()
    assert is_harmless(page.replace("\r", "?")) and "broken\\x0a=0.png" in page


def test_rows_of_json_give_the_names_back(score, nasty):
    code, printed, _ = score(Model(), ".", "--json")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert code == 1 and printed.isascii()
    assert {text_to_name(row["path"]) for row in rows} == {*NASTY, "broken\n=0.png"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_give_the_names_back_and_none_of_them_is_a_formula_or_a_row(score, nasty, suffix):
    out = nasty / f"scores{suffix}"
    code, _, err = score(Model(), ".", "--out", out)
    assert code == 1 and is_harmless(err.replace("\r", ""))
    if suffix == ".csv":
        text = out.read_bytes().decode()
        assert text.count("\r\n") == len(NASTY) + 2 and is_harmless(text.replace("\r\n", "\n"))
        rows = list(csv.reader(text.splitlines()))
        assert not [cell for row in rows for cell in row if cell[:1] in ("=", "+", "@", "-")]
        names = [row[0] for row in rows[1:]]
    elif suffix == ".jsonl":
        names = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    elif suffix == ".parquet":
        names = pytest.importorskip("pyarrow.parquet").read_table(out)["path"].to_pylist()
    else:
        read = scipy.io.loadmat(out, simplify_cells=True)
        names = [*read["filenames"], read["skipped"][0]]
    assert {os.path.normpath(text_to_name(name)) for name in names} == {*NASTY, "broken\n=0.png"}


def test_a_table_that_is_read_as_labels_finds_its_pictures_again(score, nasty):
    out = nasty / "labels.csv"
    score(Model(), ".", "--out", out)
    lines = out.read_text().splitlines()
    out.write_text("\n".join(line for line in lines if "broken" not in line))  # which has no score
    located = locate_ratings(read_ratings(out), ".")
    assert {os.path.normpath(image.path) for image in located} == set(NASTY)


def test_errors_of_usage_show_names_escaped(score, nasty):
    for arguments in (
        ["--runtime", "a\n\x1b[2Jb"],
        ["--no\n\x1bsuch"],
        ["a", "--out", "x\n\x1b.txt"],
        ["--list", "\n\x1b"],
    ):
        code, printed, err = score(Model(), *arguments)
        assert code == 2 and printed == "" and is_harmless(err) and len(err.splitlines()) <= 2


def test_folders_are_walked_into_names_that_are_told_escaped(score, nasty):
    os.symlink("nowhere", "li\nnk\x1b.png")
    (nasty / "pictures/k.\x1b[2Jpdf").touch()
    _, _, err = score(Model(), ".")
    assert is_harmless(err.replace("\r", "")) and "left out: " in err
    assert len(list(images_below("."))) == len(NASTY) + 2

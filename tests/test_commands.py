"""What all commands have in common: options that contradict each other, errors and bugs, percentiles, rows of JSON."""

import csv
import json
import os
import re

import numpy as np
import pytest

from AVA import infer_vanilla
from idealo_comparison import infer as idealo
from idealo_comparison import infer_technical
from iqa.cards import AVA_SCALE
from iqa.commands.terminal import quiet_start, run
from iqa.errors import ImageError, UsageError
from iqa.labels.opinions import Prediction
from iqa.scoring.report import Picture, write_page
from iqa.scoring.writers import json_line, values_of
from TID2013_regression import infer_regression

# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "options", "named"),
    [
        (infer_regression, ["a.png", "--json", "--out", "s.csv"], ["--json", "--out"]),
        (infer_regression, ["a.png", "--references", "i01"], ["--references", "--labels"]),
        (infer_regression, ["--images", "folder"], ["--images", "--labels"]),
        (infer_regression, ["--labels", "mos.txt"], ["--images", "--labels"]),
        (infer_vanilla, ["--labels", "l", "--images", "f", "--out", "o.mat", "a.png"], ["--labels", "no other images"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_which_one_would_be_ignored_are_refused_by_name(command, script, options, named):
    code, out, err = command(script, *options)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert all(name in line for name in named)


# --- errors and bugs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [UsageError("epochs must be at least 1, got 0"), ImageError("x"), FileNotFoundError(2, "No such file", "x")]
)
def test_our_own_errors_and_those_of_files_are_one_line_and_exit_code_2(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"error: {error}")


@pytest.mark.parametrize("bug", [ValueError("operands could not be broadcast"), TypeError("x"), KeyError("x")])
def test_a_bug_shows_its_traceback(bug):
    def main():
        raise bug

    with pytest.raises(type(bug)) as shown:
        run(main)
    assert shown.value is bug


def test_greetings_are_shown_if_a_bug_follows_and_not_if_one_of_our_errors_does(capfd):
    for error in (ImageError("ours"), ValueError("a bug")):
        with pytest.raises(type(error)), quiet_start():
            os.write(2, f"greeting before {error}\n".encode())
            raise error
    assert capfd.readouterr().err == "greeting before a bug\n"


def test_ctrl_c_ends_with_130():
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 130


# --- percentiles ----------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(save, photograph):
    return save("picture.png", photograph)


@pytest.fixture
def without_card(tiny_histogram, tmp_path):
    """The tiny model as a file of Keras 2, which has no card."""
    path = tmp_path / "tiny.hdf5"
    path.write_bytes(tiny_histogram.read_bytes())
    return path


def test_a_score_is_compared_with_ava_if_the_card_says_so(command, picture, tiny_histogram):
    code, out, _ = command(infer_vanilla, picture, "--weights", tiny_histogram)
    assert code == 0
    assert out.rstrip().endswith(" % of AVA score lower")
    row = json.loads(command(infer_vanilla, picture, "--weights", tiny_histogram, "--json")[1])
    assert 0 <= row["percentile"] <= 100


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_no_score_is_compared_with_ava_unless_the_card_says_so(command, picture, copy_of, tiny_histogram, suffix, tmp_path):
    weights = copy_of(tiny_histogram, scale={"population": None})
    code, out, _ = command(infer_vanilla, picture, "--weights", weights)
    assert code == 0
    assert len(out.split("\t")) == 3 and "AVA" not in out
    assert "percentile" not in json.loads(command(infer_vanilla, picture, "--weights", weights, "--json")[1])
    out, page = tmp_path / f"s{suffix}", tmp_path / "page.html"
    assert command(infer_vanilla, picture, "--weights", weights, "--out", out, "--report", page)[0] == 0
    assert b"percentile" not in out.read_bytes()
    assert "AVA" not in re.sub(r"base64,[^\"]*", "", page.read_text())  # three letters of a picture may be these


def test_idealos_technical_model_is_compared_with_no_photographs_of_ava(command, picture, without_card):
    aesthetic, technical = (
        json.loads(command(script, picture, "--weights", without_card, "--json")[1]) for script in (idealo, infer_technical)
    )
    assert set(aesthetic) - set(technical) == {"percentile"}
    assert technical["mean"] == pytest.approx(aesthetic["mean"], abs=1e-6)


def test_a_page_names_the_scale_of_the_card(command, picture, copy_of, tiny_histogram, tmp_path):
    weights = copy_of(tiny_histogram, scale={"lowest": 0, "highest": 100, "meaning": "sharpness"})
    command(infer_vanilla, picture, "--weights", weights, "--report", tmp_path / "page.html")
    assert "Scores from 0 to 100. Sharpness." in (tmp_path / "page.html").read_text()


# --- JSON -----------------------------------------------------------------------------------------------------------


def read_strictly(text):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_rows_of_json_hold_null_for_what_is_no_finite_number():
    row = read_strictly(json_line({"path": "a", "mean": float("nan"), "histogram": [float("inf"), 0.5]}))
    assert row == {"path": "a", "mean": None, "histogram": [None, 0.5]}


def test_a_page_holds_null_for_what_is_no_finite_number(tmp_path):
    values = [{"score": 1.0, "error": float("nan")}, {"score": float("inf"), "error": None}]
    write_page(tmp_path / "page.html", [Picture(str(n), None, value) for n, value in enumerate(values)], "two", "")
    text = (tmp_path / "page.html").read_text()
    found = [read_strictly(part.partition('"')[0]) for part in text.split('data-values="')[1:]]
    assert found == [[1.0, None], [None, None]]


def test_a_model_that_answers_no_numbers_skips_its_pictures_with_the_reason(command, picture, tiny, copy_of, tmp_path):
    copied = copy_of(tiny)
    with np.load(tiny) as stored:
        arrays = {name: np.full_like(stored[name], np.nan) for name in stored.files}
    with open(copied, "wb") as file:
        np.savez(file, **arrays)
    card = json.loads((tmp_path / "tiny.json").read_text())
    del card["sha256"]
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    options = (picture, "--weights", copied, "--runtime", "keras")
    code, out, _ = command(infer_regression, *options, "--json")
    assert code == 1
    assert read_strictly(out) == {"path": str(picture), "error": "the model's answer is not a finite number"}
    code, _, _ = command(infer_regression, *options, "--out", tmp_path / "s.csv")
    assert code == 1
    (row,) = csv.DictReader((tmp_path / "s.csv").read_text().splitlines())
    assert (row["mean"], row["error"]) == ("", "the model's answer is not a finite number")


def test_a_histogram_says_mean_deviation_percentile_and_shares():
    votes = np.zeros(10, np.float32)
    votes[[3, 5]] = 0.5
    values = values_of(Prediction(votes), AVA_SCALE)
    assert (values["mean"], values["std"]) == (5, 1)
    assert values["histogram"] == votes.tolist()

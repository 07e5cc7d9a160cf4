import numpy as np
import pytest

from iqa.errors import OutputError
from iqa.evaluation.plots import (
    MOST_POINTS,
    choose_bins,
    draw_distributions,
    draw_intervals,
    draw_ladders,
    draw_predictions,
    draw_training,
)


@pytest.fixture
def votes():
    rng = np.random.default_rng(0)
    people = rng.dirichlet(np.full(10, 3.0), 25_000)
    return people, 0.5 * people + 0.5 * rng.dirichlet(np.full(10, 3.0), 25_000)


@pytest.mark.parametrize("suffix, begins", [(".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_a_figure_of_25000_pictures_is_a_vector_that_a_paper_can_hold(votes, tmp_path, suffix, begins):
    draw_predictions(*votes, tmp_path / f"f{suffix}", "AVA, 1-10")
    content = (tmp_path / f"f{suffix}").read_bytes()
    assert content.startswith(begins)
    assert len(content) < 500_000
    draw_predictions(*votes, tmp_path / f"again{suffix}", "AVA, 1-10")
    assert (tmp_path / f"again{suffix}").read_bytes() == content
    assert content.count(b"/Subtype /Image") <= 1  # the bar of colours, and no raster of points


def test_the_caption_names_every_panel_and_how_many_pictures_there_are(votes, tmp_path):
    of_histograms = draw_predictions(*votes, tmp_path / "f.png", "AVA, 1-10")
    assert of_histograms.startswith("25000 pictures. (a) ")
    assert [letter for letter in "abcde" if f"({letter})" in of_histograms] == list("abcd")
    scores = np.linspace(1, 8, MOST_POINTS)
    of_scores = draw_predictions(scores, scores[::-1], tmp_path / "f.png", "TID2013, 0-9")
    assert [letter for letter in "abcde" if f"({letter})" in of_scores] == list("abc")
    assert "darker a cell" in of_histograms
    assert "darker a cell" not in of_scores  # few enough to be points


def test_calibration_is_of_ten_groups_or_of_as_many_as_there_are_pairs(tmp_path):
    few = draw_predictions(np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2, 3, 4, 4]), tmp_path / "f.png", "s")
    assert "the pictures in 2 groups of equal size" in few


def test_a_file_that_matplotlib_cannot_write_is_refused_by_its_suffix(tmp_path):
    for name in ("f.xyz", "f"):
        with pytest.raises(OutputError, match=name):
            draw_predictions(np.array([1.0, 2]), np.array([1.0, 2]), tmp_path / name, "s")
    assert not list(tmp_path.iterdir())


def test_scores_that_are_all_the_same_can_be_drawn(tmp_path):
    draw_predictions(np.full(5, 3.0), np.full(5, 3.0), tmp_path / "f.png", "s")
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_no_series_is_left_out_however_many_there_are(tmp_path):
    curves = {f"model {number}": np.linspace(1, 9, 101) for number in range(6)}
    draw_distributions(curves, tmp_path / "f.svg", "s")
    assert (tmp_path / "f.svg").read_text().count("<!-- model ") == 6


def count_bars(svg):
    """The bars of the first histogram of people in an SVG: grey rectangles."""
    return svg.split('id="axes_2"')[0].count("fill: #bfbfbf")


def test_few_pictures_get_few_bins_and_many_get_many(tmp_path):
    rng = np.random.default_rng(1)
    bars = {}
    for count in (12, 10_000):
        scores = rng.uniform(0, 9, count)
        draw_predictions(scores, scores, tmp_path / "f.svg", "TID2013, 0-9")
        bars[count] = count_bars((tmp_path / "f.svg").read_text())
    assert bars[12] <= 6 + 1  # and one in the legend
    assert bars[10_000] == 40 + 1
    assert choose_bins(1) == 5 and choose_bins(25_000) == 100


def test_epochs_that_were_undone_are_marked_once_in_each_panel_and_srcc_has_its_own(tmp_path):
    log = [
        {"epoch": n, "phase": 1 + n // 3, "learning_rate": 1e-3, "loss": 1 / n, "val_loss": 2 / n, "val_lcc": n / 9}
        for n in range(1, 9)
    ]
    draw_training(log, tmp_path / "plain.svg")
    plain = (tmp_path / "plain.svg").read_text()
    assert "<!-- undone -->" not in plain and "<!-- SRCC -->" not in plain
    draw_training([row | {"val_srcc": 0.5} for row in log], tmp_path / "f.svg", {1: "0.001:cosine"}, {2, 3})
    drawn = (tmp_path / "f.svg").read_text()
    assert drawn.count("<!-- undone -->") == 3
    assert "<!-- SRCC -->" in drawn and "<!-- 0.001:cosine -->" in drawn


def test_names_are_shown_as_they_are_and_are_no_formulas(tmp_path):
    names = ["a$\\x^$.png", "b$", "c\n\x1b.png", "_d"]
    draw_ladders({"$^$": (names, [1.0, 2, 3, 4])}, tmp_path / "f.svg", "score")
    draw_intervals(names, [(1.0, 0.5, 1.5)] * 4, [True] * 4, tmp_path / "g.svg")
    for file in ("f.svg", "g.svg"):
        text = (tmp_path / file).read_text()
        assert "<!-- a$\\x^$.png -->" in text and "<!-- c\\x0a\\x1b.png -->" in text

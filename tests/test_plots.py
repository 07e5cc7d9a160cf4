import numpy as np
import pytest

from iqa.evaluation.plots import choose_bins, draw_ladders, draw_predictions


def test_a_figure_of_many_pictures_is_a_vector_that_a_paper_can_hold_and_the_same_each_time(tmp_path):
    rng = np.random.default_rng(0)
    people = rng.dirichlet(np.full(10, 3.0), 25_000)
    votes = people, 0.5 * people + 0.5 * rng.dirichlet(np.full(10, 3.0), 25_000)
    caption = draw_predictions(*votes, tmp_path / "f.pdf", "AVA, 1-10")
    content = (tmp_path / "f.pdf").read_bytes()
    assert content.startswith(b"%PDF") and len(content) < 500_000
    assert content.count(b"/Subtype /Image") <= 1  # the bar of colours, and no raster of points
    draw_predictions(*votes, tmp_path / "again.pdf", "AVA, 1-10")
    assert (tmp_path / "again.pdf").read_bytes() == content
    assert caption.startswith("25000 pictures. (a) ") and "darker a cell" in caption
    assert [letter for letter in "abcde" if f"({letter})" in caption] == list("abcd")


@pytest.mark.parametrize("count, bars, groups", [(4, 5, 2), (5, 5, 2), (1000, 32, 10)])
def test_few_scores_are_points_in_few_bins_and_few_groups(tmp_path, count, bars, groups):
    scores = np.random.default_rng(1).uniform(0, 9, count) if count > 4 else np.full(4, 3.0)  # or all the same
    caption = draw_predictions(scores, scores, tmp_path / "f.svg", "TID2013, 0-9")
    assert [letter for letter in "abcde" if f"({letter})" in caption] == list("abc")
    assert "darker a cell" not in caption and f"the pictures in {groups} groups of equal size" in caption
    first = (tmp_path / "f.svg").read_text().split('id="axes_2"')[0]
    assert first.count("fill: #bfbfbf") <= bars + 1  # grey rectangles, one of them in the legend
    assert choose_bins(count) == bars


def test_names_are_shown_as_they_are_and_are_no_formulas(tmp_path):
    names = ["a$\\x^$.png", "b$", "c\n\x1b.png", "_d"]
    draw_ladders({"$^$": (names, [1.0, 2, 3, 4])}, tmp_path / "f.svg", "score")
    text = (tmp_path / "f.svg").read_text()
    assert "<!-- a$\\x^$.png -->" in text and "<!-- c\\x0a\\x1b.png -->" in text

import numpy as np
import pytest

from iqa.evaluation.plots import MOST_POINTS, predictions_against_truth


@pytest.fixture
def votes():
    rng = np.random.default_rng(0)
    people = rng.dirichlet(np.full(10, 3.0), 25_000)
    return people, 0.5 * people + 0.5 * rng.dirichlet(np.full(10, 3.0), 25_000)


@pytest.mark.parametrize("suffix, begins", [(".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_a_figure_of_25000_pictures_is_a_vector_that_a_paper_can_hold(votes, tmp_path, suffix, begins):
    predictions_against_truth(*votes, tmp_path / f"f{suffix}", "AVA, 1-10")
    content = (tmp_path / f"f{suffix}").read_bytes()
    assert content.startswith(begins)
    assert len(content) < 500_000
    predictions_against_truth(*votes, tmp_path / f"again{suffix}", "AVA, 1-10")
    assert (tmp_path / f"again{suffix}").read_bytes() == content
    assert content.count(b"/Subtype /Image") <= 1  # the bar of colours, and no raster of points


def test_the_caption_names_every_panel_and_how_many_pictures_there_are(votes, tmp_path):
    of_histograms = predictions_against_truth(*votes, tmp_path / "f.png", "AVA, 1-10")
    assert of_histograms.startswith("25000 pictures. (a) ")
    assert [letter for letter in "abcde" if f"({letter})" in of_histograms] == list("abcd")
    scores = np.linspace(1, 8, MOST_POINTS)
    of_scores = predictions_against_truth(scores, scores[::-1], tmp_path / "f.png", "TID2013, 0-9")
    assert [letter for letter in "abcde" if f"({letter})" in of_scores] == list("abc")
    assert "darker a cell" in of_histograms
    assert "darker a cell" not in of_scores  # few enough to be points


def test_calibration_is_of_ten_groups_or_of_as_many_as_there_are_pairs(tmp_path):
    few = predictions_against_truth(np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2, 3, 4, 4]), tmp_path / "f.png", "s")
    assert "the pictures in 2 groups of equal size" in few

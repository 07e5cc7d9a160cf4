import os

import numpy as np
import pytest
from scipy import io

from iqa.errors import PredictionsError
from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions
from iqa.files import printable, written_whole

EXAMPLE = Predictions(
    np.array([1.0, 2.5]),
    np.array([1.25, 2.25], np.float32),
    ["i01_01_1.bmp", "naïve \udcff.png"],
    [("i01_01_2.bmp", "the file is empty")],
    {"model": "m", "utc": "2020-01-01"},
)


def test_what_is_written_is_read_again(tmp_path):
    write_predictions(tmp_path / "p.mat", EXAMPLE)
    read = read_predictions(tmp_path / "p.mat")
    np.testing.assert_array_equal(read.labels, EXAMPLE.labels)
    np.testing.assert_array_equal(read.predictions, EXAMPLE.predictions)
    assert read.filenames == ["i01_01_1.bmp", "naïve \\xff.png"]
    assert read.skipped == EXAMPLE.skipped
    assert read.provenance == EXAMPLE.provenance


def test_old_readers_find_the_names_shapes_and_types_of_the_original(tmp_path):
    write_predictions(tmp_path / "p.mat", EXAMPLE)
    content = io.loadmat(tmp_path / "p.mat")
    assert (content["labels"].shape, content["labels"].dtype) == ((1, 2), np.float64)
    assert (content["predictions"].shape, content["predictions"].dtype) == ((2, 1, 1), np.float32)


def test_histograms_are_written_with_the_image_id_or_row_in_the_first_column(tmp_path):
    votes = np.full((2, 10), 0.1)
    example = Predictions(votes, votes.astype(np.float32), ["953619.jpg", "photo.jpg"])
    write_predictions(tmp_path / "p.mat", example)
    content = io.loadmat(tmp_path / "p.mat")
    assert (content["labels"].shape, content["labels"].dtype) == ((2, 11), np.float64)
    assert (content["predictions"].shape, content["predictions"].dtype) == ((2, 1, 10), np.float32)
    assert content["labels"][:, 0].tolist() == [953619, 1]
    read = read_predictions(tmp_path / "p.mat", bins=10)
    np.testing.assert_allclose(read.labels, votes)
    assert read.predictions.shape == (2, 10)


def test_histograms_without_a_file_name_each_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="0 file names"):
        write_predictions(tmp_path / "p.mat", Predictions(np.full((2, 10), 0.1), np.full((2, 10), 0.1)))
    assert not (tmp_path / "p.mat").exists()


def test_scores_are_not_mistaken_for_histograms(tmp_path):
    write_predictions(tmp_path / "p.mat", EXAMPLE)
    with pytest.raises(PredictionsError, match="are no histograms"):
        read_predictions(tmp_path / "p.mat", bins=10)


def test_a_set_without_skipped_images_can_be_written(tmp_path):
    write_predictions(tmp_path / "p.mat", Predictions(np.ones(1), np.ones(1), ["a"]))
    assert read_predictions(tmp_path / "p.mat").skipped == []


def test_a_file_without_the_variables_is_refused_by_name(tmp_path):
    io.savemat(tmp_path / "p.mat", {"labels": np.ones((1, 2))})
    with pytest.raises(PredictionsError, match=r"p\.mat: it has no variable 'predictions'"):
        read_predictions(tmp_path / "p.mat")


@pytest.mark.parametrize("content", [b"", b"not a mat file", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "p.mat").write_bytes(content)
    with pytest.raises(PredictionsError) as error:
        read_predictions(tmp_path / "p.mat")
    assert "p.mat" in str(error.value) and "\n" not in str(error.value)


def test_histograms_are_not_mistaken_for_scores(tmp_path):
    io.savemat(tmp_path / "p.mat", {"labels": np.ones((3, 11)), "predictions": np.ones((3, 1, 10))})
    with pytest.raises(PredictionsError, match="are no scores"):
        read_predictions(tmp_path / "p.mat")


def test_undecodable_bytes_are_shown_as_escapes():
    assert printable(os.fsdecode(b"a\xffb")) == "a\\xffb"


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    (tmp_path / "f").write_text("old")
    with pytest.raises(RuntimeError), written_whole(tmp_path / "f") as file:
        file.write(b"half")
        raise RuntimeError
    assert (tmp_path / "f").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("shape, bins", [((2, 1), 1), ((2, 10), 10), ((1, 10), 10), ((1, 1), 1)])
def test_predictions_that_matlab_has_saved_again_are_read(tmp_path, shape, bins):
    # It drops trailing dimensions of 1.
    count = shape[0]
    labels = np.ones((1, count)) if bins == 1 else np.column_stack([np.arange(count), np.full((count, 10), 0.1)])
    outputs = np.full(shape, 0.1, np.float32)
    io.savemat(tmp_path / "p.mat", {"labels": labels, "predictions": outputs})
    for asked in (bins, None):
        read = read_predictions(tmp_path / "p.mat", asked)
        assert read.predictions.shape == read.labels.shape == ((count,) if bins == 1 else (count, 10))


def test_a_file_with_too_few_names_is_refused(tmp_path):
    names = np.array(["a.png"], object)
    io.savemat(tmp_path / "p.mat", {"labels": np.ones((1, 2)), "predictions": np.ones((2, 1, 1)), "filenames": names})
    with pytest.raises(PredictionsError, match="1 file names for 2 images"):
        read_predictions(tmp_path / "p.mat")


@pytest.mark.parametrize("value", [np.array([[1 + 2j, 3]]), np.array([["a", "b"]])], ids=["complex", "text"])
def test_labels_that_are_no_real_numbers_are_refused(tmp_path, value):
    io.savemat(tmp_path / "p.mat", {"labels": value, "predictions": np.ones((2, 1, 1))})
    with pytest.raises(PredictionsError, match="'labels' are not numbers"):
        read_predictions(tmp_path / "p.mat")

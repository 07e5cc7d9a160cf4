import io
import struct

import numpy as np
import pytest
import scipy.io

from iqa.errors import PredictionsError
from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions

EXAMPLE = Predictions(
    np.array([1.0, 2.5]),
    np.array([1.25, 2.25], np.float32),
    ["i01_01_1.bmp", "写真 é \udcff\N{GRINNING FACE}.png"],
    [("i01_01_2.bmp", "the file is empty")],
    {"model": "café", "utc": "2020-01-01"},
)


def element(kind, content):
    return struct.pack("<2I", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, *parts, name=""):
    head = element(6, struct.pack("<2I", kind, 0)) + element(5, struct.pack("<2i", *shape)) + element(1, name.encode())
    return element(14, head + b"".join(parts))


def test_what_is_written_is_read_again_and_by_scipy(tmp_path):
    write_predictions(tmp_path / "p.mat", EXAMPLE)
    read = read_predictions(tmp_path / "p.mat")
    np.testing.assert_array_equal(read.labels, EXAMPLE.labels)
    np.testing.assert_array_equal(read.predictions, EXAMPLE.predictions)
    assert read.filenames == ["i01_01_1.bmp", "写真 é \\xff\\U0001f600.png"]
    assert (read.skipped, read.provenance) == (EXAMPLE.skipped, EXAMPLE.provenance)
    content = scipy.io.loadmat(tmp_path / "p.mat")
    assert (content["labels"].shape, content["labels"].dtype) == ((1, 2), np.float64)
    assert (content["predictions"].shape, content["predictions"].dtype) == ((2, 1, 1), np.float32)
    assert content["filenames"][0, 1] == ["写真 é \\xff\\U0001f600.png"]
    assert (content["filenames"].shape, content["skipped"].shape) == ((1, 2), (1, 2))


def test_histograms_are_written_with_the_image_id_or_row_in_the_first_column(tmp_path):
    votes = np.full((2, 10), 0.1)
    write_predictions(tmp_path / "p.mat", Predictions(votes, votes.astype(np.float32), ["953619.jpg", "photo.jpg"]))
    content = scipy.io.loadmat(tmp_path / "p.mat")
    assert (content["labels"].shape, content["labels"].dtype) == ((2, 11), np.float64)
    assert (content["predictions"].shape, content["predictions"].dtype) == ((2, 1, 10), np.float32)
    assert content["labels"][:, 0].tolist() == [953619, 1]
    read = read_predictions(tmp_path / "p.mat", bins=10)
    np.testing.assert_allclose(read.labels, votes)
    assert (read.predictions.shape, read.skipped) == ((2, 10), [])
    with pytest.raises(ValueError, match="0 file names"):
        write_predictions(tmp_path / "q.mat", Predictions(votes, votes))
    assert not (tmp_path / "q.mat").exists()


@pytest.mark.parametrize(
    "content, bins, reason",
    [
        ({"labels": np.ones((1, 2))}, 1, "it has no variable 'predictions'"),
        ({"labels": np.ones((1, 2)), "predictions": np.ones((2, 1, 1))}, 10, "are no histograms"),
        ({"labels": np.ones((3, 11)), "predictions": np.ones((3, 1, 10))}, 1, "are no scores"),
        ({"labels": np.ones((1, 2)), "predictions": np.ones((2, 1, 1)), "filenames": ["a"]}, 1, "1 file names"),
        ({"labels": np.array([[1 + 2j, 3]]), "predictions": np.ones((2, 1, 1))}, 1, "'labels' are not numbers"),
        ({"labels": np.full((1, 2), np.nan), "predictions": np.ones((2, 1, 1))}, 1, "images without labels"),
    ],
)  # fmt: skip
def test_a_file_that_lacks_something_is_refused_by_name(tmp_path, content, bins, reason):
    scipy.io.savemat(tmp_path / "p.mat", content)
    with pytest.raises(PredictionsError, match=rf"p\.mat: .*{reason}"):
        read_predictions(tmp_path / "p.mat", bins)


@pytest.mark.parametrize(
    "content", [b"", b"not a mat file", b"MATLAB 5.0 MAT-file" + bytes(200), b"MATLAB 7.3".ljust(124) + b"\0\2IM"]
)
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "p.mat").write_bytes(content)
    with pytest.raises(PredictionsError) as error:
        read_predictions(tmp_path / "p.mat")
    assert "p.mat: " in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("shape, bins", [((2, 1), 1), ((2, 10), 10), ((1, 10), 10), ((1, 1), 1)])
def test_predictions_that_matlab_has_saved_again_are_read(tmp_path, shape, bins):
    # It drops trailing dimensions of 1.
    count = shape[0]
    labels = np.ones((1, count)) if bins == 1 else np.column_stack([np.arange(count), np.full((count, 10), 0.1)])
    scipy.io.savemat(tmp_path / "p.mat", {"labels": labels, "predictions": np.full(shape, 0.1, np.float32)})
    for asked in (bins, None):
        read = read_predictions(tmp_path / "p.mat", asked)
        assert read.predictions.shape == read.labels.shape == ((count,) if bins == 1 else (count, 10))


def test_names_are_read_however_matlab_and_octave_store_them(tmp_path):
    names = ["写真.jpg", "café.jpg", "Ünder.jpg", ""]
    codes = [name.encode("utf-16-le") for name in names]
    texts = (
        matrix(4, (1, len(names[0])), element(4, codes[0])),  # as plain numbers of 16 bits
        matrix(4, (1, len(names[1])), element(17, codes[1])),  # as UTF-16
        matrix(11, (1, len(names[2])), element(4, codes[2])),  # an array of numbers
        matrix(6, (0, 0), element(9, b"")),  # an empty one
    )
    file = io.BytesIO()
    scipy.io.savemat(file, {"labels": np.ones((1, 4)), "predictions": np.ones((4, 1, 1))})
    (tmp_path / "p.mat").write_bytes(file.getvalue() + matrix(1, (1, 4), *texts, name="filenames"))
    assert read_predictions(tmp_path / "p.mat").filenames == names

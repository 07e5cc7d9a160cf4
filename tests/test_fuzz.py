"""Files that somebody bent: whatever the bytes, a reader reads them or says in one line why not."""

import io
import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from iqa.errors import ImageError, PredictionsError
from iqa.evaluation.predictions import Predictions, read_predictions, write_predictions
from iqa.images.finding import sample_photograph
from iqa.images.geometry import read_resized
from iqa.images.reading import read_image

EXAMPLES = 5000 if os.environ.get("IQA_THOROUGH") else 25

BENT = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

FORMATS = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "GIF": {},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
    "JPEG2000": {},
    "AVIF": {},
}

#: What is done to a file: bytes at places (shares of its length) are replaced, and it is cut off.
BENDS = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    st.one_of(st.just(1.0), st.floats(0, 1)),
    st.booleans(),
)


def bent(content, bends):
    replaced, length, early = bends
    content = bytearray(content)
    for place, new in replaced:
        # Headers are where the parsing is: half of the time the changes fall into the first 200 bytes.
        start = int(place * (min(len(content), 200) if early else len(content)))
        content[start : start + len(new)] = new
    return bytes(content[: int(length * len(content))])


@pytest.fixture(scope="module")
def pictures():
    small = Image.open(sample_photograph()).convert("RGB").resize((96, 80))
    files = {}
    for name, options in FORMATS.items():
        stream = io.BytesIO()
        small.save(stream, name.split()[0], **options)
        files[name] = stream.getvalue()
    return files


@pytest.mark.parametrize("format", FORMATS)
@BENT
@given(bends=BENDS)
def test_a_bent_picture_is_read_or_refused_in_one_line(pictures, tmp_path, format, bends):
    path = tmp_path / "bent"
    path.write_bytes(bent(pictures[format], bends))
    check(read_image, path)
    check(lambda path: read_resized(path, 32), path)


def check(read, path):
    try:
        pixels = read(path)
    except ImageError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


@pytest.mark.parametrize("side", [None, 96])
@BENT
@given(bends=BENDS)
def test_a_bent_raw_file_is_read_or_refused_in_one_line(make_dng, tmp_path, side, bends):
    small = Image.open(sample_photograph()).convert("RGB").resize((96, 80))
    content = make_dng(np.asarray(small), side and small.resize((side, side * 5 // 6)), 6)
    path = tmp_path / "bent.dng"
    path.write_bytes(bent(content, bends))
    check(read_image, path)


@BENT
@given(bends=BENDS)
def test_a_bent_file_of_predictions_is_read_or_refused_in_one_line(tmp_path, bends):
    path = tmp_path / "bent.mat"
    scores = np.linspace(0, 9, 50)
    write_predictions(path, Predictions(scores, scores, ["a.png"] * 50, [("b.png", "empty")], {"model": "m"}))
    path.write_bytes(bent(path.read_bytes(), bends))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy and NumPy, on what they make of it
        try:
            read = read_predictions(path)
        except PredictionsError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert read.labels.shape == read.predictions.shape

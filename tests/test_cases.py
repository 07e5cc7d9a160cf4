"""Inputs on which this project, or others like it, were seen to fail, one fault each; they lie with the data sets."""

import json
import subprocess
import sys

import numpy as np
import pytest

from iqa.errors import ImageError
from iqa.images.finding import LeftOut, images_below, in_words, named_images
from iqa.images.reading import read_image


@pytest.fixture(scope="module")
def cases(shared, tmp_path_factory):
    """The folder of the cases, and what is expected of each of them."""
    if not (shared / "cases/make_cases.py").is_file():
        pytest.skip("IQA_SHARED has no cases")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, shared / "cases/make_cases.py", folder], check=True, capture_output=True)
    return folder, json.loads((folder / "expected.json").read_text())


def test_every_picture_is_read_like_the_one_that_it_is_like(cases):
    pytest.importorskip("imagecodecs")
    folder, expected = cases
    pictures = {name: what for name, what in expected.items() if "like" in what}
    assert pictures
    for name, what in pictures.items():
        pixels, like = read_image(folder / name).astype(int), read_image(folder / what["like"])
        assert pixels.shape == like.shape, name
        assert np.abs(pixels - like).mean() <= what["tolerance"], name


def test_a_mixed_folder_gives_its_pictures_and_counts_the_rest(cases):
    folder, _ = cases
    left_out = LeftOut()
    found = list(images_below(folder / "mixed", left_out))
    assert [path.name for path, reason in found] == ["a.jpg", "b.jfif", "c.pjpeg", "d.mpo", "e.heic"]
    assert in_words(left_out) == "left out: 1 .pdf"
    with pytest.raises(ImageError, match=r"HEIC|cannot be decoded|not an image"):
        read_image(folder / "mixed/e.heic")


def test_lists_name_what_they_say_and_no_more(cases, monkeypatch):
    folder, _ = cases
    monkeypatch.chdir(folder / "lists")
    ((path, reason),) = named_images([], ["utf16.txt"])
    assert path.name == "utf16.txt" and "save a list in UTF-16 as UTF-8" in reason
    assert [str(path) for path, reason in named_images([], ["bom.txt"]) if not reason] == ["a.jpg"]

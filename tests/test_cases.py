"""Inputs on which this project, or others like it, were seen to fail, one fault each; they lie with the data sets."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from iqa.errors import ImageError, LabelError
from iqa.images.finding import LeftOut, images_below, in_words, named_images
from iqa.images.reading import read_image
from iqa.labels.ratings import locate_ratings, read_ratings, read_scores
from iqa.labels.tid2013 import read_mos


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


def test_an_opened_animation_is_read_at_the_frame_where_it_stands(cases):
    folder, _ = cases
    with Image.open(folder / "animation.webp") as image:
        image.seek(1)
        with Image.open(folder / "rgb.png") as picture:
            assert (read_image(image) == np.asarray(picture.resize((240, 240)))).all()
        assert image.tell() == 1


def test_a_mixed_folder_gives_its_pictures_and_counts_the_rest(cases):
    pytest.importorskip("pillow_heif")
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


def test_label_files_say_what_they_mean(cases):
    folder, _ = cases
    labels = folder / "labels"
    assert [image.name for image in read_ratings(labels / "AVA.txt")] == ["953619"]
    assert [image.name for image in read_ratings(labels / "heading.csv")] == ["953619"]
    assert [image.name for image in read_ratings(labels / "bom.json")] == ["953619"]
    assert [image.mos for image in read_mos(labels / "mos_with_names.txt")] == [5.5]
    assert [image.mean for image in read_ratings(labels / "semicolons.csv")] == pytest.approx([5.5, 6.2], abs=0.05)
    (koniq,) = read_ratings(labels / "koniq.csv", scale=(1, 5), group="set")
    assert (koniq.name, koniq.group) == ("953619.jpg", "training")
    (scored,) = read_scores(labels / "koniq.csv", (1, 5), "set", onto=(1, 5))
    assert (scored.label, scored.group) == (3.91, "training")
    with pytest.raises(LabelError, match="line 1"):
        read_ratings(labels / "typing_error.csv")
    (located,) = locate_ratings(read_ratings(labels / "AVA.txt"), labels)
    assert located.path and located.path.name == "953619.jpg"


def test_every_case_is_looked_at(cases):
    _, expected = cases
    others = ("animation", "mixed/", "lists/", "labels/")
    looked_at = {name for name, what in expected.items() if "like" in what or name.startswith(others)}
    assert looked_at == set(expected)

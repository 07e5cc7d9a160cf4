"""Thumbnails that are kept when pictures are scored."""

import io
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from iqa.errors import ImageError
from iqa.images.thumbnails import Thumbnails, thumbnail


@pytest.fixture
def kept(tmp_path):
    return Thumbnails(tmp_path, side=32, most=2)


def test_another_process_finds_what_was_kept(kept, photograph, monkeypatch):
    kept.keep("a/b.jpg", photograph)
    monkeypatch.chdir("/")
    assert kept.find("a/b.jpg") is None  # the path counts, not the text
    kept.keep("/pictures/b.jpg", Image.fromarray(photograph))
    other = Thumbnails(**kept.recipe)
    assert other.find("/pictures/../pictures/b.jpg") is not None and other.find("/pictures/c.jpg") is None
    small = Image.open(io.BytesIO(other.find("/pictures/b.jpg").tobytes()))
    assert max(small.size) == 32
    expected = np.asarray(Image.fromarray(photograph).resize(small.size, Image.Resampling.LANCZOS), np.float32)
    assert np.abs(np.asarray(small.convert("RGB"), np.float32) - expected).mean() < 12


def test_no_more_are_kept_than_a_page_holds(kept, photograph):
    for name in "abc":
        kept.keep(name, photograph)
    assert [kept.find(name) is not None for name in "abc"] == [True, True, False]
    kept.keep("a", photograph[::-1])  # another picture by now, and there is no room for its thumbnail
    assert kept.find("a") is None


def test_a_disk_that_is_full_or_a_missing_codec_leave_no_half_of_one(kept, photograph, tmp_path):
    with mock.patch("PIL.Image.Image.save", side_effect=KeyError("WEBP")):
        kept.keep("a", photograph)
        with pytest.raises(ImageError, match="no thumbnail can be made: 'WEBP'"):
            thumbnail(Image.fromarray(photograph), 32)
    with mock.patch("os.replace", side_effect=OSError(28, "No space left on device")):
        kept.keep("a", photograph)
    assert not list(tmp_path.iterdir())

"""Thumbnails that are kept when pictures are scored."""

import io

import numpy as np
import pytest
from PIL import Image

from iqa.images.thumbnails import Thumbnails, most_bytes


@pytest.fixture
def kept(tmp_path):
    return Thumbnails(tmp_path, side=32, most=2)


def test_another_process_finds_what_was_kept(kept, photograph, monkeypatch):
    kept.keep("a/b.jpg", photograph)
    monkeypatch.chdir("/")
    assert kept.find("a/b.jpg") is None  # the path counts, not the text
    kept.keep("/pictures/b.jpg", Image.fromarray(photograph))
    other = Thumbnails(**kept.recipe)
    assert other.has("/pictures/../pictures/b.jpg") and not other.has("/pictures/c.jpg")
    small = Image.open(io.BytesIO(other.find("/pictures/b.jpg").tobytes()))
    assert max(small.size) == 32
    expected = np.asarray(Image.fromarray(photograph).resize(small.size, Image.Resampling.LANCZOS), np.float32)
    assert np.abs(np.asarray(small.convert("RGB"), np.float32) - expected).mean() < 12


def test_no_more_are_kept_than_a_page_holds(kept, photograph):
    for name in "abc":
        kept.keep(name, photograph)
    assert [kept.has(name) for name in "abc"] == [True, True, False]


def test_what_cannot_be_kept_or_is_too_large_is_not_there(kept, photograph, tmp_path):
    kept.keep("a", photograph)
    (file,) = tmp_path.iterdir()
    file.write_bytes(bytes(most_bytes(32) + 1))
    assert kept.find("a") is None
    gone = Thumbnails(tmp_path / "gone", side=32, most=2)
    gone.keep("a", photograph)
    assert gone.find("a") is None

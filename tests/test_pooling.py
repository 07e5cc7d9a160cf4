"""What a model of patches sees of a picture, how many patches, and how much each counts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from iqa.cards import Preprocessing
from iqa.errors import ImageError
from iqa.images import reading
from iqa.images.geometry import (
    MOST,
    POOLINGS,
    Geometry,
    detail,
    detail_weights,
    mean_weights,
    places_on_grid,
    places_that_cover,
)
from iqa.images.reading import Picture

GRID = Geometry(Preprocessing("patch", 64, multiple=16), "grid")

EVEN = MOST["mean"]

sides = st.integers(224, 9000)


@pytest.fixture
def patches(photograph):
    return np.stack([photograph[top : top + 64, left : left + 64] for top in (0, 64, 128) for left in (0, 64, 128)])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_are_shares_whatever_the_patches(pooling, patches):
    for some in (patches, patches[:1], np.zeros_like(patches), patches // 64):
        weights = POOLINGS[pooling](some)
        assert (weights.shape, weights.dtype) == ((len(some),), np.float64)
        assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    np.testing.assert_array_equal(POOLINGS[pooling](np.zeros_like(patches)), mean_weights(patches))


def test_a_blurred_background_counts_for_less(patches):
    blurred = gaussian_filter(patches, (0, 4, 4, 0))
    background = np.concatenate([patches[4:5], blurred[:4], blurred[5:]])
    assert detail_weights(background)[0] > 1.4 * mean_weights(background)[0]


def test_detail_is_how_steep_the_picture_is_but_strong_edges_count_no_more_than_texture():
    ramp = np.broadcast_to(2 * np.arange(100, dtype=np.uint8)[:, None], (100, 100, 3))
    assert detail(np.ascontiguousarray(ramp[10:90] // 2)) == pytest.approx(1, rel=0.1)
    assert detail(np.ascontiguousarray(ramp)) == pytest.approx(2, rel=0.05)
    text = np.zeros((100, 100, 3), np.uint8)
    text[40:60:4] = 255
    assert detail(text) < 0.1


@given(sides, sides, st.sampled_from([1, 16]))
def test_a_grid_has_a_bounded_number_of_patches_in_the_picture_and_on_its_blocks(height, width, multiple):
    places, covering = (find(height, width, 224, multiple) for find in (places_on_grid, places_that_cover))
    assert 0 < len(set(places)) == len(places) <= EVEN
    assert places == covering if len(covering) <= EVEN else len(places) > EVEN / 2
    for top, left in places:
        assert 0 <= top <= height - 224 and 0 <= left <= width - 224
        assert top % multiple == left % multiple == 0


def test_by_detail_a_grid_has_the_patches_that_count(photograph, save):
    """A picture that is in focus in one corner: hardly any of its score may come from elsewhere."""
    scene = np.tile(photograph, (4, 5, 1))
    picture = gaussian_filter(scene, (6, 6, 0))
    picture[:512, 512:1024] = scene[:512, 512:1024]
    preprocessing = Preprocessing("patch", 64, multiple=16, pooling="detail")
    covering = Geometry(preprocessing, "cover")
    every, some = covering.patches(picture), Geometry(preprocessing, "grid").patches(picture)
    assert (len(every), len(some)) == (16 * 20, MOST["detail"])
    heaviest = every[np.sort(np.argsort(-covering.weights(every))[: len(some)])]
    seen = {patch.tobytes() for patch in some}
    assert sum(patch.tobytes() in seen for patch in heaviest) >= 6
    np.testing.assert_array_equal(Geometry(preprocessing, "grid").patches(save("p.png", picture)), some)


def test_a_picture_is_seen_as_it_looks_when_its_longer_side_is_smaller(photograph, save):
    large = Image.fromarray(photograph).resize((1024, 512), Image.Resampling.BICUBIC)
    geometry = dataclasses.replace(GRID, crop="cover", longer_side=256)
    expected = GRID.patches(large.resize((256, 128), Image.Resampling.LANCZOS)).astype(int)
    for image in (large, np.asarray(large), save("large.png", large)):
        seen = geometry.patches(image)
        assert len(seen) == 8
        assert np.abs(seen - expected).mean() < 1
    np.testing.assert_array_equal(geometry.patches(photograph[:200, :220]), GRID.patches(photograph[:200, :220]))


def test_a_picture_smaller_than_a_patch_is_continued_by_its_mirror_image_and_that_is_noted(photograph):
    geometry, notes = Geometry(Preprocessing("patch", 224), "grid"), []
    small = photograph[:100, :240]
    (first, *_) = geometry.patches(small, notes)
    np.testing.assert_array_equal(first[:100], small[:, :224])
    np.testing.assert_array_equal(first[100:200], small[::-1, :224])
    assert notes == ["240x100 pixels, continued by its mirror image to the 224x224 of a patch"]
    assert geometry.patches(photograph, notes[1:]).shape[0] == 4
    with pytest.raises(ImageError, match="240x95 pixels are too few to judge: the shorter side must have at least 96"):
        geometry.patches(photograph[:95, :240])


def test_networks_that_share_a_picture_see_what_each_sees_alone_and_it_is_decoded_once(photograph, save, monkeypatch):
    decoded, read_rgb = [], reading.read_rgb
    monkeypatch.setattr(reading, "read_rgb", lambda *some, **more: decoded.append(some) or read_rgb(*some, **more))
    whole = Geometry(Preprocessing("resize", 32, "bilinear"))
    large = np.tile(photograph, (2, 2, 1))  # of which a network that sees 32 pixels needs a half
    for path, times in ((save("p.png", photograph), 1), (save("small.jpg", photograph), 1), (save("large.jpg", large), 2)):
        alone = [geometry.patches(path) for geometry in (GRID, whole, GRID)]
        decoded.clear()
        shared = Picture(path)
        for geometry, expected in zip((GRID, whole, GRID), alone, strict=True):
            np.testing.assert_array_equal(geometry.patches(shared), expected)
        assert len(decoded) == times


def test_a_picture_decoded_once_is_made_smaller_once_for_both(photograph, save):
    shared = Picture(save("large.jpg", np.tile(photograph, (2, 2, 1))), once=True)
    small = shared.reduced(96, [])
    assert small.size == (103, 103)
    assert shared.averaged(5) is small
    for factor in (2, 4, 5):
        side = 512 // factor
        whole = np.asarray(shared.whole([]), float)[: side * factor, : side * factor]
        means = whole.reshape(side, factor, side, factor, 3).mean((1, 3))
        assert np.abs(np.asarray(shared.averaged(factor))[:side, :side] - means).max() <= 1


def test_what_is_amiss_with_a_picture_is_noted_once_for_each_network_that_looks(photograph, save):
    path = save("large.jpg", np.tile(photograph, (2, 2, 1)), icc_profile=b"no profile")
    shared, expected = Picture(path, once=True), ["its colour profile is made for other pixels and was ignored"]
    for geometry in (Geometry(Preprocessing("resize", 32, "bilinear")), GRID):
        notes = []
        geometry.patches(shared, notes)
        assert notes == expected

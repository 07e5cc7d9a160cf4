"""Images as strong as their real twins: the table of measures, and the search for a strength."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from iqa.distortions.matching import FIXED, match, read_metrics
from iqa.distortions.measures import MEASURES, gmsd, measure, ssim, vif
from iqa.distortions.references import read_crops, read_reference
from iqa.distortions.signal import mean_squared_error
from iqa.distortions.table import distort
from iqa.errors import LabelError, UsageError


@pytest.fixture(scope="module")
def metrics(shared):
    return read_metrics(shared / "tid2013/metrics.csv")


def test_the_table_has_the_measures_of_every_image_by_name(tmp_path):
    table = tmp_path / "metrics.csv"
    table.write_text("name,mos,mse\nI01_01_1.BMP,5.5,32.5\ni01_01_2.bmp,5.6,64\n")
    assert read_metrics(table) == {"i01_01_1": {"mos": 5.5, "mse": 32.5}, "i01_01_2": {"mos": 5.6, "mse": 64.0}}


@pytest.mark.parametrize(
    "text, reason",
    [
        ("name,psnr\ni01_01_1,3\n", "no columns name and mse"),
        ("", "no columns name and mse"),
        ("name,mse\ni01_01_1,3\ni01_01_2,much\n", "line 3: not a name and numbers"),
        ("name,mse\ni01_01_1\n", "line 2: not a name and numbers"),
        ("name,mse\ni01_01_1,1,2\n", "line 2: not a name and numbers"),
        ("name,mse\ni01_01_1,nan\n", "line 2: not a name and an error above 0"),
        ("name,mse\n,3\n", "line 2: not a name and an error above 0"),
    ],
)
def test_a_table_of_another_form_is_refused_by_file_and_line(tmp_path, text, reason):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(LabelError, match=f"m.csv.*{reason}"):
        read_metrics(tmp_path / "m.csv")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 8, 9, 18, 19, 20, 21, 23])
@pytest.mark.parametrize("times", [0.7, 1.5])
def test_the_error_that_is_asked_for_is_met_within_2_percent(photograph, number, times):
    error = times * mean_squared_error(photograph, distort(photograph, number, 3))
    found = mean_squared_error(photograph, match(photograph, number, 3, error))
    assert found == pytest.approx(error, rel=0.02)


def test_a_match_is_repeatable_and_depends_on_the_seed(photograph):
    first, again, other = (match(photograph, 1, 2, 60.0, seed=seed) for seed in ((1,), (1,), (2,)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_error_beyond_reach_gives_the_nearest(photograph):
    grey = np.repeat(photograph[..., 1:2], 3, axis=-1)  # has no saturation to change
    assert mean_squared_error(grey, match(grey, 18, 3, 130.0)) < 1


def test_a_picture_that_is_too_small_is_refused(photograph):
    with pytest.raises(UsageError, match="60x47 pixels are too few to distort"):
        match(photograph[:47, :60], 1, 1, 30.0)


@pytest.mark.parametrize("number", FIXED)
def test_types_of_one_strength_have_the_published_errors_to_the_last_digit(shared, metrics, number):
    # On the crop of each reference, which so is proved to the pixel too.
    for scene in (1, 2, 14, 18) if number in (7, 10) else range(1, 25):
        reference = read_reference(shared / "kodak", scene, read_crops())
        for level in range(1, 6):
            published = metrics[f"i{scene:02d}_{number:02d}_{level}"]["mse"]
            found = mean_squared_error(reference, match(reference, number, level, published))
            assert found == pytest.approx(published, abs=2e-5 + 1e-7 * published), (scene, level)


def test_saturation_comes_out_with_the_published_error(shared, metrics):
    for scene, level in ((4, 1), (6, 3), (8, 5)):
        reference = read_reference(shared / "kodak", scene, read_crops())
        published = metrics[f"i{scene:02d}_18_{level}"]["mse"]
        assert mean_squared_error(reference, match(reference, 18, level, published)) == pytest.approx(published, rel=2e-4)


# --- measures -------------------------------------------------------------------------------------------------------


def test_measures_are_those_of_the_published_table(shared, metrics):
    # Mean shift and JPEG come out to the pixel, so the real images' measures can be had without the real images.
    for name, number, level in (("i03_10_4", 10, 4), ("i08_16_5", 16, 5), ("i12_17_4", 17, 4)):
        reference = read_reference(shared / "kodak", int(name[1:3]), read_crops())
        found = measure(reference, distort(reference, number, level))
        assert set(found) == set(MEASURES)
        for key, value in found.items():
            assert value == pytest.approx(metrics[name][key], abs=3e-5), (name, key)


def test_ssim_of_one_grey_plane_is_that_of_scikit_image(photograph):
    grey, other = (np.asarray(image[..., 1], float) for image in (photograph, distort(photograph, 8, 3)))
    theirs = structural_similarity(
        grey, other, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, truncate=4.0
    )
    assert ssim(grey, other) == pytest.approx(theirs, abs=2e-3)  # theirs leaves out a border


def test_an_untouched_picture_keeps_all_its_information(photograph):
    pixels = photograph.astype(float)
    assert ssim(pixels, pixels) == pytest.approx(1)
    assert vif(pixels, pixels) == pytest.approx(1, abs=1e-6)
    assert gmsd(photograph, photograph) == pytest.approx(0, abs=1e-9)

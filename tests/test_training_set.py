"""The widened photographs that a teacher labels, and what the students' scores are compared with."""

import numpy as np
import pytest
from PIL import Image

from AVA import compare_with_teacher, make_training_set
from AVA.make_training_set import LISTS, vary
from iqa.distortions.appearance import change_exposure
from iqa.images.finding import list_images
from iqa.images.geometry import views
from iqa.labels.histograms import normal_histogram
from iqa.labels.percentiles import percentile


@pytest.fixture
def photos(photograph, tmp_path, monkeypatch):
    """Three scenes, of which one is held out and one chooses epochs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(photograph).save(folder / f"{name}.jpg")
    for split, name in (("test", "b.jpg"), ("choose", "c.jpg")):
        (tmp_path / f"{split}.txt").write_text(f"{name}\n")
    monkeypatch.setattr(make_training_set, "LISTS", {split: tmp_path / f"{split}.txt" for split in ("test", "choose")})
    return folder


def test_only_scenes_to_train_on_are_widened_and_the_same_seed_gives_the_same_files(command, photos, tmp_path):
    for out in ("one", "two"):
        code, text, _ = command(
            make_training_set, "--photos", photos, "--out", tmp_path / out, "--variants", 5, "--workers", 1
        )
        assert (code, text.split()[0]) == (0, "8")
    files = {path.relative_to(tmp_path / "one").as_posix() for path in list_images(tmp_path / "one")}
    assert files == {f"train/a-{n}.jpg" for n in range(6)} | {"test/b-0.jpg", "choose/c-0.jpg"}
    assert (tmp_path / "one/test/b-0.jpg").read_bytes() == (photos / "b.jpg").read_bytes()
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_a_held_out_scene_that_is_not_there_is_refused_and_a_broken_photograph_named(command, photos, tmp_path):
    (photos / "d.jpg").write_bytes(b"")
    code, _, err = command(make_training_set, "--photos", photos, "--out", tmp_path / "o", "--variants", 1, "--workers", 1)
    assert code == 1
    assert "d.jpg: the file is empty" in err
    (photos / "b.jpg").unlink()
    code, _, err = command(make_training_set, "--photos", photos, "--out", tmp_path / "o")
    assert code == 2
    assert "holds no b.jpg, which must be kept apart" in err


def test_the_scenes_kept_apart_are_a_hundred_and_fifty_and_differ():
    test, choose = (file.read_text().split() for file in LISTS.values())
    assert (len(test), len(choose)) == (100, 50)
    assert len({*test, *choose}) == 150


def test_every_variant_is_a_picture_that_a_patch_fits_into(photograph):
    for seed in range(60):
        varied = vary(Image.fromarray(photograph), np.random.default_rng(seed))
        assert varied.mode == "RGB"
        assert min(varied.size) >= 224


def test_a_stop_doubles_linear_light(photograph):
    assert np.array_equal(change_exposure(photograph, 0), photograph)
    grey = np.full((1, 1, 3), 60, np.uint8)
    assert change_exposure(grey, 1)[0, 0, 0] == round(60 * 2 ** (1 / 2.2))
    assert change_exposure(np.full((1, 1, 3), 250, np.uint8), 1).max() == 255


def test_views_are_the_picture_and_its_mirror_whole_and_cut(photograph):
    seen = views(photograph)
    assert [view.shape[:2] for view in seen] == [(256 - n, 256 - n) for n in (0, 0, 1, 1, 3, 3)]
    np.testing.assert_array_equal(seen[0], photograph)
    np.testing.assert_array_equal(seen[3], photograph[1:, 1:][:, ::-1])


def test_percentiles_follow_the_table(shared):
    import json

    table = json.loads((shared / "idealo/ava_mean_score_quantiles.json").read_text())
    for of in ("predicted", "rated"):
        for share in (1, 25, 50, 99):
            assert percentile(table[of][share], of) == pytest.approx(share, abs=0.5)
    assert (percentile(1.0), percentile(10.0)) == (0, 100)


def test_percentiles_rise_with_the_score():
    rising = [percentile(mean) for mean in np.linspace(3.2, 6.9, 50)]
    assert rising == sorted(rising)
    assert rising[0] < 1 < 99 < rising[-1]


def test_agreement_of_equal_histograms_is_whole_and_its_interval_holds_the_figure():
    bins, rng = np.arange(1.0, 11), np.random.default_rng(0)
    true = np.array([normal_histogram(mean, 1.4, bins) for mean in rng.uniform(3, 8, 40)])
    same = compare_with_teacher.measure(true, true)
    assert (same["n"], same["srcc"], same["lcc"], same["emd_l1"]) == (40, 1, 1, 0)
    noisy = np.array([normal_histogram(h @ bins + rng.normal(0, 1), 1.4, bins) for h in true])
    found = compare_with_teacher.measure(true, noisy)
    low, high = found["srcc_95"]
    assert 0.2 < low < found["srcc"] < high < 1

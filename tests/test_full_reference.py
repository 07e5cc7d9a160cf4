"""The judge that carries TID2013's scores to other photographs."""

import numpy as np
import pytest

from iqa.distortions.judge import Example, Judge, cross_validate, features, read_examples
from iqa.distortions.table import distort
from iqa.errors import ImageError, LabelError
from iqa.labels.tid2013 import LabelledImage


@pytest.fixture(scope="module")
def examples():
    """24 scenes whose score is typical of the level but for what the second of the features adds."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        busy = rng.normal()
        for level in range(1, 6):
            found = rng.normal(scale=0.1, size=8) + level
            found[1] += busy
            rows.append(Example(f"i{number:02d}", 10, level, found, 7 - level + 0.5 * busy + rng.normal(scale=0.05)))
    return rows


def test_what_scenes_have_in_common_is_learnt_from_other_scenes(examples):
    mos, judged, typical = cross_validate(examples)
    assert len(mos) == len(examples)
    assert np.sqrt(np.mean((mos - judged) ** 2)) < 0.5 * np.sqrt(np.mean((mos - typical) ** 2))


def test_a_typical_picture_gets_the_typical_scores(examples):
    usual = [np.mean([e.features for e in examples if e.level == level], axis=0) for level in range(1, 6)]
    typical = [np.mean([e.mos for e in examples if e.level == level]) for level in range(1, 6)]
    np.testing.assert_allclose(Judge(examples).scores(10, [1, 2, 3, 4, 5], usual), typical, atol=1e-9)


def test_scores_fall_with_the_level_and_stay_on_the_scale(examples):
    judge, rng = Judge(examples), np.random.default_rng(1)
    for _ in range(50):
        levels = np.sort(rng.uniform(0.1, 5, 4))
        scores = judge.scores(10, levels, rng.normal(scale=3, size=(4, 8)) + levels[:, None])
        assert (np.diff(scores) <= 0).all() and scores.min() >= 0 and scores.max() <= 9


def test_below_level_1_the_correction_grows_from_nothing(examples):
    judge, busy = Judge(examples), np.eye(8)[1]
    found = [np.full(8, 1.0), np.full(8, 2.0) + busy]
    nearly_none = judge.scores(10, [1e-9, 2], found)
    assert nearly_none[0] == pytest.approx(6.5, abs=1e-6)


def test_features_tell_a_stronger_distortion_and_a_busier_original():
    rng = np.random.default_rng(0)
    smooth = np.full((64, 64, 3), 128, np.uint8)
    busy = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    weak, strong = (features(smooth, distort(smooth, 1, level)) for level in (1, 5))
    assert np.isfinite([weak, strong]).all() and (strong[:5] > weak[:5]).all()
    assert features(busy, busy)[6] > features(smooth, smooth)[6]
    np.testing.assert_allclose(features(busy, busy)[:6], features(smooth, smooth)[:6], atol=1e-6)  # nothing differs
    # The same error counts less where the original is busy.
    assert features(busy, distort(busy, 1, 3))[1] < features(smooth, distort(smooth, 1, 3))[1]


def test_a_distortion_or_level_without_examples_is_an_error_that_names_it(examples):
    with pytest.raises(LabelError, match="no example of distortion 3 to judge by"):
        Judge(examples).scores(3, [1], [np.zeros(8)])
    with pytest.raises(LabelError, match="no example of distortion 10 at level 2"):
        Judge([example for example in examples if example.level != 2])


def test_an_image_that_cannot_be_compared_with_its_reference_is_named(photograph, save):
    for name, pixels in (("small.png", photograph[:100]), ("empty.png", photograph)):
        path = save(name, pixels)
        path.write_bytes(b"" if name == "empty.png" else path.read_bytes())
        with pytest.raises(ImageError, match=f"{name}: (256x100 pixels, but its reference has 256x256|the file is empty)"):
            read_examples(photograph, [LabelledImage("i01", 1, 1, 5.0, path)])

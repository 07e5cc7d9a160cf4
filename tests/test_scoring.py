import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from iqa.cards import AVA_SCALE, Card, Head, Sight, card_of, keras2_card, sha256, shipped_weights
from iqa.errors import CardError, ImageError, WeightsError
from iqa.models.networks import build_from_card
from iqa.models.weight_files import load_weights
from iqa.scoring import runtimes
from iqa.scoring.scorer import Scorer


@pytest.fixture(scope="module")
def scorer(weights):
    return Scorer(weights)


@pytest.fixture
def copied(weights, tmp_path):
    for path in (weights, card_of(weights)):
        shutil.copy(path, tmp_path)
    return tmp_path / weights.name


def test_saved_and_reloaded_weights_give_bit_equal_scores(scorer, photograph, tmp_path):
    from iqa.models.weight_files import save_with_card

    model = build_from_card(scorer.card)
    load_weights(model, scorer.weights)
    model.set_weights([weight * np.float32(1.01) for weight in model.get_weights()])
    save_with_card(model, tmp_path / "again.weights.h5", scorer.card)
    before = model.predict_on_batch(photograph[None, 16:240, 16:240])[0, 0]
    again = Scorer(tmp_path / "again.weights.h5", runtime="keras")
    assert again.score(photograph).output[0] == before


def test_the_model_of_these_tests_tells_pictures_and_patches_apart(scorer, photograph):
    corners = [photograph[top : top + 224, left : left + 224] for top in (0, 32) for left in (0, 32)]
    assert np.ptp([scorer.score(np.ascontiguousarray(corner)).score for corner in corners]) > 0.01
    rolled = [np.roll(photograph, 40 * n, axis=1) for n in range(4)]
    assert np.ptp([scorer.score(image).score for image in rolled]) > 0.01


def test_the_grid_of_a_large_picture_goes_through_in_steps(weights, photograph, monkeypatch):
    whole = Scorer(weights, crop="grid").score(photograph).score
    monkeypatch.setattr(runtimes, "STEP", 3)
    assert Scorer(weights, crop="grid", runtime="keras").score(photograph).score == pytest.approx(whole, abs=1e-5)


def test_a_card_that_lacks_a_fact_of_the_network_is_refused(copied):
    card = json.loads(card_of(copied).read_text())
    del card["backbone"]["padding"]
    card_of(copied).write_text(json.dumps(card))
    with pytest.raises(CardError, match=r"untrained\.json: the fact backbone\.padding is missing"):
        Scorer(copied)


def test_a_score_is_the_models_own_output_for_the_centre_patch(weights, scorer, photograph):
    model = build_from_card(scorer.card)
    load_weights(model, weights)
    expected = model.predict(photograph[None, 16:240, 16:240], verbose=0)[0, 0]
    assert scorer.score(photograph).score == pytest.approx(float(expected), abs=1e-4)


def test_paths_pil_images_and_arrays_score_alike(scorer, photograph, save):
    expected = scorer.score(photograph).score
    others = save("p.png", photograph), Image.fromarray(photograph)
    assert [scorer.score(image).score for image in others] == [expected, expected]


def test_the_grid_is_the_mean_over_its_patches(weights, scorer, photograph):
    corners = [photograph[top : top + 224, left : left + 224] for top in (0, 32) for left in (0, 32)]
    expected = np.mean([scorer.score(np.ascontiguousarray(corner)).score for corner in corners])
    assert Scorer(weights, crop="grid").score(photograph).score == pytest.approx(expected, abs=1e-5)


def test_patches_keep_to_blocks_if_the_card_says_so(copied, photograph):
    card = json.loads(card_of(copied).read_text())
    card["geometry"]["multiple"] = 32
    card_of(copied).write_text(json.dumps(card))
    geometry = Scorer(copied).geometry
    image = photograph[:250, :250]
    np.testing.assert_array_equal(geometry.patches(image)[0], image[:224, :224])
    assert str(geometry) == "centre patch of 224x224 on blocks of 32"


def test_features_are_the_thousand_before_the_score(scorer, photograph):
    features = scorer.score(photograph).features
    assert (features.shape, features.dtype) == ((1000,), np.float32)
    assert np.abs(features).max() <= 1


def test_batches_give_the_scores_of_one_at_a_time_in_order_around_bad_images(scorer, photograph, tmp_path, save):
    (tmp_path / "bad.jpg").write_bytes(b"")
    images = [save(f"{n}.png", np.roll(photograph, 40 * n, axis=1)) for n in range(4)]
    images.insert(1, tmp_path / "bad.jpg")
    one, three = (list(scorer.score_all(images, batch_size)) for batch_size in (1, 3))
    assert [path for path, _ in one] == [path for path, _ in three] == images
    assert one[1][1].reason == three[1][1].reason == "the file is empty"
    scores = [[result.score for _, result in run if not result.reason] for run in (one, three)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_an_image_smaller_than_the_patch_is_refused(scorer):
    with pytest.raises(ImageError, match="223x300"):
        scorer.score(np.zeros((300, 223, 3), np.uint8))


def test_weights_without_a_card_are_refused(copied):
    card_of(copied).unlink()
    with pytest.raises(CardError, match=r"untrained\.json: there is no such file"):
        Scorer(copied)


def test_a_card_of_other_weights_is_refused(copied):
    with open(copied, "ab") as file:
        file.write(b"!")
    with pytest.raises(CardError, match=r"not the weights that untrained\.json describes"):
        Scorer(copied)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"head": 1}'])
def test_a_broken_card_is_refused(copied, text):
    card_of(copied).write_text(text)
    with pytest.raises(CardError, match=r"untrained\.json: (not a card|a card must be|head must be)"):
        Scorer(copied)


def test_weights_of_another_model_are_refused(copied):
    import keras

    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save_weights(copied)
    card = json.loads(card_of(copied).read_text())
    card_of(copied).write_text(json.dumps(card | {"sha256": sha256(copied)}))
    with pytest.raises(WeightsError, match="not the weights of this model"):
        Scorer(copied)


def test_a_card_of_another_kind_of_head_is_refused(copied):
    card = json.loads(card_of(copied).read_text())
    card["head"]["kind"] = "histogram"
    card_of(copied).write_text(json.dumps(card))
    with pytest.raises(CardError, match="histogram model"):
        Scorer(copied)


def test_cards_stand_beside_their_weights():
    assert card_of("a/b.weights.h5").name == "b.json"
    assert shipped_weights("x").name == "x.weights.h5"


@pytest.fixture(scope="module")
def histogram_weights(tmp_path_factory):
    import keras

    from iqa.models.backbones import build_backbone
    from iqa.models.heads import add_head
    from iqa.models.weight_files import save_with_card

    keras.utils.set_random_seed(1)
    backbone, facts = build_backbone("none")
    path = tmp_path_factory.mktemp("histogram") / "h.weights.h5"
    card = Card(facts, Head("histogram"), Sight("resize", interpolation="bilinear"), AVA_SCALE)
    save_with_card(add_head(backbone, Head("histogram")), path, card)
    return path


def test_a_histogram_model_says_mean_deviation_and_shares(histogram_weights, photograph):
    scored = Scorer(histogram_weights, head="histogram").score(photograph)
    mean, std, histogram = scored.distribution
    assert (histogram.shape, histogram.dtype) == ((10,), np.float32)
    assert histogram.sum() == pytest.approx(1, abs=1e-6)
    assert mean == scored.score == pytest.approx(histogram @ np.arange(1, 11), abs=1e-5)
    assert std == pytest.approx(np.sqrt(histogram @ (np.arange(1, 11) - mean) ** 2), abs=1e-5)
    assert scored.features.shape == (1280,)


def test_a_model_of_whole_images_sees_all_of_a_picture_of_any_size(histogram_weights, photograph):
    scorer = Scorer(histogram_weights, head="histogram")
    small = np.ascontiguousarray(photograph[:100, :30])
    expected = np.asarray(Image.fromarray(small).resize((224, 224), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(scorer.geometry.patches(small)[0], expected)


def test_a_histogram_model_does_not_pass_for_a_regression_model(histogram_weights):
    with pytest.raises(CardError, match="a regression model is needed"):
        Scorer(histogram_weights)


# --- weights of Keras 2 ---------------------------------------------------------------------------------------------


def keras2_model(kind):
    """The original's networks as its users built and saved them."""
    import tf_keras

    tf_keras.utils.set_random_seed(2)
    top = tf_keras.applications.MobileNetV2((224, 224, 3), pooling="avg", weights=None, include_top=True)
    x = tf_keras.layers.Dropout(0.75)(top.layers[-2].output)
    if kind == "histogram":
        x = tf_keras.layers.Dense(10, activation="softmax")(x)
    else:
        x = tf_keras.layers.Dense(1000, activation="tanh")(x)
        x = tf_keras.layers.Dense(1, activation="linear")(x)
    model = tf_keras.Model(top.input, x)
    rng = np.random.default_rng(3)
    for weight in model.weights:  # statistics as after training, or batch normalisation would do nothing
        if "moving" in weight.name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
@pytest.mark.parametrize("kind, geometry", [("histogram", "resize"), ("regression", "patch")])
def test_old_weight_files_score_as_they_did_in_keras_2(tmp_path, photograph, kind, geometry, whole):
    model = keras2_model(kind)
    path = tmp_path / "weights-01-0.79.hdf5"
    (model.save if whole else model.save_weights)(path)
    if geometry == "resize":
        pixels = np.asarray(Image.fromarray(photograph).resize((224, 224), Image.Resampling.NEAREST))
    else:
        pixels = photograph[16:240, 16:240]
    normalised = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    expected = model.predict(normalised[None].astype(np.float32), verbose=0)[0]
    scorer = Scorer(path, head=kind, cardless=keras2_card(kind, geometry, AVA_SCALE), runtime="keras")
    output = scorer.score(photograph).output
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_an_old_file_that_does_not_fit_says_where_and_loads_nothing(tmp_path):
    keras2_model("regression").save(tmp_path / "r.hdf5")
    with pytest.raises(WeightsError, match="106 layers with weights in the file, 105 in the model"):
        Scorer(tmp_path / "r.hdf5", head="histogram", cardless=keras2_card("histogram", "resize", AVA_SCALE))
    import tf_keras

    base = keras2_model("histogram")
    wrong = tf_keras.Model(base.input, tf_keras.layers.Dense(7)(base.layers[-3].output))
    wrong.save(tmp_path / "w.hdf5")
    with pytest.raises(WeightsError, match=r"\(1280, 7\).* where layer histogram needs .*\(1280, 10\)"):
        Scorer(tmp_path / "w.hdf5", head="histogram", cardless=keras2_card("histogram", "resize", AVA_SCALE))


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "x.hdf5").write_bytes(b"no hdf5")
    with pytest.raises(WeightsError, match=r"x\.hdf5"):
        Scorer(tmp_path / "x.hdf5", head="histogram", cardless=keras2_card("histogram", "resize", AVA_SCALE))


def test_idealos_model_gives_the_scores_that_its_maintainer_published(shared):
    from idealo_comparison.infer import infer, load

    model = load(shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5")
    assert infer(shared / "idealo/42039.jpg", model).mean == pytest.approx(5.228229, abs=1e-3)
    assert infer(shared / "idealo/42044.jpg", model).mean == pytest.approx(5.795005, abs=1e-3)


def test_shipped_weights_fit_their_card_and_see_a_photograph_get_worse():
    from iqa.distortions.table import everyday_ladders
    from iqa.images.finding import sample_photograph
    from iqa.images.reading import read_image

    scorer = Scorer("tid2013_regression", crop="grid")
    assert scorer.card.figures
    for steps in everyday_ladders(read_image(sample_photograph())).values():
        scores = [scorer.score(image).score for _, image in steps]
        assert 0 < scores[-1] < scores[len(scores) // 2] < scores[0] < 9


def test_jax_gives_the_same_scores(photograph, save):
    path = save("photograph.png", photograph)
    code = f"""
import keras
from iqa.scoring.scorer import Scorer
assert keras.backend.backend() == "jax"
print(*Scorer("ava_vanilla", head="histogram").score({str(path)!r}).output)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "jax"}
    )
    assert done.returncode == 0, done.stderr
    theirs = np.array(done.stdout.split()[-10:], float)
    ours = Scorer("ava_vanilla", head="histogram").score(path).output
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5)
    assert abs((theirs - ours) @ np.arange(1, 11)) < 1e-4

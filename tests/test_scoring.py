import json
import shutil

import numpy as np
import pytest
from PIL import Image

from iqa import scoring
from iqa.images import ImageError
from iqa.models import WeightsError, build_from_card, load_weights
from iqa.scoring import CardError, Scorer, card_of, sha256


@pytest.fixture(scope="module")
def scorer(weights):
    return Scorer(weights)


@pytest.fixture
def copied(weights, tmp_path):
    for path in (weights, card_of(weights)):
        shutil.copy(path, tmp_path)
    return tmp_path / weights.name


def test_saved_and_reloaded_weights_give_bit_equal_scores(weights, photograph):
    assert Scorer(weights).score(photograph) == Scorer(weights).score(photograph)


def test_a_score_is_the_models_own_output_for_the_centre_patch(weights, scorer, photograph):
    model = build_from_card(scorer.card)
    load_weights(model, weights)
    expected = model.predict(photograph[None, 16:240, 16:240], verbose=0)[0, 0]
    assert scorer.score(photograph) == pytest.approx(float(expected), abs=1e-6)


def test_paths_pil_images_and_arrays_score_alike(scorer, photograph, save):
    expected = scorer.score(photograph)
    assert scorer.score(save("p.png", photograph)) == scorer.score(Image.fromarray(photograph)) == expected


def test_the_grid_is_the_mean_over_its_patches(weights, scorer, photograph):
    corners = [photograph[top : top + 224, left : left + 224] for top in (0, 32) for left in (0, 32)]
    expected = np.mean([scorer.score(np.ascontiguousarray(corner)) for corner in corners])
    assert Scorer(weights, crop="grid").score(photograph) == pytest.approx(expected, abs=1e-5)


def test_features_are_the_thousand_before_the_score(scorer, photograph):
    features = scorer.features(photograph)
    assert (features.shape, features.dtype) == ((1000,), np.float32)
    assert np.abs(features).max() <= 1


def test_batches_give_the_scores_of_one_at_a_time_in_order_around_bad_images(scorer, photograph, tmp_path, save):
    (tmp_path / "bad.jpg").write_bytes(b"")
    images = [save(f"{n}.png", np.roll(photograph, 40 * n, axis=1)) for n in range(4)]
    images.insert(1, tmp_path / "bad.jpg")
    one, three = (list(scorer.score_all(images, batch_size)) for batch_size in (1, 3))
    assert [path for path, _ in one] == [path for path, _ in three] == images
    assert one[1][1].error == three[1][1].error == "the file is empty"
    scores = [[result.score for _, result in run if not result.error] for run in (one, three)]
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"geometry": 1}'])
def test_a_broken_card_is_refused(copied, text):
    card_of(copied).write_text(text)
    with pytest.raises(CardError, match="not a card"):
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
    assert scoring.shipped_weights("x").name == "x.weights.h5"

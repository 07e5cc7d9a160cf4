"""A model scores pictures: what it sees, what it says, and which weights and cards are refused."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from AVA import infer_vanilla
from iqa.cards import AVA_SCALE, card_of, keras2_card, shipped_weights
from iqa.distortions.everyday import everyday_ladders
from iqa.errors import CardError
from iqa.images.finding import sample_photograph
from iqa.images.geometry import detail_weights
from iqa.images.reading import Picture, read_image
from iqa.scoring.many import score_all
from iqa.scoring.scorer import Scorer, load_scorer


def test_the_score_is_the_mean_over_the_patches_of_a_grid_weighted_as_the_card_says(tiny, photograph, copy_of):
    scorer, by_detail = (load_scorer(tiny, runtime="keras", pooling=pooling) for pooling in ("mean", "detail"))
    corners = np.stack([photograph[top : top + 224, left : left + 224] for top in (0, 32) for left in (0, 32)])
    scores = scorer.network(corners)[0][:, 0]
    assert np.ptp(scores) > 1e-3
    assert scorer.score(photograph) == pytest.approx(scores.mean(), abs=1e-4)
    assert by_detail.score(photograph) == pytest.approx(detail_weights(corners) @ scores, abs=1e-4)
    own = copy_of(tiny, preprocessing={"pooling": "detail"})
    assert load_scorer(own, runtime="keras").geometry == by_detail.geometry
    with np.load(tiny) as stored:
        *_, kernel, bias = (stored[name] for name in stored.files)
    assert by_detail.score(photograph) == pytest.approx((by_detail.features(photograph) @ kernel + bias)[0], abs=1e-4)


@pytest.mark.parametrize("runtime", ["keras", "litert"])
def test_batches_give_the_scores_of_one_at_a_time_in_order_around_bad_images(tiny, photograph, tmp_path, save, runtime):
    models = {"mean": load_scorer(tiny, runtime=runtime)}
    (tmp_path / "bad.jpg").write_bytes(b"")
    images = [save(f"{n}.png", np.roll(photograph, 40 * n, axis=1)) for n in range(4)]
    images.insert(1, tmp_path / "bad.jpg")
    one, three = (list(score_all(models, images, batch_size=size)) for size in (1, 3))
    assert [result.path for result in one] == [result.path for result in three] == images
    assert one[1].error == three[1].error == "the file is empty"
    scores = [[result.mean("mean") for result in results if not result.error] for results in (one, three)]
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert len(set(scores[0])) == 4


def test_an_answer_that_is_no_finite_number_is_an_error_and_no_score(tiny_histogram, photograph):
    def broken_network(patches):
        outputs = np.ones((len(patches), 10), np.float32)
        outputs[1] = np.nan
        return outputs, np.zeros((len(patches), 3), np.float32)

    broken = Scorer.of(load_scorer(tiny_histogram).recipe)
    broken._networks[os.getpid()] = broken_network
    good, bad = broken.judge([Picture(photograph), Picture(photograph)])
    assert good.output.shape == (10,)
    assert str(bad) == "the model's answer is not a finite number"


def test_weights_without_a_card_or_with_that_of_others_are_refused(tiny, copy_of):
    copied = copy_of(tiny)
    with open(copied, "ab") as file:
        file.write(b"!")
    with pytest.raises(CardError, match=r"not the weights that tiny\.json describes"):
        load_scorer(copied)
    card_of(copied).write_text("{}")
    with pytest.raises(CardError, match=r"tiny\.json: head must be"):
        load_scorer(copied)
    card_of(copied).unlink()
    with pytest.raises(CardError, match=r"tiny\.json: there is no such file"):
        load_scorer(copied)


# --- one scorer for all who ask for the same ------------------------------------------------------------------------


def test_the_same_model_is_loaded_once_however_it_is_named(tiny_histogram, monkeypatch):
    shipped = infer_vanilla.load()
    assert infer_vanilla.load("ava_vanilla") is shipped
    assert infer_vanilla.load(str(shipped_weights("ava_vanilla")), runtime="auto") is shipped
    tiny_one = infer_vanilla.load(tiny_histogram)
    monkeypatch.chdir(tiny_histogram.parent)
    assert infer_vanilla.load(tiny_histogram.name) is tiny_one is not shipped
    assert infer_vanilla.load(tiny_histogram, runtime="litert") is not tiny_one


def test_a_file_that_has_changed_is_loaded_again(tiny, copy_of):
    copied = copy_of(tiny)
    before = load_scorer(copied, runtime="keras")
    assert load_scorer(copied, runtime="keras") is before
    copy_of(tiny, preprocessing={"multiple": 32})
    assert load_scorer(copied, runtime="keras").geometry.preprocessing.multiple == 32
    copy_of(tiny)
    os.utime(copied, ns=(0, 0))
    assert load_scorer(copied, runtime="keras") is not before


def test_first_calls_from_many_threads_load_one_model(tiny_networks, tiny, monkeypatch):
    start, loads, init = threading.Barrier(8), [], Scorer.__init__
    monkeypatch.setattr(
        Scorer, "__init__", lambda self, *rest, **options: loads.append(self) or init(self, *rest, **options)
    )

    def call(_):
        start.wait()
        return load_scorer(tiny, longer_side=321)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, range(8)))
    assert len(loads) == 1 and all(scorer is loads[0] for scorer in found)


# --- weights of Keras 2 ---------------------------------------------------------------------------------------------


def _keras2_model(kind):
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


@pytest.fixture(scope="module", params=["histogram", "regression"])
def keras2_files(request, photograph, tmp_path_factory):
    """(kind, geometry, output for the photograph, {"model" and "weights": file}) of a network of Keras 2."""
    kind, folder = request.param, tmp_path_factory.mktemp("keras2")
    model = _keras2_model(kind)
    files = {"model": folder / "weights-01-0.79.hdf5", "weights": folder / "w.hdf5"}
    model.save(files["model"])
    model.save_weights(files["weights"])
    if kind == "histogram":
        pixels = np.asarray(Image.fromarray(photograph).resize((224, 224), Image.Resampling.NEAREST))
    else:
        pixels = photograph[16:240, 16:240]
    normalised = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    output = model.predict(normalised[None].astype(np.float32), verbose=0)[0]
    return kind, "resize" if kind == "histogram" else "patch", output, files


@pytest.mark.filterwarnings("ignore")
def test_old_weight_files_score_as_they_did_in_keras_2(keras2_files, photograph):
    kind, geometry, expected, files = keras2_files
    file = files["model" if kind == "histogram" else "weights"]
    scorer = load_scorer(file, kind, keras2_card(kind, geometry, AVA_SCALE), runtime="keras")
    (judgement,) = scorer.judge([Picture(photograph)])
    np.testing.assert_allclose(judgement.output, expected, atol=1e-5)


def test_idealos_model_gives_the_scores_that_its_maintainer_published(shared):
    from idealo_comparison.infer import infer, load

    model = load(shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5", runtime="keras")
    assert infer(shared / "idealo/42039.jpg", model).mean == pytest.approx(5.228229, abs=1e-3)
    assert infer(shared / "idealo/42044.jpg", model).mean == pytest.approx(5.795005, abs=1e-3)


def test_shipped_weights_see_a_photograph_get_worse():
    scorer = load_scorer("tid2013_regression", crop="grid")
    assert scorer.card.figures
    for steps in everyday_ladders(read_image(sample_photograph())).values():
        scores = [scorer.score(image) for _, image in steps]
        assert 0 < scores[-1] < scores[len(scores) // 2] < scores[0] < 9

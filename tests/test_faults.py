"""Kinds of faults beside the score: the layer and its file, in networks and in rows, and how it is fitted."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from iqa.cards import Head, card_of, read_card, sha256
from iqa.commands import score
from iqa.errors import CardError, WeightsError
from iqa.images.reading import read_image
from iqa.labels.faults import KINDS, main_fault
from iqa.models import compiled
from iqa.models.export import outputs_of
from iqa.scoring.many import score_many
from iqa.scoring.pair import Opinion
from iqa.scoring.scorer import Scorer
from TID2013_regression import fit_faults, test_distortions

# Two of the four libraries that export a network still warn of themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def wide(weights, photograph, tmp_path_factory):
    """Untrained weights whose head sees several levels."""
    import keras

    from iqa.models.backbones import build_backbone
    from iqa.models.heads import LEVELS, add_head
    from iqa.models.weight_files import save_with_card

    keras.utils.set_random_seed(1)
    backbone, facts = build_backbone("none", noise=0.003)
    for normalisation in (part for part in backbone.layers if isinstance(part, keras.layers.BatchNormalization)):
        normalisation.momentum = 0.0
    backbone(photograph[None, :224, :224].astype(np.float32), training=True)  # without it random features vanish
    head = Head("regression", 0.25, LEVELS)
    path = tmp_path_factory.mktemp("wide") / "wide.weights.h5"
    save_with_card(add_head(backbone, head), path, replace(read_card(card_of(weights)), backbone=facts, head=head))
    return path


@pytest.fixture(scope="module")
def layer():
    return np.random.default_rng(0).normal(0, 0.1, (2289, len(KINDS))).astype(np.float32)


@pytest.fixture
def faulty(wide, layer, tmp_path):
    """The same weights with a layer of faults."""
    path = tmp_path / wide.name
    path.write_bytes(wide.read_bytes())
    np.save(path.with_name("wide.faults.npy"), layer)
    card = replace(read_card(card_of(wide)), faults={"wide.faults.npy": sha256(tmp_path / "wide.faults.npy")})
    card_of(path).write_text(json.dumps(card.to_json()))
    return path


def test_each_distortion_is_of_one_kind_at_most_and_light_and_saturation_of_none():
    numbers = sorted(number for kind in KINDS.values() for number in kind)
    assert numbers == [number for number in range(1, 25) if number not in (16, 17, 18)]


def test_the_main_fault_is_the_largest_share_unless_that_is_none():
    assert main_fault(np.eye(7)[0]) is None
    kind, share = main_fault(np.log([1, 6, 1, 1, 1, 0.5, 0.5]))
    assert (kind, share) == ("noise", pytest.approx(6 / 11))


def test_a_network_with_a_layer_of_faults_scores_as_without_it(wide, faulty, layer, photograph):
    plain, knowing = (Scorer(path, runtime="keras").score(photograph) for path in (wide, faulty))
    assert plain.faults is None
    np.testing.assert_array_equal(knowing.output, plain.output)
    np.testing.assert_array_equal(knowing.features, plain.features)
    # The layer by NumPy, on what the head sees of each patch, weighted as the score is.
    import keras

    from iqa.models.heads import STANDARDISED
    from iqa.models.networks import build_from_card
    from iqa.models.weight_files import load_weights

    scorer = Scorer(faulty, runtime="keras")
    model = build_from_card(scorer.card)
    load_weights(model, faulty)
    patches = scorer.geometry.patches(photograph, [])
    seen = keras.Model(model.input, model.get_layer(STANDARDISED).output).predict(patches, verbose=0)
    expected = scorer.geometry.weights(patches) @ (seen @ layer[:-1] + layer[-1])
    np.testing.assert_allclose(knowing.faults, expected, rtol=1e-4, atol=1e-4)


def test_compiled_networks_say_the_same_of_faults(faulty, photograph, monkeypatch):
    monkeypatch.setattr(compiled, "EXACT", 1e-4)  # random weights round worse than trained ones
    compiled.compile_weights(faulty)
    here = Scorer(faulty, runtime="keras").score(photograph)
    for runtime in ("litert", "openvino"):
        there = Scorer(faulty, runtime=runtime).score(photograph)
        np.testing.assert_allclose(there.faults, here.faults, atol=1e-3)
        assert there.score == pytest.approx(here.score, abs=1e-4)
    assert outputs_of(read_card(card_of(faulty))) == ("score", "features", "faults")


def test_weights_that_are_trained_on_have_no_layer_of_faults(faulty, tmp_path):
    from iqa.models.networks import network_to_train
    from iqa.models.weight_files import save_with_card

    model, _ = network_to_train("regression", "none", 0.0, 0.0, faulty)
    save_with_card(model, tmp_path / "again.weights.h5", read_card(card_of(faulty)))
    assert read_card(tmp_path / "again.json").faults == {}


@pytest.mark.parametrize(
    "spoil", [lambda file: file.unlink(), lambda file: np.save(file, np.zeros(3)), lambda file: file.write_bytes(b"no")]
)
def test_another_file_in_the_place_of_the_layer_is_refused_by_name(faulty, spoil):
    spoil(faulty.with_name("wide.faults.npy"))
    with pytest.raises(WeightsError, match=r"not the layer of faults that wide\.json names"):
        Scorer(faulty, runtime="keras")


@pytest.mark.parametrize(
    "faults, message",
    [
        ({"../x.npy": "0" * 64}, "names of files beside the card"),
        ({"x.npy": "0"}, "64 hexadecimal digits"),
        ({"x.npy": "0" * 64, "y.npy": "0" * 64}, "one file, for a head that sees several levels"),
    ],
)
def test_a_card_with_absurd_faults_is_refused(faulty, faults, message):
    card = json.loads(card_of(faulty).read_text()) | {"faults": faults}
    card_of(faulty).write_text(json.dumps(card))
    with pytest.raises(CardError, match=message):
        read_card(card_of(faulty))


def test_a_layer_of_faults_needs_a_head_that_sees_levels(weights, copy_of):
    with pytest.raises(CardError, match="one file, for a head that sees several levels"):
        read_card(card_of(copy_of(weights, faults={"x.npy": "0" * 64})))


# --- the weights that ship -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(photograph, tmp_path_factory):
    """Two pictures: one with plain noise, and one with plain blur."""
    folder = tmp_path_factory.mktemp("faults")
    noise = np.random.default_rng(0).normal(0, 25, photograph.shape)
    Image.fromarray(np.clip(photograph + noise, 0, 255).astype(np.uint8)).save(folder / "noise.png")
    Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(4)).save(folder / "blur.png")
    return folder


def test_plain_noise_and_blur_are_named_in_rows_tables_and_results(command, noisy, tmp_path):
    code, out, err = command(score, noisy, "--json", "--workers", 0)
    assert code == 0, err
    assert [json.loads(line)["fault"] for line in out.splitlines()] == ["blur", "noise"]
    code, _, err = command(score, noisy, "--out", tmp_path / "t.csv")
    assert code == 0, err
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fault"] for row in rows] == ["blur", "noise"]
    assert all(0 < float(row["fault_share"]) <= 1 for row in rows)
    assert [result.fault.kind for result in score_many(sorted(noisy.iterdir()), workers=0)] == ["blur", "noise"]


def test_workers_and_this_process_name_the_same_fault(noisy):
    pair = score.load_pair("litert")
    for workers in (0, 2):
        found = [Opinion.of(said).fault.kind for _, said in pair.score_all(sorted(noisy.iterdir()), workers=workers)]
        assert found == ["blur", "noise"]


def test_a_picture_is_drawn_with_the_score_and_the_fault_of_each_patch(command, noisy, tmp_path):
    picture = np.tile(read_image(noisy / "noise.png"), (2, 2, 1))
    Image.fromarray(picture).save(tmp_path / "large.png")
    figure = tmp_path / "where.png"
    code, out, err = command(test_distortions, tmp_path / "large.png", "--heat-map", figure)
    assert code == 0, err
    assert out.endswith("where.png: the score and the main fault of 9 patches\n")
    with Image.open(figure) as drawn:
        assert drawn.size[0] > 500
    for options, reason in (
        ((), "--heat-map is of an image: name one"),
        ((noisy / "noise.png", "--figure", tmp_path / "f.png"), "--heat-map and --figure are two figures: choose one"),
    ):
        code, _, err = command(test_distortions, *options, "--heat-map", tmp_path / "other.png")
        assert code == 2 and reason in err


# --- fitting ---------------------------------------------------------------------------------------------------------


def test_a_layer_is_fitted_beside_weights_and_noted_on_the_card(command, faulty, photograph, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(8):
        Image.fromarray(np.roll(photograph, 20 * number, axis=1)).resize((340, 340)).save(photos / f"{number}.png")
    # Two kinds, whose examples are of quite different brightness, in place of real distortions, which take minutes.
    monkeypatch.setattr(fit_faults, "KIND_OF", {1: 1, 8: 2})
    monkeypatch.setattr(fit_faults, "OF_A_PHOTOGRAPH", 2)
    monkeypatch.setattr(fit_faults, "distort", lambda image, number, *_, **__: image // (4 if number == 1 else 16))
    monkeypatch.setattr(fit_faults, "read_reference", lambda folder, number, _: np.roll(photograph, 9 * number, axis=0))
    options = ("--references", tmp_path, "--photos", photos, "--weights", faulty)
    before = card_of(faulty).read_text()
    code, out, err = command(fit_faults, *options)
    assert code == 0, err
    card = read_card(card_of(faulty))
    file = faulty.with_name("wide.faults.npy")
    assert card.faults == {file.name: sha256(file)}
    assert card.sha256 == json.loads(before)["sha256"] == sha256(faulty)
    ((_, figures),) = card.figures.items()
    assert figures["n"] == 6 * 5 + 2 * 3  # six references, with two levels of two distortions; two of eight photographs
    assert figures["top-1"] > 0.8, out


def test_a_network_whose_head_sees_no_levels_is_refused(command, weights, copy_of, tmp_path):
    code, _, err = command(fit_faults, "--references", tmp_path, "--photos", tmp_path, "--weights", copy_of(weights))
    assert code == 2
    assert "its head sees no levels" in err

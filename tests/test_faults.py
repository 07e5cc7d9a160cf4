"""Kinds of faults beside the score: the layer and its file, in networks and in rows, and how it is fitted."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageFilter

from iqa.cards import card_of, read_card, sha256, weights_file
from iqa.commands import iqa
from iqa.errors import CardError, WeightsError
from iqa.images.reading import Picture, read_image
from iqa.labels.faults import EXPLAINED, KINDS, main_fault
from iqa.scoring.many import score_many
from iqa.scoring.scorer import load_scorer
from TID2013_regression import fit_faults, test_distortions


@pytest.fixture
def faulty(tmp_path):
    """A copy of the shipped weights, which have a layer of faults."""
    shipped = weights_file("tid2013_regression")
    for file in shipped.parent.glob("tid2013_regression.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / shipped.name


def test_the_main_fault_is_the_largest_share_unless_that_is_none():
    assert main_fault(np.eye(7)[0]) is None
    kind, share = main_fault(np.log([1, 16, 1, 1, 0.5, 0.25, 0.25]))
    assert (kind, share) == ("noise", pytest.approx(16 / 20))
    assert main_fault(np.log([1, 6, 5, 1, 1, 0.5, 0.5])) is None  # not sure enough to be shown
    assert {*EXPLAINED, "none"} == set(KINDS)


def test_faults_are_what_the_layer_says_of_what_the_head_sees(photograph):
    import keras

    from iqa.models.networks import STANDARDISED, build_network

    scorer = load_scorer("tid2013_regression", runtime="litert")
    patches = scorer.geometry.patches(photograph, [])
    card = scorer.card
    model = build_network(card.backbone, card.head, card.preprocessing.size, scorer.weights)
    layer = np.load(card_of(scorer.weights).with_suffix(".faults.npy"))
    levels = keras.Model(model.input, model.get_layer(STANDARDISED).output).predict(patches, verbose=0)
    (judged,) = scorer.judge([Picture(photograph)])
    seen = scorer.geometry.weights(patches) @ levels
    np.testing.assert_allclose(judged.levels, seen, atol=1e-3)
    np.testing.assert_allclose(judged.faults, seen @ layer[:-1] + layer[-1], atol=1e-2)


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: np.save(file, np.zeros(3))])
def test_another_file_in_the_place_of_the_layer_is_refused_by_name(faulty, spoil):
    spoil(card_of(faulty).with_suffix(".faults.npy"))
    with pytest.raises(WeightsError, match="not the layer of faults that its card names"):
        load_scorer(faulty, runtime="keras")


@pytest.mark.parametrize(
    "faults, levels, message",
    [
        ({"../x.npy": "0" * 64}, True, "names of files beside the card"),
        ({"x.npy": "0"}, True, "64 hexadecimal digits"),
        ({"x.npy": "0" * 64, "y.npy": "0" * 64}, True, "one file, for a head that sees several levels"),
        ({"x.npy": "0" * 64}, False, "one file, for a head that sees several levels"),
    ],
)
def test_a_card_with_absurd_faults_is_refused(faulty, faults, levels, message):
    card = json.loads(card_of(faulty).read_text()) | {"faults": faults}
    if not levels:
        del card["head"]["levels"]
    card_of(faulty).write_text(json.dumps(card))
    with pytest.raises(CardError, match=message):
        read_card(card_of(faulty))


@pytest.fixture(scope="module")
def noisy(photograph, tmp_path_factory):
    """Two pictures: one with plain noise, and one with plain blur."""
    folder = tmp_path_factory.mktemp("faults")
    noise = np.random.default_rng(0).normal(0, 25, photograph.shape)
    Image.fromarray(np.clip(photograph + noise, 0, 255).astype(np.uint8)).save(folder / "noise.png")
    Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(4)).save(folder / "blur.png")
    return folder


def test_plain_noise_and_blur_are_named_in_rows_tables_and_results(command, noisy, tmp_path):
    code, out, err = command(iqa, noisy, "--json", "--workers", 0)
    assert code == 0, err
    assert [json.loads(line)["fault"] for line in out.splitlines()] == ["blur", "noise"]
    code, _, err = command(iqa, noisy, "--out", tmp_path / "t.csv")
    assert code == 0, err
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fault"] for row in rows] == ["blur", "noise"]
    assert all(0 < float(row["fault_share"]) <= 1 for row in rows)
    assert [result.fault.kind for result in score_many(sorted(noisy.iterdir()), workers=0)] == ["blur", "noise"]


def test_a_picture_is_drawn_with_the_score_and_the_fault_of_each_patch(command, noisy, tmp_path):
    picture = np.tile(read_image(noisy / "noise.png"), (2, 2, 1))
    Image.fromarray(picture).save(tmp_path / "large.png")
    figure = tmp_path / "where.png"
    code, out, err = command(test_distortions, tmp_path / "large.png", "--heat-map", figure)
    assert code == 0, err
    assert out.endswith("where.png: the score and the main fault of 9 patches\n")
    with Image.open(figure) as drawn:
        assert drawn.size[0] > 500
    for options in ((), (noisy / "noise.png", "--figure", tmp_path / "f.png")):
        code, _, err = command(test_distortions, *options, "--heat-map", tmp_path / "other.png")
        assert code == 2 and "--heat-map takes the place of --figure and is of one image: name it" in err


# --- fitting ---------------------------------------------------------------------------------------------------------


def test_a_layer_is_fitted_beside_weights_and_noted_on_the_card(command, faulty, photograph, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(8):
        Image.fromarray(np.roll(photograph, 20 * number, axis=1)).resize((340, 340)).save(photos / f"{number}.png")
    (photos / "broken.png").touch()
    # Two kinds, whose examples are of quite different brightness, in place of real distortions.
    monkeypatch.setattr(fit_faults, "KIND_OF", {1: 1, 8: 2})
    monkeypatch.setattr(fit_faults, "OF_A_PHOTOGRAPH", 2)
    monkeypatch.setattr(fit_faults, "distort", lambda image, number, *_: image // (4 if number == 1 else 16))
    monkeypatch.setattr(fit_faults, "read_reference", lambda folder, number: np.roll(photograph, 9 * number, axis=0))
    (tmp_path / "grades.csv").write_text("Image Name,MOS,,\n3.png,0.9,,\n4.png,0.2,,\n")
    clean = ("--clean", photos, "--grades", tmp_path / "grades.csv")
    code, out, err = command(fit_faults, "--references", tmp_path, "--photos", photos, *clean, "--weights", faulty)
    assert code == 0, err
    assert "broken.png: the file is empty" in err
    card = read_card(card_of(faulty))
    file = card_of(faulty).with_suffix(".faults.npy")
    assert card.faults == {file.name: sha256(file)}
    assert card.sha256 == sha256(faulty) and card.compiled  # the network stays as it is
    figures = card.figures["faults, references 1-6 and photographs that were left out"]
    assert figures["n"] >= 6 * 5 + 2 * 3  # six references, two levels of two distortions; a quarter of the photographs
    assert figures["top-1"] > 0.8, out
    assert figures["clean photographs"] == 1


def test_a_network_whose_head_sees_no_levels_is_refused(command, faulty, tmp_path):
    card = json.loads(card_of(faulty).read_text()) | {"faults": {}}
    del card["head"]["levels"]
    card_of(faulty).write_text(json.dumps(card))
    code, _, err = command(fit_faults, "--references", tmp_path, "--photos", tmp_path, "--weights", faulty)
    assert code == 2
    assert "its head sees no levels" in err

"""Quality: the layer on what both networks see, its file, its place in rows and ranks, and its experiment."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from BIQ2021 import biq2021, infer_quality, plot_quality
from iqa import score_many
from iqa.cards import Scale
from iqa.commands import iqa
from iqa.errors import CardError, LabelError, UsageError
from iqa.images.finding import sample_photograph
from iqa.images.reading import Picture, read_image
from iqa.labels.biq2021 import read_grades
from iqa.scoring import scorer
from iqa.scoring.layer import Layer, LayerCard, Weights, load_layer, read_layer, write_layer
from iqa.scoring.ranking import rank_by
from iqa.scoring.results import Grade, Result


@pytest.fixture(scope="module")
def layer():
    return load_layer("biq2021_quality")


@pytest.fixture
def own(tmp_path, layer):
    """A linear layer of one's own, of half of vanilla's mean score."""
    n = len(layer.layer.centre)
    kernel = np.zeros((n, 1), np.float32)
    kernel[0] = 0.5
    fields = dict(centre=np.zeros(n), spread=np.full(n, 10.0), kernel=10 * kernel, bias=np.zeros(1), top=np.ones(1))
    fields |= {"deviations": np.array([[2.0, 3.0], [0.5, 0.25]]), "quantiles": np.zeros(0)}
    card = LayerCard(Scale(1, 5, "mine"), layer.card.stands_on)
    write_layer(tmp_path / "mine.npz", card, Weights(**{name: np.float32(value) for name, value in fields.items()}))
    return tmp_path / "mine.npz"


def test_a_layer_comes_back_from_its_file_and_scores_what_the_formula_says(own, photograph):
    grade = load_layer(own).score(photograph)
    beauty = scorer.load_scorer("ava_vanilla").score(photograph).mean
    assert grade.mean == pytest.approx(beauty / 2, abs=1e-4)
    assert grade == (grade.mean, pytest.approx(np.interp(beauty / 2, [2, 3], [0.5, 0.25]), abs=1e-4), None)
    _, weights = read_layer(own)
    seen = np.random.default_rng(0).normal(0, 1, (2, len(weights.centre)))
    many = weights.__class__(
        **{**vars(weights), "kernel": np.float32([[1, 2, -2]] * seen.shape[1]), "bias": np.float32([1, 0, 0])}
    )
    total = seen.sum(axis=1) / 10
    expected = 1 + total + 3 * np.maximum(2 * total, 0) + 4 * np.maximum(-2 * total, 0)
    many = many.__class__(**{**vars(many), "top": np.float32([1, 3, 4])})
    np.testing.assert_allclose(many.score(seen), expected, rtol=1e-4)


def test_a_file_that_is_no_layer_or_stands_on_other_weights_is_refused_by_name(own, tmp_path):
    card, weights = read_layer(own)
    write_layer(tmp_path / "other.npz", LayerCard(card.scale, {"ava_vanilla": "0" * 64}), weights)
    with pytest.raises(CardError, match=r"other\.npz: it was fitted on other weights than the ava_vanilla that is here"):
        load_layer(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", card=np.array([{}], object))
    own.write_bytes(own.read_bytes()[:-2000])
    for file in (own, tmp_path / "pickled.npz", tmp_path / "missing.npz"):
        with pytest.raises(CardError, match=file.name):
            load_layer(file)


def test_quality_is_the_same_from_infer_in_a_worker_and_in_score_many(photograph, save):
    path = save("p.png", photograph)
    grade = infer_quality.infer(path)
    assert isinstance(grade, Grade) and 1 <= grade.mean <= 5 and 0 < grade.std < 1.5 and 0 <= grade.percentile <= 100
    assert infer_quality.infer(photograph) == grade
    for workers in (0, 1):
        results = list(score_many([path, path], workers=workers))
        assert [result.quality for result in results] == [grade, grade]
        assert list(results[0].scores) == ["quality", "beauty", "technical"]
        assert Result.from_json(path, json.loads(json.dumps(results[0].to_json()))).quality == grade
    assert infer_quality.features(path).shape == (3570,)
    with pytest.raises(UsageError, match="a regression model, but a layer model is needed"):
        infer_quality.infer(path, scorer.load_scorer("tid2013_regression"))


def test_each_network_looks_once_at_a_picture_that_all_three_scores_are_of(layer, photograph, monkeypatch):
    looks = []
    monkeypatch.setattr(
        scorer.Scorer, "_judge", lambda self, new, judge=scorer.Scorer._judge: looks.append(len(new)) or judge(self, new)
    )
    picture = Picture(photograph)
    for model in (*layer.parts, layer, *layer.parts):
        model.score(picture)
    assert sum(looks) == 2 and isinstance(layer, Layer)
    scorer.load_scorer("ava_vanilla", runtime="keras").score(picture)
    assert sum(looks) == 3  # another runtime looks for itself
    assert infer_quality.load() is infer_quality.load()


def test_a_sharp_caption_makes_no_blurred_photograph_good(layer):
    sharp = Image.fromarray(read_image(sample_photograph())).resize((1024, 1200), Image.Resampling.LANCZOS)
    blurred = sharp.filter(ImageFilter.GaussianBlur(8))
    captioned = blurred.copy()
    pen = ImageDraw.Draw(captioned)
    pen.rectangle((0, 1060, 1024, 1200), fill="black")
    pen.text((20, 1080), "when the lens is dirty", fill="white", font=ImageFont.load_default(60))
    for model in (layer, layer.parts[1]):
        good, bad, text = (
            result if isinstance(result := model.score(np.asarray(image)), float) else result.mean
            for image in (sharp, blurred, captioned)
        )
        assert bad < good and text < (good + bad) / 2


def test_the_default_rank_is_the_mean_of_the_places_in_quality_and_beauty():
    scores = {"quality": np.array([1.0, 2, 3]), "beauty": np.array([3.0, 2, 2.5]), "technical": np.array([9.0, 0, 0])}
    np.testing.assert_allclose(rank_by(scores), [0.5, 1 / 6, 5 / 6])
    np.testing.assert_allclose(rank_by(scores, "technical"), rank_by({"technical": scores["technical"]}))


def test_quality_comes_first_in_rows(command, photograph, save):
    code, out, err = command(iqa, save("p.png", photograph), "--json", "--workers", 0)
    assert code == 0, err
    assert list(json.loads(out))[:4] == ["path", "quality", "quality_std", "quality_percentile"]


def test_grades_are_read_in_both_headings_whatever_the_case_of_a_suffix(tmp_path):
    (tmp_path / "ss02 (7).JPG").touch()
    table = tmp_path / "train.csv"
    table.write_text("Image Name,MOS,,\nss01 (3).jpg,0.25,,\nss02 (7).jpg,1,,\n")
    first, second = read_grades(table, tmp_path)
    assert (first.label, first.path, second.label, second.path) == (2, None, 5, tmp_path / "ss02 (7).JPG")
    table.write_text("path,mos\nss01 (3).jpg,good\n")
    with pytest.raises(LabelError, match=r"train\.csv: line 2: 'good' is no grade"):
        read_grades(table)


@pytest.fixture(scope="module")
def graded(tmp_path_factory, photograph):
    """A set in the form of BIQ2021: blurred photographs with low grades, sharp ones with high grades."""
    folder = tmp_path_factory.mktemp("biq")
    lines = ["Image Name,MOS,,"]
    for number in range(18):
        picture = Image.fromarray(np.roll(photograph, 20 * number, axis=1))
        good = number % 4 / 3
        picture.filter(ImageFilter.GaussianBlur(3 * (1 - good))).save(folder / f"ss0{number // 6 + 1} ({number}).jpg")
        lines.append(f"ss0{number // 6 + 1} ({number}).jpg,{0.2 + 0.6 * good},,")
    (folder / "train.csv").write_text("\n".join(lines))
    (folder / "test.csv").write_text("\n".join(lines))
    return folder


def test_a_labelled_run_is_plotted_with_the_three_parts(command, graded, tmp_path):
    mat = tmp_path / "quality.mat"
    code, _, err = command(infer_quality, "--labels", graded / "test.csv", "--images", graded, "--out", mat, "--workers", 0)
    assert code == 0, err
    code, out, err = command(plot_quality, mat, "--bootstrap", 0)
    assert code == 0, err
    assert out.splitlines()[-1].startswith("unsplash: n 6, LCC ")


def test_the_experiment_trains_a_layer_that_falls_with_blur(command, graded, tmp_path, monkeypatch):
    monkeypatch.setattr(biq2021, "LADDERS", {graded: 3})
    for name, value in {"COMPONENTS": 2, "UNITS": 4, "MEMBERS": 2, "EPOCHS": 30, "BATCH_SIZE": 8, "CHOOSING": 3}.items():
        monkeypatch.setattr(biq2021, name, value)
    out = tmp_path / "layer.npz"
    options = ("--run", tmp_path / "run", "--images", graded, "--labels", graded, "--out", out)
    code, printed, err = command(biq2021, *options)
    assert code == 0, err
    assert printed.startswith("n 6, srcc ") and out.is_file()
    code, printed, err = command(biq2021, *options, "--test")
    assert code == 0 and float(printed.split("srcc ")[1].split(",")[0]) > 0.5, (printed, err)
    (graded / "ss01 (0).jpg").rename(tmp_path / "away.jpg")
    code, _, err = command(biq2021, *options)
    (tmp_path / "away.jpg").rename(graded / "ss01 (0).jpg")
    assert code == 2 and "lacks 1 of 18 photographs, such as ss01 (0).jpg" in err

"""What other programs import: `infer` and `score_many`, their arguments, types and errors."""

import importlib
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqa
from AVA import infer_patches, infer_vanilla
from idealo_comparison import infer as infer_idealo
from idealo_comparison import infer_technical
from iqa.errors import CardError, ImageError, UsageError
from iqa.images.finding import sample_photograph
from iqa.labels.histograms import Score, percentile
from iqa.scoring import many
from TID2013_regression import infer_regression

ROOT = Path(__file__).resolve().parent.parent
EVERY = (infer_vanilla, infer_idealo, infer_technical, infer_patches, infer_regression)


@pytest.fixture(scope="module")
def models(tiny, tiny_histogram):
    """{module: a model that its `infer` can use}, of tiny networks."""
    return {
        module: module.load(tiny if module is infer_regression else tiny_histogram, runtime="litert") for module in EVERY
    }


@pytest.fixture(scope="module")
def folder(photograph, tmp_path_factory):
    """Three pictures, one that only the model of beauty can judge, and a broken one."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        Image.fromarray(np.roll(photograph, 60 * number, axis=1)).save(folder / f"{number}.png")
    Image.fromarray(photograph[:40, :40]).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize("module", EVERY, ids=lambda module: module.__name__)
def test_infer_takes_a_picture_in_any_form(module, models, photograph, tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(photograph).save(path)
    content = path.read_bytes()
    forms = [path, str(path), photograph, Image.open(path), content, bytearray(content), io.BytesIO(content)]
    scores = [module.infer(form, models[module]) for form in forms]
    for score in scores[1:]:
        assert np.array_equal(getattr(score, "histogram", score), getattr(scores[0], "histogram", scores[0]))
    assert all(len(module.features(form, models[module])) == 1000 for form in forms)
    assert isinstance(module.infer(photograph[..., 0], models[module]), float | Score)


@pytest.mark.parametrize("module", EVERY, ids=lambda module: module.__name__)
def test_infer_refuses_alike_what_it_cannot_use(module, models, photograph, tmp_path):
    model = models[module]
    for function in (module.infer, module.features):
        with pytest.raises(TypeError, match="an image must be a path"):
            function(3, model)
        with pytest.raises(ImageError, match="there is no such file"):
            function(tmp_path / "missing.jpg", model)
        with pytest.raises(ImageError, match="uint8"):
            function(photograph / 255, model)
        with pytest.raises(TypeError, match=r"model must be what load\(\) returned, not str"):
            function(photograph, "ava_vanilla")
        with pytest.raises(UsageError, match="a model has its own runtime"):
            function(photograph, model, runtime="litert")
    with pytest.raises(UsageError, match="timeout must be a number of seconds above 0, got -1"):
        module.infer(photograph, model, timeout=-1)
    with pytest.raises(CardError, match="there is no such file"):
        module.load(tmp_path / "missing.weights.h5")


def test_a_model_of_the_other_question_is_refused(models, photograph):
    with pytest.raises(UsageError, match="is a histogram model, but a regression model is needed"):
        infer_regression.infer(photograph, models[infer_vanilla])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tflite"}, "runtime must be one of auto, keras, .*, got 'tflite'"),
        ({"crop": "middle"}, "crop must be one of centre, .*, got 'middle'"),
        ({"pooling": "max"}, "pooling must be one of mean, detail, got 'max'"),
        ({"longer_side": 100}, "a longer side of 100 pixels is smaller than a patch"),
        ({"six_crops": True}, "sees patches, so six crops do not apply"),
    ],
)
def test_a_misspelt_option_is_refused_with_those_that_there_are(photograph, options, message):
    with pytest.raises(UsageError, match=message):
        infer_regression.infer(photograph, **options)


def test_a_picture_may_take_so_long_and_no_longer(models, photograph, tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(photograph).save(path)
    score = infer_vanilla.infer(path.read_bytes(), models[infer_vanilla], timeout=30)
    np.testing.assert_allclose(score.histogram, infer_vanilla.infer(path, models[infer_vanilla]).histogram, atol=1e-6)
    with pytest.raises(UsageError, match="a timeout is for a path"):
        infer_vanilla.infer(photograph, models[infer_vanilla], timeout=30)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match="it is not an image"):
        infer_vanilla.infer(tmp_path / "text.jpg", models[infer_vanilla], timeout=30)


def test_a_score_is_unpacked_as_three_and_keeps_its_percentile_in_another_process(photograph):
    score = infer_vanilla.infer(photograph)
    mean, std, histogram = score
    assert (mean, std, len(histogram), score.percentile) == (score.mean, score.std, 10, percentile(mean))
    assert pickle.loads(pickle.dumps(score)).percentile == score.percentile


@pytest.mark.parametrize("workers", [0, 2])
def test_score_many_gives_both_answers_and_errors_as_values(folder, workers):
    names = ["0.png", "broken.png", "1.png", "small.png", "missing.png", "2.png"]
    results = list(iqa.score_many([str(folder / name) for name in names], workers=workers, runtime="litert"))
    assert [result.path for result in results] == [folder / name for name in names]
    beauty, technical = infer_vanilla.load(runtime="litert"), infer_regression.load(runtime="litert")
    for number in (0, 2, 5):
        result, path = results[number], folder / names[number]
        expected = infer_vanilla.infer(path, beauty)
        np.testing.assert_allclose(result.beauty.histogram, expected.histogram, rtol=0, atol=1e-6)
        assert result.beauty.percentile == pytest.approx(expected.percentile, abs=1e-3)
        assert result.technical == pytest.approx(infer_regression.infer(path, technical), abs=1e-5)
        assert (result.width, result.height, result.error) == (256, 256, None)
    broken, small, missing = (results[number] for number in (1, 3, 4))
    assert broken.error and (broken.beauty, broken.technical) == (None, None)
    assert missing.error == "there is no such file"
    assert small.technical is None and small.beauty.mean > 1 and "40x40 pixels are too few" in small.error


def test_score_many_refuses_at_once_what_it_cannot_use(folder):
    with pytest.raises(TypeError, match="paths must be an iterable of paths"):
        iqa.score_many(str(folder / "0.png"))
    for options in ({"workers": -1}, {"workers": "two"}, {"timeout": 0}, {"timeout": 5, "workers": 0}, {"runtime": "x"}):
        with pytest.raises(UsageError):
            iqa.score_many([folder / "0.png"], **options)


def test_what_iqa_offers_is_where_it_says_and_loads_nothing():
    for name in iqa.__all__:
        assert getattr(iqa, name) is getattr(importlib.import_module(iqa._HOMES[name]), name)
    assert iqa.score_many is many.score_many
    code = "import sys, iqa; print(*sorted({'numpy', 'PIL', 'typing', 'iqa.scoring'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
                          capture_output=True, text=True)  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("", "")


IMPORTED = """
import os, sys
from AVA.infer_vanilla import infer
os.write(2, b"before\\n")
print(infer(sys.argv[1], runtime="litert").mean)
os.write(2, b"after\\n")
print(len([name for name in sys.modules if name.partition(".")[0] in ("iqa", "AVA")]))
"""


def test_infer_writes_nothing_of_its_own_to_stderr_and_loads_few_modules():
    done = subprocess.run([sys.executable, "-c", IMPORTED, sample_photograph()], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "before\nafter\n")
    assert int(done.stdout.splitlines()[1]) <= 25

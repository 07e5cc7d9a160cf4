"""The scripts as a user meets them: what they print, their exit codes, and what they leave behind."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from AVA import (
    ava_patches,
    ava_vanilla,
    infer_patches,
    infer_vanilla,
    plot_patches,
    plot_vanilla,
)
from idealo_comparison import infer as idealo_infer
from idealo_comparison import infer_technical as idealo_technical
from idealo_comparison import test_distortions as idealo_distortions
from iqa.evaluation.predictions import read_predictions
from iqa.labels.opinions import Prediction
from iqa.labels.ratings import RatedImage
from iqa.labels.tid2013 import LabelledImage, across_scenes, read_order
from iqa.scoring.collection import Outcome, score_labelled
from TID2013_regression import (
    infer_regression,
    plot_regression,
    tid2013_regression,
)

ROOT = Path(__file__).resolve().parent.parent


def python(*arguments, **options):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)


def test_a_usage_error_under_python_i_ends_the_process_with_one_line(tmp_path):
    script = ROOT / "TID2013_regression/tid2013_regression.py"
    result = python("-i", script, "--images", tmp_path, "--schedule", "4", input="print('prompt')\n")
    assert result.returncode == 2
    assert "EPOCHS@RATE" in result.stderr.splitlines()[-1]
    assert "prompt" not in result.stdout and "Traceback" not in result.stderr


# --- infer ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, photograph):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photograph).save(folder / name)
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_infer_prints_a_row_an_image_and_names_the_bad_ones(command, tiny, folder):
    code, out, err = command(infer_regression, folder, "--weights", tiny)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 1
    assert [Path(path).name for path, _ in rows] == ["a.png", "b.png"]
    assert rows[0][1] == rows[1][1] == f"{float(rows[0][1]):.4f}"
    reason = f"{folder}/text.jpg: it is not an image, or of an unknown format"
    assert err.splitlines() == [reason, "left out: 1 .txt"]


def test_infer_prints_json_a_line_an_image(command, tiny, folder):
    code, out, _ = command(infer_regression, folder, "--weights", tiny, "--json", "--batch-size", 2)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [sorted(row) for row in rows] == [["mean", "path"], ["mean", "path"], ["error", "path"]]


def test_infer_is_a_function_for_other_projects(tiny, photograph):
    model = infer_regression.load(tiny)
    assert isinstance(infer_regression.infer(photograph, model), float)
    assert infer_regression.features(photograph, model).shape == (1000,)


@pytest.mark.parametrize("named", ["missing.jpg", "missing/"])
def test_infer_ends_with_2_if_nothing_named_exists(command, tiny, tmp_path, named):
    code, out, err = command(infer_regression, tmp_path / named, "--weights", tiny)
    assert (code, out) == (2, "")
    assert "there is no such file" in err


def test_infer_ends_with_1_for_a_folder_without_images(command, tiny, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = command(infer_regression, tmp_path / "empty", "--weights", tiny)
    assert code == 1
    assert "a folder without images" in err


def test_infer_refuses_unusable_weights_at_once(command, tmp_path, folder):
    (tmp_path / "bad.weights.h5").write_bytes(b"x")
    code, out, err = command(infer_regression, folder, "--weights", tmp_path / "bad.weights.h5")
    assert (code, out) == (2, "")
    assert "bad.json: there is no such file" in err.splitlines()[-1]


@pytest.fixture
def labelled(tmp_path, photograph):
    """Six images of TID2013's form, of which one is missing, one broken and one too small."""
    from PIL import Image

    folder = tmp_path / "tid"
    folder.mkdir()
    names = [f"i01_01_{level}" for level in range(1, 6)] + ["i02_01_1"]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(photograph, 9 * number, axis=0)).save(folder / f"{name.upper()}.BMP")
    (folder / "I01_01_2.BMP").unlink()
    (folder / "I01_01_3.BMP").write_bytes(b"BM")
    Image.fromarray(photograph[:60]).save(folder / "I01_01_4.BMP")
    rows = [f"{5 - number / 2:.5f} {name}.bmp\n" for number, name in enumerate(names)]
    (folder / "mos_with_names.txt").write_text("".join(rows))
    return folder


def labelled_run(command, tiny, folder, out, *options):
    labels = folder / "mos_with_names.txt"
    return command(infer_regression, "--labels", labels, "--images", folder, "--out", out, "--weights", tiny, *options)


def test_a_labelled_run_writes_scores_in_label_order_and_names_what_it_skipped(command, tiny, labelled, tmp_path):
    code, out, _ = labelled_run(command, tiny, labelled, tmp_path / "p.mat")
    read = read_predictions(tmp_path / "p.mat")
    assert code == 1
    assert "3 images scored, 3 skipped" in out
    assert read.filenames == ["I01_01_1.BMP", "I01_01_5.BMP", "I02_01_1.BMP"]
    assert read.labels.tolist() == [5, 3, 2.5]
    assert [name for name, _ in read.skipped] == ["i01_01_2", "I01_01_3.BMP", "I01_01_4.BMP"]
    assert "256x60 pixels are too few" in read.skipped[2][1]
    assert read.provenance["geometry"] == "grid of at most 24 patches of 224x224, mean of the patches"
    assert not (tmp_path / "p.mat.journal").exists()
    one = infer_regression.infer(labelled / "I01_01_5.BMP", infer_regression.load(tiny))
    assert read.predictions[1] == np.float32(one)


def test_a_killed_labelled_run_goes_on_and_ends_with_the_same_arrays(command, tiny, labelled, tmp_path, monkeypatch):
    labelled_run(command, tiny, labelled, tmp_path / "whole.mat")
    scorer = infer_regression.load(tiny)
    score_all, scored = type(scorer).score_all, []

    def killed_after_two(self, images, *options):
        for number, result in enumerate(score_all(self, images, *options)):
            if number == 2:
                raise KeyboardInterrupt
            scored.append(result[0])
            yield result

    monkeypatch.setattr(type(scorer), "score_all", killed_after_two)
    assert labelled_run(command, tiny, labelled, tmp_path / "broken.mat")[0] == 130
    monkeypatch.undo()
    assert not (tmp_path / "broken.mat").exists()

    def counting(self, images, *options):
        for result in score_all(self, images, *options):
            scored.append(result[0])
            yield result

    monkeypatch.setattr(type(scorer), "score_all", counting)
    labelled_run(command, tiny, labelled, tmp_path / "broken.mat")
    assert len(scored) == len(set(scored)) == 5
    whole, broken = (read_predictions(tmp_path / name) for name in ("whole.mat", "broken.mat"))
    np.testing.assert_array_equal(whole.predictions, broken.predictions)
    assert (whole.filenames, whole.skipped) == (broken.filenames, broken.skipped)


def test_a_killed_run_over_one_folder_is_not_continued_in_another(tiny, labelled, tmp_path, monkeypatch):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(labelled, other)
    images = [LabelledImage("i01", 1, level, 5.0, labelled / f"I01_01_{level}.BMP") for level in (1, 5)]
    moved = [LabelledImage("i01", 1, level, 5.0, other / f"I01_01_{level}.BMP") for level in (1, 5)]

    scorer = infer_regression.load(tiny)

    def killed_after_one(self, paths, *_):
        yield next(paths), Prediction(np.array([99.0], np.float32))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(type(scorer), "score_all", killed_after_one)
        score_labelled(scorer, images, "missing", tmp_path / "p.mat")
    score_labelled(scorer, moved, "missing", tmp_path / "p.mat")
    assert read_predictions(tmp_path / "p.mat").predictions.max() < 99


def test_a_reader_that_has_seen_enough_is_no_error(tiny, labelled):
    script = ROOT / "TID2013_regression/infer_regression.py"
    infer_regression.load(tiny)  # compiled here, where the tiny network can be built
    images = [labelled / "I01_01_1.BMP"] * 300
    process = subprocess.Popen(
        [sys.executable, script, "--weights", tiny, *images],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_labelled_run_of_nothing_is_an_error_of_usage(command, tiny, labelled, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = command(
        infer_regression, "--labels", labelled / "mos_with_names.txt", "--images", tmp_path / "empty",
        "--out", tmp_path / "p.mat", "--weights", tiny
    )  # fmt: skip
    assert code == 2
    assert "holds none of the 6 images" in err


def test_half_of_a_labelled_run_is_an_error_of_usage(command, labelled):
    assert command(infer_regression, "--labels", labelled / "mos_with_names.txt")[0] == 2


# --- plot -----------------------------------------------------------------------------------------------------------


def test_plot_prints_the_originals_table_and_writes_json_and_figure(command, shared, tmp_path):
    file = shared / "golden/tid_wtf_regression.mat"
    code, out, _ = command(plot_regression, file, "--json", tmp_path / "m.json", "--figure", tmp_path / "f.png")
    lines = out.splitlines()
    assert code == 0
    assert lines[:3] == ["Got labels: 360", "Confusion matrix:", "[[ 1  0  0  0  0  0  0  0  0  0]"]
    assert lines[12].startswith("accuracy:0.88105257")
    assert lines[13].startswith("standard deviation of score differences:0.33666168")
    assert lines[14].startswith("LCC: (0.9205231")
    assert lines[15].startswith("SRCC: SpearmanrResult(correlation=0.902075654")
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert set(metrics) == {
        "n", "confusion_matrix", "accuracy", "score_difference_std", "lcc", "srcc", "krcc", "rmse"
    }  # fmt: skip
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_plot_prints_the_originals_lines_of_a_distortion(command, shared):
    _, out, _ = command(plot_regression, shared / "golden/tid_wtf_regression.mat", "--distortion", 10)
    assert out.splitlines()[:2] == [
        "Image i01, labels:[5.973 5.946 4.917 3.216 2.081], predictions:[5.444 5.27  5.001 3.159 2.45 ]",
        "Image i02, labels:[6.    5.972 5.432 3.5   2.714], predictions:[5.32  5.366 5.157 4.338 2.609]",
    ]


def test_plot_refuses_a_file_without_the_variables_at_once(command, tmp_path):
    from scipy import io

    io.savemat(tmp_path / "x.mat", {"a": 1})
    code, out, err = command(plot_regression, tmp_path / "x.mat")
    assert (code, out) == (2, "")
    assert "it has no variable 'labels'" in err.splitlines()[-1]


def test_figures_go_on_the_card_of_the_weights_that_predicted_and_on_no_other(command, tiny, labelled, tmp_path):
    import shutil

    from iqa.cards import card_of

    card = tmp_path / "card.json"
    shutil.copy(card_of(tiny), card)
    labelled_run(command, tiny, labelled, tmp_path / "p.mat")
    assert command(plot_regression, tmp_path / "p.mat", "--card", card)[0] == 0
    assert (
        json.loads(card.read_text())["figures"]["grid of at most 24 patches of 224x224, mean of the patches, i01-i02"]["n"]
        == 3
    )
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": "other"}))
    assert command(plot_regression, tmp_path / "p.mat", "--card", card)[0] == 2


# --- labels, images, ladders, distortions ---------------------------------------------------------------------------


def test_training_refuses_to_choose_by_a_scene_that_it_learns_from(command, labelled, tmp_path):
    rows = [f"5 i{scene:02d}_01_{level}.bmp\n" for scene in (4, 7) for level in range(1, 6)]
    (labelled / "all.txt").write_text("".join(rows))
    for row in rows:
        (labelled / row.split()[1]).touch()
    (labelled / "seven.txt").write_text(rows[5])
    code, _, err = command(
        tid2013_regression, "--images", labelled, "--train-labels", labelled / "all.txt", "--backbone", "none",
        "--test-labels", labelled / "seven.txt", "--run", tmp_path / "run"
    )  # fmt: skip
    assert code == 2
    assert "scenes to train on and to choose by: i07" in err


def test_of_photographs_the_order_alone_is_read_and_only_where_stronger_is_worse(command, labelled, tmp_path):
    def label(distortion):
        names = [f"p_{distortion:02d}_{level}.png" for level in range(1, 6)]
        for name in names:
            (labelled / name).touch()
        (labelled / "mos_with_names.txt").write_text("".join(f"5 {name}\n" for name in names))

    label(10)
    (ladder,) = read_order(labelled)
    assert [image.level for image in ladder] == [1, 2, 3, 4, 5]
    assert np.isnan([image.mos for image in ladder]).all()
    label(17)
    code, _, err = command(tid2013_regression, "--images", labelled, "--order", labelled, "--run", tmp_path / "run")
    assert code == 2
    assert "the order of distortion 17 is not known" in err


def test_ladders_across_scenes_hold_each_image_once_and_keep_step_and_distortion():
    found = [
        [LabelledImage(f"s{scene}", distortion, step, math.nan) for step in range(1, 6)]
        for scene in range(12)
        for distortion in (1, 8)
    ]
    mixed = across_scenes(found, seed=3)
    assert sorted(image.name for ladder in mixed for image in ladder) == sorted(
        image.name for ladder in found for image in ladder
    )
    assert {tuple(image.level for image in ladder) for ladder in mixed} == {(1, 2, 3, 4, 5)}
    assert all(len({image.distortion for image in ladder}) == 1 for ladder in mixed)
    assert np.mean([len({image.reference for image in ladder}) for ladder in mixed]) > 3.5
    assert mixed == across_scenes(found, seed=3) != across_scenes(found, seed=4)


def test_a_figure_of_an_unknown_kind_is_one_line_and_exit_code_2(shared, tmp_path):
    script = ROOT / "TID2013_regression/plot_regression.py"
    result = python(script, shared / "golden/tid_wtf_regression.mat", "--figure", tmp_path / "f.xyz")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "xyz" in result.stderr


def test_the_prompt_comes_after_a_success_under_python_i(shared):
    script = ROOT / "TID2013_regression/plot_regression.py"
    result = python("-i", script, shared / "golden/tid_wtf_regression.mat", input="print('prompt')\n")
    assert "prompt" in result.stdout


# --- AVA and idealo -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_ava(tmp_path_factory):
    """Eight pictures with ratings in a CSV, six to train on, two to test on; one of each is missing."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("ava"), np.random.default_rng(0)
    for number in range(8):
        small = rng.integers(0, 255, (4, 5, 3)).astype(np.uint8)
        Image.fromarray(small).resize((280, 230)).save(folder / f"{number}.jpg")
    (folder / "train.csv").write_text(
        "path,score\n" + "".join(f"{n}.jpg,{4 + n % 10 / 4}\n" for n in (0, 1, 2, 3, 4, 5, 90))
    )
    (folder / "test.csv").write_text("6.jpg,5.5\n7.jpg,6.5\n91.jpg,5\n")
    return folder


@pytest.mark.parametrize(
    "train, infer, plot, features",
    [(ava_vanilla, infer_vanilla, plot_vanilla, 1280), (ava_patches, infer_patches, plot_patches, 1280)],
    ids=["vanilla", "patches"],
)
def test_a_model_of_ones_own_pictures_is_trained_predicts_and_is_measured(
    command, tiny_ava, tmp_path, monkeypatch, train, infer, plot, features
):
    run = tmp_path / "run"
    prompt, out, err = command(
        train, "--images", tiny_ava, "--train-labels", tiny_ava / "train.csv", "--test-labels", tiny_ava / "test.csv",
        "--backbone", "none", "--batch-size", 3, "--run", run, "--schedule", "1@1e-3:frozen"
    )  # fmt: skip
    assert len(prompt.session.state.log) == 1
    assert "6 images to train on, 2 to test on" in out
    assert "90.jpg: there is no such file" in err
    mat = tmp_path / "p.mat"
    code, out, _ = command(
        infer, "--labels", tiny_ava / "test.csv", "--images", tiny_ava, "--out", mat, "--weights", run / "best.weights.h5",
        "--runtime", "keras"
    )  # fmt: skip
    assert code == 1
    assert "2 images scored, 1 skipped" in out
    code, out, _ = command(plot, mat, "--json", tmp_path / "m.json", "--figure", tmp_path / "f.png")
    assert code == 0
    starts = ["Got labels: 2", "accuracy:", "Binary accuracy:", "standard deviation of score differences:", "LCC: (",
              "SRCC: SpearmanrResult(", "LCC (std dev): (", "SRCC (std dev): SpearmanrResult(", "EMD L1: ",
              f"{tmp_path / 'f.png'}: p.mat, 2 pictures. (a) "]  # fmt: skip
    lines = [line for line in out.splitlines() if not line.lstrip().startswith("[")]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert set(json.loads((tmp_path / "m.json").read_text())) == {
        "n", "confusion_matrix", "accuracy", "binary_accuracy", "score_difference_std", "lcc", "srcc", "lcc_std",
        "srcc_std", "emd_l1", "krcc", "rmse"
    }  # fmt: skip
    model = infer.load(run / "best.weights.h5", runtime="keras")
    mean, _, histogram = infer.infer(tiny_ava / "6.jpg", model)
    assert histogram.shape == (10,) and 1 <= mean <= 10
    assert infer.features(tiny_ava / "6.jpg", model).shape == (features,)
    code, out, _ = command(infer, tiny_ava / "6.jpg", "--weights", run / "best.weights.h5", "--runtime", "keras", "--json")
    assert sorted(json.loads(out)) == ["histogram", "mean", "path", "percentile", "std"]


def test_histograms_of_a_set_in_which_nothing_could_be_scored_are_empty_histograms(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    images = [RatedImage("a", (0.1,) * 10, tmp_path / "a.jpg")]
    assert score_labelled(infer_vanilla.load(), images, "missing", tmp_path / "p.mat") == Outcome(0, 1)
    read = read_predictions(tmp_path / "p.mat", bins=10)
    assert read.labels.shape == (0, 10)
    assert read.skipped == [("a.jpg", "the file is empty")]


def test_two_labels_of_one_file_are_both_scored(tiny, labelled, tmp_path):
    # AVA's ids and a CSV's paths can name the same file: "7" and "7.jpg".
    images = [LabelledImage("i01", 1, level, 5.0, labelled / "I01_01_1.BMP") for level in (1, 2)]
    assert score_labelled(infer_regression.load(tiny), images, "missing", tmp_path / "p.mat") == Outcome(2, 0)
    assert len(read_predictions(tmp_path / "p.mat").predictions) == 2


def test_training_refuses_an_image_in_both_splits(command, tiny_ava, tmp_path):
    labels = tiny_ava / "train.csv"
    code, _, err = command(
        ava_vanilla, "--images", tiny_ava, "--train-labels", labels, "--test-labels", labels, "--run", tmp_path
    )
    assert code == 2
    assert err.splitlines()[-1].endswith("images in both splits (7): 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg ...")


@pytest.mark.parametrize("script", [idealo_infer, idealo_technical, infer_vanilla, infer_patches], ids=lambda s: s.__name__)
def test_missing_weights_are_one_line_that_says_where_to_get_them(command, tmp_path, script):
    code, out, err = command(script, "--weights", tmp_path / "missing.hdf5")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "there is no such file; " in line


def test_idealos_curve_is_printed(command, shared, save, photograph):
    weights = shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5"
    code, out, _ = command(idealo_distortions, save("p.png", photograph), "--weights", weights)
    assert code == 0
    assert sum(line.startswith("file:") for line in out.splitlines()) == 21


def test_votes_on_another_scale_are_trained_on_and_split_by_group(command, tiny_ava, tmp_path):
    votes = "".join(f"{n}.jpg,{n // 2},{n},{7 - n},1,0,0,2,1\n" for n in range(8))
    (tmp_path / "votes.csv").write_text(f"path,theme,1,2,3,4,5,6,7\n{votes}")
    given = ("--images", tiny_ava, "--train-labels", tmp_path / "votes.csv", "--scale", 1, 7, "--backbone", "none")
    split = ("--test-share", 0.25, "--group-by", "theme", "--run", tmp_path / "run", "--schedule", "1@1e-3:frozen")
    code, out, err = command(ava_vanilla, *given, *split)
    assert code not in (1, 2), err
    assert "6 images to train on, 2 to test on" in out
    code, _, err = command(ava_vanilla, *given, *split, "--test-labels", tiny_ava / "test.csv")
    assert code == 2
    assert err.endswith("error: --test-share and --test-labels do not go together: choose one\n")

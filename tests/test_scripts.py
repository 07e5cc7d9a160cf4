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
    make_training_set,
    plot_patches,
    plot_vanilla,
)
from idealo_comparison import infer as idealo_infer
from idealo_comparison import infer_technical as idealo_technical
from idealo_comparison import test_distortions as idealo_distortions
from iqa.commands import ladders
from iqa.distortions.references import read_crops, read_reference
from iqa.evaluation.predictions import read_predictions
from iqa.files import MADE_BY
from iqa.labels.opinions import Prediction
from iqa.labels.ratings import RatedImage, locate_ratings, read_ratings
from iqa.labels.tid2013 import LabelledImage, across_scenes, read_order
from iqa.scoring.collection import Outcome, score_labelled
from TID2013_regression import (
    average_weights,
    compare_images,
    fit_head,
    infer_regression,
    leave_scenes_out,
    make_clean_ladders,
    make_images,
    make_labels,
    make_ladders,
    plot_regression,
    test_distortions,
    test_distortions_cosine,
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
    _, out, _ = command(plot_regression, file, "--distortion", 10)
    assert out.splitlines()[:2] == [
        "Image i01, labels:[5.973 5.946 4.917 3.216 2.081], predictions:[5.444 5.27  5.001 3.159 2.45 ]",
        "Image i02, labels:[6.    5.972 5.432 3.5   2.714], predictions:[5.32  5.366 5.157 4.338 2.609]",
    ]


def test_figures_go_on_the_card_of_the_weights_that_predicted_and_on_no_other(command, tiny, labelled, tmp_path):
    import shutil

    from iqa.cards import card_of

    card = tmp_path / "card.json"
    shutil.copy(card_of(tiny), card)
    labelled_run(command, tiny, labelled, tmp_path / "p.mat")
    assert command(plot_regression, tmp_path / "p.mat", "--card", card)[0] == 0
    measured = json.loads(card.read_text())["figures"]
    assert measured["grid of at most 24 patches of 224x224, mean of the patches, i01-i02"]["n"] == 3
    card.write_text(json.dumps(json.loads(card.read_text()) | {"sha256": "other"}))
    assert command(plot_regression, tmp_path / "p.mat", "--card", card)[0] == 2


# --- labels, images, ladders, distortions ---------------------------------------------------------------------------


def test_labels_are_written_in_idealos_form(command, labelled, tmp_path):
    code, _, _ = command(make_labels, "--mos", labelled / "mos_with_names.txt", "--out", tmp_path / "l.json")
    rows = json.loads((tmp_path / "l.json").read_text())
    assert code == 0
    assert rows[0]["image_id"] == "i01_01_1"
    assert np.dot(rows[0]["label"], np.arange(10)) == pytest.approx(5)


@pytest.mark.parametrize("kind, deviation", [("absolute", 0.2), ("relative", 0.2 * 5)])
def test_labels_of_1000_bins_have_the_deviation_asked_for(command, labelled, tmp_path, kind, deviation):
    (tmp_path / "std.txt").write_text("0.2\n" * 6)
    command(
        make_labels, "--mos", labelled / "mos_with_names.txt", "--std", tmp_path / "std.txt", "--kind", "normal",
        "--deviation", kind, "--bins", 1000, "--out", tmp_path / "l.json"
    )  # fmt: skip
    label = np.array(json.loads((tmp_path / "l.json").read_text())[0]["label"])
    values = np.linspace(0, 9, 1000)
    mean = label @ values
    assert mean == pytest.approx(5, abs=0.01)
    assert np.sqrt(label @ (values - mean) ** 2) == pytest.approx(deviation, abs=0.01)


@pytest.mark.parametrize(
    "deviations, reason",
    [
        ("0.2\n" * 5, "std.txt has 5 deviations for 6 scores"),
        ("0.2\n" * 5 + "much\n", "std.txt: deviation 6 is not a number above 0: 'much'"),
        ("0\n" * 6, "std.txt: deviation 1 is not a number above 0"),
    ],
)
def test_deviations_that_cannot_be_used_are_refused_by_file(command, labelled, tmp_path, deviations, reason):
    (tmp_path / "std.txt").write_text(deviations)
    code, _, err = command(
        make_labels, "--mos", labelled / "mos_with_names.txt", "--std", tmp_path / "std.txt", "--kind", "normal",
        "--out", tmp_path / "l.json"
    )  # fmt: skip
    assert code == 2
    assert reason in err
    assert not (tmp_path / "l.json").exists()


def test_a_score_without_a_histogram_is_refused_by_name(command, tmp_path):
    (tmp_path / "mos.txt").write_text("5 i01_01_1.bmp\n0 i01_01_2.bmp\n")
    code, _, err = command(make_labels, "--mos", tmp_path / "mos.txt", "--out", tmp_path / "l.json")
    assert code == 2
    assert "i01_01_2: no histogram on 0-9 has the mean 0" in err


def test_a_deviation_without_its_kind_is_an_error_of_usage(command, labelled, tmp_path):
    code, _, err = command(
        make_labels, "--mos", labelled / "mos_with_names.txt", "--deviation", "relative", "--out", tmp_path / "l.json"
    )
    assert code == 2
    assert "--deviation goes with --kind normal" in err


@pytest.mark.parametrize("script", [make_images, make_ladders, make_training_set])
def test_as_many_processes_are_started_as_this_one_may_use_processors(
    command, script, kodak, photograph, save, tmp_path, monkeypatch
):
    class Started(Exception):
        pass

    def start(workers):
        raise Started(workers)

    photos = save("photo.png", photograph).parent
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(ladders if script is make_ladders else script, "ProcessPoolExecutor", start)
    monkeypatch.setattr(make_training_set, "LISTS", {})
    options = {
        make_images: ["--references", kodak, "--mos", kodak / "mos_with_names.txt"],
        make_ladders: ["--photos", photos, "--mos", kodak / "seven.txt"],
        make_training_set: ["--photos", photos],
    }
    (kodak / "seven.txt").write_text((kodak / "mos_with_names.txt").read_text().replace("i02_", "i07_"))
    with pytest.raises(Started, match=r"^1$"):
        command(script, *options[script], "--out", tmp_path / "out")


@pytest.fixture
def kodak(tmp_path):
    from PIL import Image

    folder = tmp_path / "kodak"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (8, 12, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((768, 512), Image.Resampling.BICUBIC).save(folder / "kodim02.png")
    lines = [
        f"{6 - level:.5f} i{r:02d}_{d:02d}_{level}.bmp\n" for r in (1, 2) for d in range(1, 25) for level in range(1, 6)
    ]
    (folder / "mos_with_names.txt").write_text("".join(lines))
    return folder


def test_images_are_made_of_the_references_that_are_there_with_their_published_scores(
    command, kodak, tmp_path, monkeypatch
):
    # Three quick types stand for 24: all of them are tested by themselves.
    from iqa.distortions import table as distortions

    monkeypatch.setattr(make_images, "DISTORTIONS", {n: distortions.DISTORTIONS[n] for n in (1, 10, 16)})
    out = tmp_path / "out"
    killed = out / ".i02_01_1.png.abcd1234"  # sorts before the whole image
    killed.mkdir(parents=True)
    (killed / "i02_01_1.png").touch()
    (out / MADE_BY).write_text("make_images.py")
    mos = kodak / "mos_with_names.txt"
    code, printed, err = command(make_images, "--references", kodak, "--mos", mos, "--out", out, "--workers", 1)
    assert code == 0
    assert not killed.exists()
    assert "missing: kodim01.png, kodim03.png" in err
    assert "15 images of 1 references" in printed
    assert len(list(out.glob("i02_*.png"))) == 15
    labels = (out / "mos_with_names.txt").read_text().splitlines()
    assert labels[0] == "5.00000 i02_01_1.png"
    assert len(labels) == 120


def test_images_are_made_as_strong_as_a_table_says(command, kodak, tmp_path, monkeypatch):
    from iqa.distortions.signal import mean_squared_error
    from iqa.images.reading import read_image

    monkeypatch.setattr(make_images, "DISTORTIONS", {1: make_images.DISTORTIONS[1]})
    table, out = tmp_path / "metrics.csv", tmp_path / "out"
    table.write_text("name,mse\n" + "".join(f"I02_01_{level}.BMP,{20 * level}\n" for level in range(1, 5)))
    options = (
        "--references",
        kodak,
        "--mos",
        kodak / "mos_with_names.txt",
        "--out",
        out,
        "--workers",
        1,
        "--metrics",
        table,
    )
    code, _, err = command(make_images, *options)
    assert code == 2 and "metrics.csv lacks 1 images, first i02_01_5" in err and not out.exists()
    table.write_text(table.read_text() + "i02_01_5.bmp,100\n")
    assert command(make_images, *options)[0] == 0
    reference = read_reference(kodak, 2, read_crops())
    found = [mean_squared_error(reference, read_image(out / f"i02_01_{level}.png")) for level in range(1, 6)]
    np.testing.assert_allclose(found, [20, 40, 60, 80, 100], rtol=0.02)

    rows = [f"i02_01_{level}.bmp,{20 * level},40,1,1,0\n" for level in range(1, 6)]
    table.write_text("name,mse,wsnr,ssim,vif,gmsd\n" + "".join(rows))
    code, printed, _ = command(compare_images, "--images", out, "--references", kodak, "--metrics", table, "--workers", 1)
    assert code == 0 and printed.splitlines()[1].startswith(" 1 additive Gaussian noise")


def test_a_reference_that_is_too_small_is_refused_by_name(command, kodak, save, photograph):
    save("kodak/kodim05.png", photograph)
    mos = kodak / "mos_with_names.txt"
    code, _, err = command(make_images, "--references", kodak, "--mos", mos, "--out", kodak / "out")
    assert code == 2
    assert "kodim05.png: 256x256 pixels do not hold the 512x384" in err


def test_a_table_of_psnr_in_another_form_is_refused_by_line(command, kodak, tmp_path):
    (tmp_path / "psnr.csv").write_text("reference,distortion,level,psnr_db\nI02,1,1,33.1\nI02,1,2,much\n")
    mos = kodak / "mos_with_names.txt"
    code, _, err = command(
        make_images, "--references", kodak, "--mos", mos, "--out", tmp_path / "out", "--psnr", tmp_path / "psnr.csv"
    )
    assert code == 2
    assert "psnr.csv, line 3: not reference,distortion,level,psnr_db" in err


@pytest.mark.parametrize(
    "options, reason",
    [
        (["--levels", "0.1", "5"], "levels 0.1 to 5 do not rise within 0.5-5"),
        (["--levels", "4", "3"], "levels 4 to 3 do not rise within 0.5-5"),
        (["--smallest-scale", "1.5"], "invalid share value: '1.5'"),
        (["--workers", "0"], "invalid positive value: '0'"),
        (["--distortions", "9"], "mos.txt has no scores of distortion 9 to learn from"),
    ],
)
def test_ladders_that_cannot_be_made_are_refused_before_any_work(command, tmp_path, save, photograph, options, reason):
    photos = save("a.png", photograph).parent
    (tmp_path / "mos.txt").write_text("".join(f"{6 - level} i07_01_{level}.bmp\n" for level in range(1, 6)))
    code, _, err = command(
        make_ladders, "--photos", photos, "--mos", tmp_path / "mos.txt", "--out", tmp_path / "out", *options
    )
    assert code == 2
    assert reason in err
    assert not (tmp_path / "out").exists()


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


def test_ladders_begin_untouched_and_their_labels_fall_with_the_strength(command, kodak, tmp_path, photograph, save):
    photos = tmp_path / "photos"
    photos.mkdir()
    mos = tmp_path / "mos.txt"
    mos.write_text((kodak / "mos_with_names.txt").read_text().replace("i02_", "i07_"))
    from PIL import Image

    big = Image.fromarray(photograph).resize((300, 280))
    big.save(photos / "a.jpg")
    big.save(photos / "held.jpg")
    Image.fromarray(photograph[:100]).save(photos / "small.jpg")
    (tmp_path / "held.txt").write_text("held.jpg\n")
    out = tmp_path / "ladders"
    code, printed, err = command(
        make_ladders, "--photos", photos, "--mos", mos, "--out", out, "--exclude", tmp_path / "held.txt",
        "--distortions", 1, "--workers", 1
    )  # fmt: skip
    assert code == 1
    assert "small.jpg: 256x100 pixels are fewer" in err
    assert "10 images of 2 photographs" in printed
    rows = [line.split() for line in (out / "mos_with_names.txt").read_text().splitlines()]
    scores = np.array([float(score) for score, _ in rows]).reshape(2, 5)
    assert (scores[:, 0] == make_ladders.UNTOUCHED_MOS).all()
    assert (np.diff(scores, axis=1) < 0).all()
    assert all((out / name).exists() for _, name in rows)


def test_clean_ladders_are_read_for_their_order_and_small_photographs_are_named(command, tmp_path, photograph, save):
    from PIL import Image

    photos, out = tmp_path / "photos", tmp_path / "clean"
    photos.mkdir()
    Image.fromarray(photograph).resize((600, 520)).save(photos / "a.jpg")
    Image.fromarray(photograph).resize((500, 400)).save(photos / "small.jpg")
    code, printed, err = command(make_clean_ladders, "--photos", photos, "--out", out, "--per-photo", 2, "--workers", 1)
    assert code == 1
    assert "small.jpg: 500x400 pixels are too few for 256 at scale 0.55" in err
    assert "10 images of 2 photographs" in printed
    found = read_order(out)
    assert [(ladder[0].distortion, len(ladder)) for ladder in found] == [(1, 5), (10, 5)]
    assert np.asarray(Image.open(found[0][0].path)).shape == (256, 256, 3)


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


def test_ladders_are_judged_by_how_people_scored_other_scenes(command, tmp_path, monkeypatch, photograph, save):
    from PIL import Image

    monkeypatch.setattr(make_ladders, "SCENES", 3)
    kodak, tid, photos = (tmp_path / name for name in ("kodak", "tid", "photos"))
    for folder in (kodak, tid, photos):
        folder.mkdir()
    Image.fromarray(photograph).resize((300, 280)).save(photos / "a.jpg")
    rng, lines = np.random.default_rng(0), []
    for scene in range(7, 13):
        coarse = rng.integers(0, 255, (12 * scene, 12 * scene, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((768, 768), Image.Resampling.BICUBIC).save(kodak / f"kodim{scene:02d}.png")
        reference = read_reference(kodak, scene, read_crops())
        for level in range(1, 6):
            Image.fromarray(make_ladders.distort(reference, 1, level)).save(tid / f"i{scene:02d}_01_{level}.png")
            lines.append(f"{6 - level + (scene - 9.5) / 4:.5f} i{scene:02d}_01_{level}.bmp\n")
    (tid / "mos_with_names.txt").write_text("".join(lines))
    arguments = [
        "--photos", photos, "--mos", tid / "mos_with_names.txt", "--distortions", 1, "--workers", 1, "--per-photo", 1
    ]  # fmt: skip
    command(make_ladders, *arguments, "--out", tmp_path / "typical")
    judge = ["--tid", tid, "--references", kodak]
    code, printed, _ = command(make_ladders, *arguments, *judge, "--out", tmp_path / "judged")
    assert code == 0
    assert "scenes left out: LCC 0." in printed
    scores = [
        np.array([float(line.split()[0]) for line in (tmp_path / name / "mos_with_names.txt").read_text().splitlines()])
        for name in ("typical", "judged")
    ]
    assert scores[0][0] == scores[1][0] == make_ladders.UNTOUCHED_MOS
    assert (scores[0] != scores[1])[1:].any() and (np.diff(scores[1]) <= 0).all()

    (tid / "i07_01_3.png").unlink()
    (kodak / "kodim08.png").unlink()
    code, _, err = command(make_ladders, *arguments, *judge, "--out", tmp_path / "again")
    assert code == 0 and "missing: i07, i08" in err
    monkeypatch.setattr(make_ladders, "SCENES", 5)
    code, _, err = command(make_ladders, *arguments, *judge, "--out", tmp_path / "none")
    assert code == 2 and "fewer than 5 whole scenes to judge by" in err
    code, _, err = command(make_ladders, *arguments, "--tid", tid, "--out", tmp_path / "none")
    assert code == 2 and "--tid and --references go together" in err


@pytest.mark.parametrize("script", [test_distortions, test_distortions_cosine])
def test_distortion_experiments_print_a_row_a_picture_and_draw_a_figure(command, tiny, save, photograph, script, tmp_path):
    figure = tmp_path / "f.png"
    code, out, _ = command(script, save("p.png", photograph), "--weights", tiny, "--figure", figure)
    assert code == 0
    assert sum(line.startswith("file:") for line in out.splitlines()) == 21
    assert figure.stat().st_size > 10_000


def test_a_folder_of_one_scene_is_compared_with_its_shortest_name(command, tiny, tmp_path, photograph):
    from PIL import Image

    scene = tmp_path / "scene"
    scene.mkdir()
    for name, quality in (("res80", 80), ("res", 95), ("res40", 40)):
        Image.fromarray(photograph).save(scene / f"{name}.jpg", quality=quality)
    _, out, _ = command(test_distortions_cosine, scene, "--weights", tiny)
    rows = out.splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["file:res.jpg", "file:res40.jpg", "file:res80.jpg"]
    assert rows[0].endswith("cos: 0.000000")


@pytest.mark.parametrize("script", [test_distortions, test_distortions_cosine])
def test_a_bad_file_in_a_scene_is_named_and_the_others_are_scored(command, tiny, tmp_path, save, photograph, script):
    scene = tmp_path / "scene"
    scene.mkdir()
    save("scene/a.png", photograph)
    save("scene/a80.png", photograph)
    (scene / "a40.png").write_bytes(b"")
    code, out, err = command(script, scene, "--weights", tiny)
    assert code == 1
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == ["file:a.png", "file:a80.png"]
    assert err.splitlines() == ["a40.png: the file is empty"]


def test_no_distance_is_measured_from_a_picture_that_is_distorted(command, tiny, tmp_path, save, photograph):
    (tmp_path / "scene").mkdir()
    save("scene/a80.png", photograph)
    (tmp_path / "scene/a.png").write_bytes(b"")
    code, out, err = command(test_distortions_cosine, tmp_path / "scene", "--weights", tiny)
    assert (code, "cos" in out) == (2, False)
    assert "a.png: it could not be scored, and the others are compared with it" in err


def test_a_figure_of_an_unknown_kind_is_one_line_and_exit_code_2(shared, tmp_path):
    script = ROOT / "TID2013_regression/plot_regression.py"
    result = python(script, shared / "golden/tid_wtf_regression.mat", "--figure", tmp_path / "f.xyz")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "xyz" in result.stderr


def test_the_prompt_comes_after_a_success_under_python_i(shared):
    script = ROOT / "TID2013_regression/plot_regression.py"
    result = python("-i", script, shared / "golden/tid_wtf_regression.mat", input="print('prompt')\n")
    assert "prompt" in result.stdout


def test_the_share_of_ordered_pairs_is_counted_over_the_photographs_listed(command, tiny, tmp_path, save, photograph):
    save("p.png", photograph)
    (tmp_path / "list.txt").write_text("p.png\n")
    code, out, _ = command(test_distortions, "--photos", tmp_path, "--list", tmp_path / "list.txt", "--weights", tiny)
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == ["JPEG", "blur", "white noise", "JPEG2000", "mean"]


def test_averaged_weights_are_the_mean_and_score(command, weights, tmp_path, photograph):
    import shutil
    from dataclasses import replace

    from iqa.cards import card_of, read_card
    from iqa.models.networks import build_from_card
    from iqa.models.weight_files import load_weights, save_with_card

    card = replace(read_card(card_of(weights)), training={})
    model = build_from_card(card)
    load_weights(model, weights)
    save_with_card(model, tmp_path / "best.weights.h5", card)
    shutil.copy(tmp_path / "best.weights.h5", tmp_path / "epoch-001.weights.h5")
    first = model.get_weights()
    model.set_weights([weight + 2 for weight in first])
    save_with_card(model, tmp_path / "epoch-002.weights.h5", card)
    epochs = [tmp_path / f"epoch-00{n}.weights.h5" for n in (1, 2)]
    code, _, _ = command(average_weights, *epochs, "--out", tmp_path / "mean.weights.h5")
    assert code == 0
    load_weights(model, tmp_path / "mean.weights.h5")
    assert all(np.allclose(mean, weight + 1, atol=1e-5) for mean, weight in zip(model.get_weights(), first, strict=True))
    assert isinstance(
        infer_regression.infer(photograph, infer_regression.load(tmp_path / "mean.weights.h5", runtime="keras")), float
    )


@pytest.fixture
def two_epochs(weights, tmp_path):
    """Two epochs of runs of their own, each with its best.json; change(fact, part) rewrites the card of the second."""
    import shutil
    from dataclasses import replace

    from iqa.cards import card_of, read_card
    from iqa.files import write_json

    epochs = [tmp_path / run / "epoch-001.weights.h5" for run in ("first", "second")]
    for epoch in epochs:
        epoch.parent.mkdir()
        shutil.copy(weights, epoch)
        shutil.copy(card_of(weights), epoch.with_name("best.json"))

    def change(**parts):
        card = read_card(card_of(weights))
        changed = {name: replace(getattr(card, name), **facts) for name, facts in parts.items()}
        write_json(epochs[1].with_name("best.json"), replace(card, **changed).to_json())

    return epochs, change


@pytest.mark.parametrize(
    "part, fact, value",
    [
        ("backbone", "padding", "symmetric"),
        ("backbone", "normalisation", "imagenet"),
        ("head", "levels", ("block_1_expand_relu",)),
        ("preprocessing", "multiple", 16),
    ],
)
def test_epochs_of_different_networks_are_not_averaged(command, two_epochs, tmp_path, part, fact, value):
    epochs, change = two_epochs
    change(**{part: {fact: value}})
    code, _, err = command(average_weights, *epochs, "--out", tmp_path / "mean.weights.h5")
    assert code == 2
    assert f"{epochs[1].with_name('best.json')}: {part}.{fact} is {value!r}" in err
    assert not (tmp_path / "mean.weights.h5").exists()


def test_a_checkpoint_of_other_shapes_is_named_and_not_averaged(command, two_epochs, tmp_path):
    import keras

    epochs, change = two_epochs
    change(backbone={"noise": 0.1}, head={"dropout": 0.5})  # which matter in training alone
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(epochs[1])
    code, _, err = command(average_weights, *epochs, "--out", tmp_path / "mean.weights.h5")
    assert code == 2
    assert f"{epochs[1]}: not the weights of this model" in err
    assert not (tmp_path / "mean.weights.h5").exists()


def test_an_average_is_not_written_over_one_of_its_epochs(command, two_epochs):
    epochs, _ = two_epochs
    before = epochs[0].read_bytes()
    code, _, err = command(average_weights, *epochs, "--out", epochs[0])
    assert code == 2
    assert "would be overwritten" in err
    assert epochs[0].read_bytes() == before


@pytest.mark.parametrize(
    "name, reason", [("ava_vanilla", "a histogram network of whole pictures"), ("no_such", "there is no such file")]
)
def test_a_head_is_fitted_to_a_regression_network_alone(command, labelled, tmp_path, name, reason):
    arguments = ["--images", labelled, "--weights", name, "--out", tmp_path / "fitted.weights.h5"]
    code, _, err = command(fit_head, *arguments)
    assert code == 2
    assert reason in err


def test_a_head_is_widened_and_fitted_alone(command, weights, tmp_path, photograph, monkeypatch):
    from PIL import Image

    from iqa.cards import card_of, read_card
    from iqa.models.heads import LEVELS
    from iqa.models.networks import build_from_card
    from iqa.models.weight_files import load_weights
    from iqa.training import head_fit

    folder = tmp_path / "tid"
    folder.mkdir()
    names = [f"i{scene:02d}_01_{level}.png" for scene in (4, 7, 8, 9, 10) for level in range(1, 6)]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(photograph, 16 * number, axis=1) // (1 + number % 5)).save(folder / name)
    (folder / "i09_01_3.png").write_bytes(b"")
    Image.fromarray(photograph[:100]).save(folder / "i10_01_1.png")
    (folder / "mos_with_names.txt").write_text("".join(f"{6 - n % 5} {name}\n" for n, name in enumerate(names)))
    monkeypatch.setattr(head_fit, "BATCH", 1)
    common = ["--images", folder, "--ladders", folder, "--epochs", 3]
    first, second = tmp_path / "first.weights.h5", tmp_path / "second.weights.h5"
    code, out, err = command(fit_head, *common, "--weights", weights, "--out", first)
    assert code == 0, err
    assert [line.split(":")[0] for line in out.splitlines()[:2]] == ["TID2013", "photographs"]
    assert err.count("i09_01_3.png: the file is empty") == err.count("i10_01_1.png: 256x100 pixels are fewer") == 2
    code, out, err = command(fit_head, *common, "--across", folder, "--weights", first, "--out", second, "--seed", 1)
    assert code == 0, err
    assert "different photographs: loss" in out
    card = read_card(card_of(second))
    assert card.training["head"]["ladders of different photographs"] == 5
    assert card.head.levels == LEVELS
    assert card.training["head"]["seed"] == 1
    assert infer_regression.load(second, runtime="keras").geometry.preprocessing.multiple == head_fit.MULTIPLE
    before, after = build_from_card(card), build_from_card(card)
    load_weights(before, first)
    load_weights(after, second)
    changed = {
        layer.name
        for layer, other in zip(before.layers, after.layers, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))
    }
    assert changed == {"features", "score"}


def test_each_scene_is_predicted_by_a_head_that_has_not_seen_it(command, weights, tmp_path, photograph, monkeypatch):
    from PIL import Image

    from iqa.training import head_fit

    folder, scenes = tmp_path / "tid", (1, 2, 3, 4)
    folder.mkdir()
    lines = []
    for scene in scenes:
        for level in range(1, 6):
            name = f"i{scene:02d}_01_{level}.png"
            Image.fromarray(np.roll(photograph, 40 * scene, axis=1) // level).save(folder / name)
            # Darker is worse, except in the first scene: whoever had seen that would know.
            lines.append(f"{level if scene == 1 else 7 - level} {name}\n")
    (folder / "mos_with_names.txt").write_text("".join(lines))
    monkeypatch.setattr(head_fit, "BATCH", 1)
    out = tmp_path / "folds.mat"
    options = ("--images", folder, "--weights", weights, "--folds", 4, "--epochs", 30, "--dropout", 0, "--out", out)
    code, said, err = command(leave_scenes_out, *options)
    assert code == 0, err
    assert [line for line in said.splitlines() if line.startswith("fold")] != []
    read = read_predictions(out)
    assert len(read.labels) == 20
    predictions = {name: score for name, score in zip(read.filenames, read.predictions, strict=True)}
    assert predictions["i01_01_1.png"] > predictions["i01_01_5.png"]


def test_a_head_is_not_fitted_to_scenes_that_are_left_out(command, weights, labelled, tmp_path):
    (labelled / "mos_with_names.txt").write_text("".join(f"5 i01_01_{level}.bmp\n" for level in range(1, 6)))
    code, _, err = command(fit_head, "--images", labelled, "--weights", weights, "--out", tmp_path / "fitted.weights.h5")
    assert code == 2
    assert "holds no ladders to learn from" in err


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


def test_a_models_opinion_becomes_labels_to_train_on(command, shared, tiny_ava, tmp_path):
    weights = shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5"
    code, out, _ = command(idealo_infer, "--labels-out", tmp_path / "l.json", tiny_ava, "--weights", weights)
    assert code == 0
    assert "8 images labelled" in out
    located = locate_ratings(read_ratings(tmp_path / "l.json"), tiny_ava)
    assert [image.path.name for image in located] == [f"{n}.jpg" for n in range(8)]
    model = idealo_infer.load(weights)
    assert located[3].mean == pytest.approx(idealo_infer.infer(tiny_ava / "3.jpg", model).mean, abs=1e-5)


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

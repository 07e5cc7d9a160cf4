"""AVA/compare_with_people.py, the teacher's features, and frames in which there is nothing to judge."""

import csv
import json

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from AVA import compare_with_people, distill, infer_vanilla, make_training_set
from idealo_comparison import infer as idealo
from iqa.cards import card_of, read_card
from iqa.images.geometry import warn_if_flat
from iqa.labels.percentiles import quantiles
from iqa.scoring.scorer import load_scorer


@pytest.fixture
def flat(save):
    """A black frame, and one with the noise of a lens cap."""
    noise = np.random.default_rng(0).normal(20, 1.5, (300, 400, 3)).round().astype(np.uint8)
    return [save("black.png", np.zeros((300, 400, 3), np.uint8)), save("cap.png", noise)]


def test_a_flat_frame_is_scored_with_a_warning_and_a_photograph_without(flat, photograph, save):
    scorer = load_scorer("ava_vanilla", head="histogram")
    paths = [*flat, save("photo.png", photograph)]
    alone = [scorer.score(path).warning for path in paths]
    assert alone == ["nearly one flat colour: the score says little"] * 2 + [None]
    assert [prediction.warning for _, prediction in scorer.score_all(paths, workers=2)] == alone


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_frame_scores_below_nearly_all_photographs(level):
    frame = np.full((300, 400, 3), level, np.uint8)
    assert load_scorer("ava_vanilla", head="histogram").score(frame).score < quantiles("predicted")[5]


def test_little_text_on_a_white_page_is_not_flat():
    page = np.full((1, 224, 224, 3), 255, np.uint8)
    page[:, 101:107, 20:200] = 0
    assert warn_if_flat(page) is None
    assert warn_if_flat(np.full_like(page, 255))


def test_the_warning_stands_in_every_row_and_file(flat, command, tmp_path):
    code, out, _ = command(infer_vanilla, flat[0], "--json")
    assert (code, json.loads(out)["warning"]) == (0, "nearly one flat colour: the score says little")
    _, out, _ = command(infer_vanilla, flat[0])
    assert out.endswith("\twarning: nearly one flat colour: the score says little\n")
    command(infer_vanilla, *flat, "--out", tmp_path / "s.csv")
    with open(tmp_path / "s.csv", newline="") as file:
        assert [row["warning"][:11] for row in csv.DictReader(file)] == ["nearly one "] * 2
    command(infer_vanilla, *flat, "--out", tmp_path / "s.jsonl")
    assert all("warning" in json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines())


def test_the_teacher_has_a_row_and_the_others_their_correlation_with_it(command, shared, photograph, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(np.roll(photograph, 40 * number, axis=number % 2)).save(folder / f"{number}.png")
    (tmp_path / "votes.csv").write_text("path,score\n" + "".join(f"{n}.png,{4 + n}\n" for n in range(4)))
    weights = shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5"
    given = ("--images", folder, "--votes", tmp_path / "votes.csv", "--weights", "ava_vanilla", "--teacher", weights)
    code, out, err = command(compare_with_people, *given, "--bootstrap", 20)
    assert code == 0, err
    first, second = out.splitlines()[1:]
    assert "SRCC with the teacher" in first
    assert second.startswith("  the teacher's mean opinion")


def test_agreement_with_people_is_that_of_scipy_over_the_pictures_that_are_there(command, photograph, tmp_path):
    folder, rows = tmp_path / "pictures", []
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.roll(photograph, 40 * number, axis=number % 2)).save(folder / f"{number}.png")
        rows.append([f"{number}.png", *np.random.default_rng(number).integers(0, 9, 7)])
    rows.append(["gone.png", *range(7)])
    with open(tmp_path / "votes.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", *range(1, 8)], *rows])
    given = ("--images", folder, "--votes", tmp_path / "votes.csv", "--scale", 1, 7, "--weights", "ava_vanilla")
    code, out, errors = command(compare_with_people, *given, "--json", tmp_path / "f.json", "--bootstrap", 50)
    assert code == 0
    assert "6 of the 7 pictures" in errors
    votes = np.array([row[1:] for row in rows[:6]], float)
    scorer = load_scorer("ava_vanilla", head="histogram")
    scores = [scorer.score(folder / f"{number}.png").score for number in range(6)]
    expected = stats.spearmanr(votes @ np.arange(1, 8) / votes.sum(axis=1), scores)[0]
    found = json.loads((tmp_path / "f.json").read_text())["ava_vanilla"]
    assert found["srcc"] == pytest.approx(expected)
    assert found["n"] == 6
    assert f"SRCC {expected:.3f}" in out


def test_the_teachers_features_are_written_in_the_order_of_its_labels(command, shared, photograph, tmp_path):
    folder, weights = tmp_path / "pictures", shared / "idealo/weights_mobilenet_aesthetic_0.07.hdf5"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(np.roll(photograph, 40 * number, axis=0)).save(folder / f"{number}.png")
    outputs = ("--labels-out", tmp_path / "l.json", "--features-out", tmp_path / "f.npy")
    code, _, errors = command(idealo, folder, *outputs, "--weights", weights)
    assert code == 0, errors
    names = [row["image_id"] for row in json.loads((tmp_path / "l.json").read_text())]
    features = np.load(tmp_path / "f.npy")
    assert (features.dtype, features.shape) == (np.float16, (3, 1024))
    for name, row in zip(names, features, strict=True):
        expected = idealo.features(folder / name, model=idealo.load(weights))
        np.testing.assert_allclose(row, expected, atol=2e-2)


def test_blank_frames_are_flat_and_differ():
    frames = [make_training_set.blank_frame(seed) for seed in range(40)]
    assert all(warn_if_flat(frame[None]) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) > 25


def test_a_student_learns_a_teachers_opinions_and_features_and_goes_on_from_there(command, photograph, tmp_path):
    folder, rows, rng = tmp_path / "pictures", [], np.random.default_rng(0)
    folder.mkdir()
    for number in range(9):
        Image.fromarray(np.roll(photograph, 30 * number, axis=0)).save(folder / f"{number}.png")
        rows.append({"image_id": f"{number}.png", "label": rng.dirichlet(np.ones(10)).tolist()})
    (folder / "3.png").write_bytes(b"broken")
    (tmp_path / "l.json").write_text(json.dumps(rows))
    (tmp_path / "held_out.txt").write_text("1.png\n")
    (tmp_path / "votes.csv").write_text("image_id,score\n2,7.5\n")
    np.save(tmp_path / "f.npy", rng.normal(size=(9, 6)).astype(np.float16))
    given = ["--images", folder, "--labels", tmp_path / "l.json", "--features", tmp_path / "f.npy", "--batch-size", 4]
    given += ["--exclude", tmp_path / "held_out.txt", "--votes", tmp_path / "votes.csv"]
    first, second = tmp_path / "first.weights.h5", tmp_path / "second.weights.h5"
    code, out, err = command(distill, *given, "--size", 64, "--backbone", "none", "--out", first)
    assert code == 0, err
    assert "7 photographs to learn from, 1 of them with people's votes; 1 unusable" in out
    assert "3.png" in err
    late = ["--frozen-until", "block_6_project_BN", "--often", "pictures=2"]
    code, _, err = command(distill, *given, *late, "--weights", first, "--epochs", 0.5, "--steady", 10, "--out", second)
    assert code == 0, err
    with h5py.File(first) as before, h5py.File(second) as after:
        kernels = [f"layers/conv2d{f'_{number}' if number else ''}/vars/0" for number in range(35)]
        stayed = [np.array_equal(before[name], after[name]) for name in kernels]
    assert stayed == [True] * 14 + [False] * 21  # block_6 ends with the fourteenth
    viewed, views = tmp_path / "viewed.weights.h5", tmp_path / "views.f16"
    for out in (viewed, tmp_path / "fourth.weights.h5"):  # the second run finds the views
        also = ["--steady", 10, "--views", views, "--mirrored"]
        code, _, err = command(distill, *given, *late, "--weights", first, *also, "--out", out)
        assert code == 0, err
    assert [read_card(card_of(weights)).preprocessing.flip_averaging for weights in (first, second, viewed)] == [
        False,
        False,
        True,
    ]
    assert ("views.f16 will have" in err, views.stat().st_size) == (False, 7 * 4 * 14 * 14 * 64 * 2)
    with h5py.File(first) as before, h5py.File(viewed) as after:
        assert [np.array_equal(before[name], after[name]) for name in kernels] == stayed
    code, _, err = command(
        distill, *given, *late, "--weights", first, "--seed", 1, "--views", views, "--out", first, "--overwrite"
    )
    assert code == 2 and "views.f16: not the views of these photographs" in err
    assert command(distill, *given, "--weights", first, "--views", views, "--out", tmp_path / "x.weights.h5")[0] == 2
    card = read_card(card_of(second))
    assert (card.preprocessing.size, card.scale.population, card.trained_on["images"]) == (224, "AVA", 7)
    assert load_scorer(second, head="histogram", runtime="keras").score(photograph).score > 1
    assert command(distill, *given, "--epochs", 1.5, "--out", second)[0] == 2
    unknown = ["--backbone", "none", "--frozen-until", "block_99"]
    code, _, err = command(distill, *given, *unknown, "--out", tmp_path / "third.weights.h5")
    assert code == 2
    assert "block_99: the network has no such layer" in err

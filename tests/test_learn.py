"""A score of one's own ratings: what is learned, what is promised, and the command from stars to a ranking."""

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.stats import spearmanr

from iqa.commands import iqa
from iqa.errors import LabelError
from iqa.scoring import many
from iqa.scoring.layer import LayerCard, Weights, write_layer
from iqa.scoring.learning import group, learn
from iqa.scoring.results import Result
from iqa.scoring.sidecars import rate

NAMES, WIDTH = ["quality", "beauty", "technical"], 60
RUNTIME = ("--runtime", "litert", "--workers", "0")


def pictures(count, seed=0, **more):
    """Results with random features, of which the first are beauty and technical, and a quality between these two."""
    seen = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return [
        Result(Path(f"{n}.jpg"), {"quality": float(row[:2].mean()), "beauty": float(row[0]), "technical": float(row[1])},
               features={"quality": row}, **more)
        for n, row in enumerate(seen)
    ]  # fmt: skip


def flat_layer():
    zeros, ones = np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32)
    return Weights(zeros, ones, zeros[:, None], zeros[:1], ones[:1], np.zeros((2, 1)), np.linspace(-2, 2, 101))


def seen_of(results):
    return np.stack([[result.scores["quality"], *result.features["quality"]] for result in results])


def test_what_ratings_have_in_common_is_learned_and_its_worth_is_measured_on_other_pictures():
    taste, noise = np.r_[0.3, np.zeros(20), np.ones(6), np.zeros(WIDTH - 27)], np.random.default_rng(1).normal(size=200)
    known, new = pictures(200), pictures(300, seed=2)
    ratings = seen_of(known)[:, 1:] @ taste + noise
    weights, figures = learn(known, ratings.tolist(), [None] * 200, flat_layer(), NAMES)
    found = spearmanr(weights.score(seen_of(new)), seen_of(new)[:, 1:] @ taste + np.random.default_rng(3).normal(size=300))[
        0
    ]
    low, high = figures["after_95"]
    assert low < found < high and figures["gain_95"][0] > 0.2 and figures["before"] < 0.5
    assert list(figures["curve"]) == ["45", "90", "180"] and [*figures["curve"].values()] == sorted(
        figures["curve"].values()
    )


def test_where_ratings_follow_a_score_that_ships_it_is_what_is_fallen_back_on():
    known, new = pictures(60), pictures(100, seed=2)
    ratings = [result.scores["technical"] + 0.05 * np.sin(7 * n) for n, result in enumerate(known)]
    weights, figures = learn(known, ratings, [None] * 60, flat_layer(), NAMES)
    assert figures["best"] == "technical" and abs(figures["gain"]) < 0.02
    assert spearmanr(weights.score(seen_of(new)), [result.scores["technical"] for result in new])[0] > 0.98


def test_bursts_given_groups_folders_and_pictures_that_look_alike_are_kept_together():
    start, found = datetime(2024, 5, 1, 10, 0, 7), pictures(40)
    timed = [
        Result(Path("a", f"{n}.jpg"), taken=start + timedelta(seconds=40 * n if n < 3 else 9000 * n)) for n in range(40)
    ]
    numbers = group(timed, seen_of(found), [None] * 38 + ["x", "x"])
    assert len({*numbers[:3]}) == 1 and numbers[38] == numbers[39] and len({*numbers}) == 37
    folders = [Result(Path(f"{n % 12}", f"{n}.jpg")) for n in range(40)]
    assert len({*group(folders, seen_of(found), [None] * 40)}) == 12
    alike = seen_of(found)
    alike[1] = alike[0] * 1.01
    assert len({*group(timed[5:] + timed[:5], alike, [None] * 40)}) == 37
    with pytest.raises(LabelError, match="the pictures are of 1 bursts or groups only"):
        learn(found, [1.0, 2.0] * 20, ["x"] * 40, flat_layer(), NAMES)


@pytest.fixture(scope="module")
def rated(photograph, tmp_path_factory):
    """A folder of 36 pictures that somebody rated by how bright they are, one of them twice, and two without stars."""
    folder = tmp_path_factory.mktemp("rated")
    for number in range(38):
        light, shift = 0.2 + 1.3 * ((7 * number) % 36) / 36, 5 * number
        image = ImageEnhance.Brightness(Image.fromarray(np.roll(photograph, shift, axis=number % 2)[:230])).enhance(light)
        image.save(folder / f"{number}.jpg")
        if number < 36:
            rate(folder / f"{number}.jpg", 1 + int(((7 * number) % 36) / 7.3), ours=False)
    rate(folder / "36.jpg", 5)  # stars that we gave
    return folder


def test_a_folder_with_stars_makes_a_score_that_leads_and_ranks(command, rated, tmp_path, monkeypatch):
    mine = tmp_path / "mine.npz"
    code, out, err = command(iqa, "learn", rated, "--out", mine, *RUNTIME)
    assert code == 0, out + err
    assert "36 pictures with stars, 2 without" in out and re.search(r"gain +\+0\.\d\d  \[", out)
    assert "36 of 36 images (100 %)" in err
    monkeypatch.setattr(many, "score_pictures", lambda *_: pytest.fail("scored again"))
    assert command(iqa, "learn", rated, "--out", mine, *RUNTIME)[0] == 0
    monkeypatch.undo()
    code, out, err = command(iqa, rated, "--model", mine, "--top", 38, "--json", *RUNTIME)
    rows = [json.loads(line) for line in out.splitlines()]
    assert list(rows[0])[:4] == ["path", "mine", "mine_std", "quality"]
    scores = [row["mine"] for row in rows]
    assert code == 0 and scores == sorted(scores, reverse=True) and 1 <= scores[-1] < scores[0] <= 5
    light = [(7 * int(Path(row["path"]).stem)) % 36 for row in rows]
    assert spearmanr(light, scores)[0] > 0.8
    assert re.search(r"38 pictures: mine \d\.\d\d to \d\.\d\d, median ", err)
    _, out, _ = command(iqa, rated, "--model", mine, "--by", "technical", "--top", 9, "--json", *RUNTIME)
    by = [json.loads(line)["technical"] for line in out.splitlines()]
    assert by == sorted(by, reverse=True)


def test_too_few_ratings_and_models_of_other_networks_or_names_are_refused(command, rated, tmp_path, csv_file):
    table = csv_file("path,1,2,3,4,5\n" + "".join(f"{n}.jpg,0,{n},1,0,{9 - n}\n" for n in range(9)))
    code, _, err = command(iqa, "learn", table, "--images", rated, *RUNTIME)
    assert code == 2 and "9 rated pictures, 9 different ratings: 30 pictures are needed" in err
    card = LayerCard.from_json({"scale": {"lowest": 1, "highest": 5}, "stands_on": {"biq2021_quality": "0" * 64}})
    for name, said in (("mine", "fitted on other weights"), ("quality", "is the name of another column")):
        write_layer(tmp_path / f"{name}.npz", card, flat_layer())
        code, _, err = command(iqa, rated / "1.jpg", "--model", tmp_path / f"{name}.npz", *RUNTIME)
        assert code == 2 and said in err

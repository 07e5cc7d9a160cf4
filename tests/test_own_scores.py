"""Scores of one's own on any scale: training on them, cross-validation, the prompt's search for a learning rate."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image
from tiny_training import CARD, SIZE, make_ladders, network, see, tiny_prompt

from AVA import ava_vanilla
from iqa.cards import card_of, read_card
from iqa.commands.folds import Fold, cross_validate, format_folds, summarise
from iqa.errors import RunError
from iqa.labels.ratings import RatedImage
from iqa.training.rate_range import spread_rates, try_rates
from iqa.training.run_state import PhaseRecord
from iqa.training.schedule import Phase, parse_schedule
from iqa.training.trainer import Trainer
from TID2013_regression import infer_regression, tid2013_regression


@pytest.fixture(autouse=True)
def no_events(monkeypatch):
    monkeypatch.setattr(Trainer, "writes_events", False)


@pytest.fixture(scope="module")
def ladders(tmp_path_factory):
    return make_ladders(tmp_path_factory.mktemp("ladders"))


@pytest.fixture
def own(tmp_path, photograph):
    """Eight pictures of four scenes with scores of 0-100, and columns that look like votes."""
    folder = tmp_path / "own"
    folder.mkdir()
    rows = ["image_name,scene,MOS,1,2,3"]
    for number in range(8):
        Image.fromarray(np.roll(photograph, 16 * number, axis=1) // (1 + number % 3)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,scene {number // 2},{90 - 10 * number},5,6,7")
    (folder / "scores.csv").write_text("\n".join([*rows, ""]))
    return folder


def train(command, own, run, *options):
    given = ("--images", own, "--train-labels", own / "scores.csv", "--scale", 0, 100, "--backbone", "none")
    return command(tid2013_regression, *given, "--batch-size", 4, "--run", run, *options)


# --- the script ------------------------------------------------------------------------------------------------------


def test_the_regression_is_trained_on_any_scores_with_groups_whole_and_scores_with_its_card(command, own, tmp_path):
    run = tmp_path / "run"
    split = ("--test-share", 0.25, "--group-by", "scene", "--patches", 2, "--schedule", "1@1e-3:frozen:cosine")
    prompt, out, err = train(command, own, run, *split)
    assert "8 images, scores from 20 to 90 on a scale of 0-100" in out, err
    assert "6 images to train on, 2 to test on" in out
    trainer = prompt.session.trainer
    assert len({image.group for image in trainer.test_data.images}) == 1
    pixels, labels = trainer.train_data[0]
    assert pixels.shape == (4, 224, 224, 3)  # two patches of two pictures
    assert labels[0] == labels[1] and 0 <= labels.min() <= labels.max() <= 9
    assert {"lcc", "srcc", "val_lcc", "val_srcc"} <= trainer.state.log[0].keys()
    card = read_card(card_of(run / "best.weights.h5"))
    assert card.scale.name == "scores.csv, 0-9" and "0-100 mapped linearly to 0-9" in card.scale.meaning
    assert card.trained_on["images"] == 6

    labelled = ("--labels", own / "scores.csv", "--scale", 0, 100, "--images", own, "--out", tmp_path / "m.mat")
    code, _, err = command(infer_regression, "--weights", run / "best.weights.h5", *labelled, "--runtime", "keras")
    assert code == 0, err
    from iqa.evaluation.predictions import read_predictions

    read = read_predictions(tmp_path / "m.mat")
    assert read.provenance["scale"] == "scores.csv, 0-9"
    assert read.labels[0] == pytest.approx(8.1)


def test_a_split_that_stands_in_the_file_is_kept(command, own, tmp_path):
    table = (own / "scores.csv").read_text().splitlines()
    parts = ["set", "training", "training", "validation", "training", "test", "training", "test", "training"]
    (own / "scores.csv").write_text("\n".join(f"{row},{part}" for row, part in zip(table, parts, strict=True)))
    prompt, out, err = train(command, own, tmp_path / "run", "--split-by", "set")
    assert "in neither split: validation: 1" in out, err
    trainer = prompt.session.trainer
    assert [image.name for image in trainer.test_data.images] == ["4.png", "6.png"]
    assert "5 images to train on, 2 to test on" in out


@pytest.mark.parametrize(
    "options, reason",
    [
        ([], "a .csv of scores needs --test-share, --split-by, --test-labels or --folds: what to test on"),
        (["--test-share", 0.2, "--folds", 2], "--test-share and --folds do not go together: choose one"),
        (["--test-share", 0.2, "--seeds", 2], "--seeds repeats --folds, and there is no --folds"),
        (["--folds", 1], "--folds must be at least 2, got 1"),
        (["--folds", 2], "--folds trains unattended and needs a --schedule"),
        (["--test-share", 0.2, "--ranking", 1], "--ranking does not go with a .csv of scores"),
        (["--test-share", 0.2, "--ladders", "x"], "--ladders does not go with a .csv of scores"),
        (["--test-share", 0.2, "--test-images", "x"], "--test-images is the folder of --test-labels"),
        (["--test-share", 0.2, "--scale", 0, 50], "line 2: a score of 90 is not within 0-50"),
        (["--test-share", 0.2, "--group-by", "nobody"], "line 1: there is no column 'nobody'"),
        (["--split-by", "scene"], "no row says train... in the column of the splits"),
        (["--split-by", "scene", "--group-by", "scene"], "--split-by and --group-by do not go together"),
        (["--test-share", 0.2, "--test-split", "dev"], "--test-split names rows of --split-by"),
        (["--test-share", 0.2, "--ranking", 0], "--ranking does not go with a .csv of scores"),
        (["--folds", 5, "--group-by", "scene", "--schedule", "1@1e-3"], "5 folds need at least as many groups"),
    ],
)
def test_what_cannot_be_done_with_a_table_of_scores_is_said_in_one_line(command, own, tmp_path, options, reason):
    code, _, err = train(command, own, tmp_path / "run", *options)
    assert code == 2
    assert reason in err.splitlines()[-1]


def test_options_for_tables_of_scores_are_refused_with_tid2013s_labels(command, tmp_path):
    code, _, err = command(tid2013_regression, "--images", tmp_path, "--test-share", 0.2, "--run", tmp_path / "run")
    assert (code, err.count("--test-share does not go with TID2013's labels")) == (2, 1)
    code, _, err = command(infer_regression, tmp_path, "--scale", 0, 100)
    assert (code, err.count("--scale is that of scores in a .csv")) == (2, 1)
    code, _, err = command(ava_vanilla, "--images", tmp_path, "--folds", 2, "--test-share", 0.2)
    assert (code, err.count("--test-share and --folds do not go together")) == (2, 1)


# --- folds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folds(ladders, tmp_path):
    """folds(**changes) -> the figures of a cross-validation of a tiny network; `folds.built` are the runs it trained."""
    from iqa.training.batches import Evaluation, Photographs
    from iqa.training.losses import LadderLoss
    from iqa.training.metrics import score_metrics
    from iqa.training.prompt import Prompt
    from iqa.training.run_folder import RunFolder
    from iqa.training.session import Beginning, Session
    from iqa.training.trainer import Objective
    from iqa.training.usable import fingerprint

    pictures = [image for ladder in ladders for image in ladder]
    images = [RatedImage(image.name, image.mos, image.path) for image in pictures]
    built = []

    def prepare(arguments, training, testing):
        built.append(arguments.run.name)
        trainer = Trainer(
            network(),
            Photographs(training, 10, lambda pixels, rng: pixels[:SIZE, :SIZE], arguments.seed),
            Evaluation(testing, 10, see),
            Objective(LadderLoss(steps=1, weight=0.0), score_metrics()),
            CARD,
            RunFolder(arguments.run),
        )
        return Prompt(Session(trainer, Beginning({"training set": fingerprint(training)}, {}, arguments.seed)), see)

    def validate(**changes):
        arguments = {"folds": 2, "seeds": 2, "seed": 3, "run": tmp_path / "run", "resume": False}
        cross_validate(argparse.Namespace(**arguments | changes), parse_schedule("1@1e-2:cosine"), images, prepare)
        return json.loads((tmp_path / "run/folds.json").read_text())

    validate.built = built
    return validate


def test_every_picture_is_tested_once_for_each_seed_and_the_spread_is_told(folds, capsys):
    found = folds()
    assert folds.built == [f"seed-{seed}-fold-{fold}" for seed in (3, 4) for fold in (1, 2)]
    assert [fold["tested_on"] for fold in found["folds"]] == [15] * 4
    lcc = np.array([fold["after"]["lcc"] for fold in found["folds"]]).reshape(2, 2)
    assert found["after"]["lcc"] == pytest.approx(lcc.mean())
    assert found["after"]["lcc over folds"] == pytest.approx(np.sqrt(lcc.var(axis=1, ddof=1).mean()))
    assert found["after"]["lcc over seeds"] == pytest.approx(lcc.mean(axis=1).std(ddof=1))
    out = capsys.readouterr().out
    for text in ("seed 4, fold 2 of 2: 15 images to train on, 15 to test on", "mean", "+- over folds", "+- over seeds"):
        assert text in out


def test_folds_that_are_finished_are_not_trained_again(folds, tmp_path):
    first = folds(seeds=1)
    with pytest.raises(RunError, match=r"holds a run: resume it \(--resume\)"):
        folds(seeds=1)
    (tmp_path / "run/seed-3-fold-2/phases.json").unlink()
    folds.built.clear()
    again = folds(seeds=1, resume=True)
    assert again["folds"][:1] == first["folds"][:1]
    assert again["after"]["mse"] == pytest.approx(first["after"]["mse"], rel=1e-4)
    assert folds.built == ["seed-3-fold-2"]


def test_a_table_of_folds_has_means_and_spreads_and_no_spread_over_one_seed():
    made = [Fold(0, n, 8, 2, {"mse": 2.0, "srcc": 0.1}, {"mse": 1.0, "srcc": 0.1 * n}) for n in (1, 2, 3)]
    lines = format_folds(made).splitlines()
    assert lines[0].split() == ["seed", "fold", "images", "mse", "srcc"]
    assert lines[4].split() == ["mean", "2.000", ">", "1.000", "0.100", ">", "0.200"]
    assert lines[5].endswith("0.000 > 0.100") and "over folds" in lines[5]
    assert len(lines) == 6
    assert summarise(made)["after"]["srcc over seeds"] is None


# --- a learning rate that falls on a cosine --------------------------------------------------------------------------


def test_a_cosine_is_part_of_a_schedule():
    assert parse_schedule("3@1e-4:cosine") == [Phase(1e-4, 3, cosine=True)]
    assert parse_schedule("3@1e-4:cosine:frozen") == parse_schedule("3@1e-4:frozen:cosine")
    text = "1@0.001:frozen:cosine,4@5e-07:cosine"
    assert ",".join(map(str, parse_schedule(text))) == text


def test_the_learning_rate_of_a_cosine_phase_falls_to_nothing_and_a_resumed_one_goes_on_where_it_was(ladders, tmp_path):
    phases = parse_schedule("3@1e-2:cosine")
    whole = tiny_prompt(ladders, tmp_path / "whole").session
    whole.run_schedule(phases)
    rates = [row["learning_rate"] for row in whole.state.log]
    assert rates == pytest.approx([1e-2 * (1 + np.cos(np.pi * n / 3)) / 2 for n in (1, 2, 3)], abs=1e-8)
    assert (whole.state.phases[0].asked, whole.state.phases[0].rate) == ("3@0.01:cosine", "0.01:cosine")

    stopped = tiny_prompt(ladders, tmp_path / "run").session
    end = type(stopped.trainer).end_epoch

    def stop(trainer, *arguments, **settings):
        end(trainer, *arguments, **settings)
        trainer.interrupt.asked = len(trainer.state.log) == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "end_epoch", stop)
        assert not stopped.run_schedule(phases)
    resumed = tiny_prompt(ladders, tmp_path / "run").session
    assert resumed.resume() and resumed.run_schedule(phases)
    assert resumed.state.log[-1]["loss"] == pytest.approx(whole.state.log[-1]["loss"], rel=1e-5)
    assert resumed.state.log[-1]["learning_rate"] == pytest.approx(0, abs=1e-8)


# --- the search for a learning rate ----------------------------------------------------------------------------------


def test_the_search_for_a_rate_changes_nothing_and_suggests_one_that_learns(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-3)
    session = prompt.session

    def facts():
        model, data = session.model, session.trainer.train_data
        variables = [v.numpy().tolist() for v in (*model.variables, *model.optimizer.variables)]
        files = sorted(path.name for path in tmp_path.iterdir())
        return variables, session.state.to_json(), (data.epoch, data.steps), files, model.optimizer

    before, layers = facts(), [layer.trainable for layer in session.model.layers]
    capsys.readouterr()
    rate = prompt.find_rate(1e-5, 10, steps=40)
    out = capsys.readouterr().out
    assert facts() == before and [layer.trainable for layer in session.model.layers] == layers
    assert 1e-4 < rate < 1
    assert f"suggested learning rate: {rate:g}" in out
    loss = prompt.evaluate()["loss"]
    prompt.fit(rate, epochs=3)
    assert prompt.evaluate()["loss"] < loss


def test_what_is_no_range_is_refused_at_the_prompt(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    assert prompt.find_rate(1, 1e-3) is None
    assert "the rates must rise from above 0, got 1 to 0.001" in capsys.readouterr().out
    assert prompt.find_rate(steps=3) is None
    assert "a range test needs at least 10 steps, got 3" in capsys.readouterr().out


def test_a_tenth_of_the_rate_of_the_lowest_loss_is_suggested_and_the_test_ends_where_the_loss_diverges():
    rates = spread_rates(1e-6, 1, 61)
    found = try_rates(rates, lambda rate: 0.1 + (np.log10(rate) + 3) ** 2 / 10 if rate < 0.05 else 1e6)
    assert 1e-3 <= found.lowest < 1e-2  # the smoothed loss lags behind
    assert found.suggested == pytest.approx(found.lowest / 10, rel=0.5)
    assert found.falls and len(found.rates) < 61
    assert not try_rates(rates, lambda rate: 1.0).falls
    ended = try_rates(rates, lambda rate: 1.0 if rate < 1e-3 else float("nan"))
    assert max(ended.rates) < 1e-3


# --- the tables of the prompt ----------------------------------------------------------------------------------------


def test_the_table_of_phases_fits_a_hundred_columns_whatever_was_done():
    from iqa.training.prompt import phase_table

    names = ("loss", "emd", "accuracy", "binary_accuracy", "first_moment", "second_moment", "lcc", "srcc")
    figures = {name: 12.3456 for name in names}
    given = ["EarlyStopping", "ReduceLROnPlateau", "LambdaCallback", "BackupAndRestore", "CSVLogger"]
    phases = [
        PhaseRecord.of(phase, callbacks=given, before=figures, after=figures, steps=143_730, seconds=360_000.0)
        for phase in parse_schedule("until-plateau@1e-5:frozen,250@1.25e-5:frozen:cosine")
    ]
    lines = phase_table(phases).splitlines()
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    for shown in (*names, *given, "1.25e-05:cosine", "12.3456 > 12.3456", "0/250", "6000:00"):
        assert shown in text


def test_the_bars_of_the_curve_are_labelled_and_undone_epochs_marked(ladders, tmp_path, capsys):
    prompt = tiny_prompt(ladders, tmp_path)
    prompt.fit(1e-2, epochs=2)
    prompt.fit(1e-2)
    prompt.undo()
    prompt.fit(1e-2)
    capsys.readouterr()
    prompt.curve()
    heading, *rows, last = capsys.readouterr().out.rstrip().splitlines()
    values = [row["val_lcc"] for row in prompt.session.state.log]
    assert f"val_lcc, {min(values):.4f} to {max(values):.4f}" in heading and "val_srcc" in heading
    assert [row.split()[0] for row in rows] == ["1", "2", "3x", "4"]
    assert last == "x: undone"
    assert max(map(len, [heading, *rows])) <= 100
    prompt.curve(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_text().count("<!-- undone -->") == 3

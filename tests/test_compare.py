import json
import re

import numpy as np
import pytest
from scipy import io

from AVA import plot_patches
from idealo_comparison import compare
from iqa.evaluation.predictions import Predictions, write_predictions
from TID2013_regression import plot_regression


@pytest.fixture
def votes():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(10, 3.0), 300)
    near, far = (truth + rng.gamma(1, noise, truth.shape) for noise in (0.01, 0.2))
    names = [f"{number}.jpg" for number in range(1000, 1300)]
    return truth, *(side / side.sum(axis=1, keepdims=True) for side in (near, far)), names


@pytest.fixture
def files(votes, tmp_path):
    truth, near, far, names = votes
    order = np.random.default_rng(1).permutation(300)[:290]
    write_predictions(tmp_path / "near.mat", Predictions(truth, near, names))
    write_predictions(tmp_path / "far.mat", Predictions(truth[order], far[order], [names[i] for i in order]))
    return tmp_path / "near.mat", tmp_path / "far.mat"


def test_a_clear_difference_is_found_and_has_its_sign(command, files, tmp_path):
    code, out, err = command(compare, *files, "--json", tmp_path / "c.json", "--figure", tmp_path / "c.svg")
    assert (code, out.startswith("290 images in all files")) == (0, True)
    assert f"{files[0]}: 10 of 300 images are not in all files" in err
    found = json.loads((tmp_path / "c.json").read_text())
    rows = {row["metric"]: row for row in found["differences"]}
    assert rows["lcc"]["verdict"] == rows["emd_l1"]["verdict"] == "differs"
    assert rows["lcc"]["better"] == rows["emd_l1"]["better"] == "first"
    assert rows["lcc"]["p"] <= rows["lcc"]["p_holm"] < 0.001
    assert rows["lcc"]["lower"] > 0 > rows["emd_l1"]["upper"]
    assert rows["srcc"]["williams_p"] < 1e-6 < rows["srcc"]["williams_t"]
    value, lower, upper = found["models"][str(files[0])]["krcc"]
    assert lower < value < upper
    for text in (out, (tmp_path / "c.svg").read_text()):
        assert "LCC, higher is better" in text and "EMD L1, lower is better" in text
    assert "differs: first is better" in out
    _, out, _ = command(compare, *reversed(files), "--bootstrap", 50)
    assert "differs: second is better" in out and "first is better" not in out


def test_a_rescaled_model_differs_in_its_errors_and_not_in_its_correlations():
    rng = np.random.default_rng(11)
    true = rng.normal(5, 1, 120)
    predicted = 5 + 0.7 * (true - 5) + 0.5**0.5 * rng.normal(0, 1, 120)
    sides = {"one.mat": (true, predicted), "rescaled.mat": (true, 3 * predicted)}
    matched = compare.Matched([f"scene{number}_01_1" for number in range(120)], sides, {})
    verdicts = {row["metric"]: row["verdict"] for row in compare.compare_models(matched, 100)[2]}
    assert verdicts["lcc"] == verdicts["srcc"] == "cannot be told apart"
    assert verdicts["rmse"] == "differs"


def test_a_model_that_always_says_the_same_has_no_correlation_to_compare(command, tmp_path):
    names = [f"i{scene:02d}_01_{level}.bmp" for scene in range(1, 9) for level in range(1, 6)]
    mos = np.random.default_rng(12).uniform(1, 8, len(names))
    write_predictions(tmp_path / "flat.mat", Predictions(mos, np.full(len(mos), 5.0), names))
    write_predictions(tmp_path / "good.mat", Predictions(mos, mos + 0.1 * np.sin(mos * 9), names))
    code, out, _ = command(compare, tmp_path / "flat.mat", tmp_path / "good.mat", "--json", tmp_path / "c.json")
    assert code == 0 and "not defined" in out
    rows = {row["metric"]: row for row in json.loads((tmp_path / "c.json").read_text())["differences"]}
    assert rows["lcc"]["p"] is rows["lcc"]["difference"] is rows["lcc"]["williams_t"] is None
    assert rows["rmse"]["verdict"] == "differs"


def test_the_originals_files_are_matched_by_the_ids_in_their_labels_and_do_not_differ_from_their_copies(
    command, shared, tmp_path
):
    content = io.loadmat(shared / "golden/wtf_patches.mat")
    order = np.random.default_rng(0).permutation(len(content["labels"]))[:2000]
    io.savemat(tmp_path / "shuffled.mat", {name: content[name][order] for name in ("labels", "predictions")})
    golden = shared / "golden/wtf_patches.mat"
    code, out, _ = command(compare, golden, tmp_path / "shuffled.mat", "--bootstrap", 20, "--json", tmp_path / "c.json")
    assert code == 0
    assert out.startswith("2000 images in all files")
    found = json.loads((tmp_path / "c.json").read_text())["differences"]
    assert {(row["verdict"], row["p_holm"]) for row in found} == {("identical predictions", 1)}


def test_files_that_cannot_be_matched_are_refused(command, votes, files, tmp_path):
    truth, near, _, names = votes
    twice = [f"folder{number % 2}/{number // 2}.jpg" for number in range(len(truth))]
    write_predictions(tmp_path / "twice.mat", Predictions(truth, near, twice))
    write_predictions(tmp_path / "other.mat", Predictions(truth[::-1], near, names))
    write_predictions(tmp_path / "scores.mat", Predictions(near[:, 0], near[:, 0], names))
    for name, reason in (
        ("twice.mat", "two images have the id 0"),
        ("other.mat", "other.mat: its labels are not those of"),
        ("scores.mat", "one holds histograms, the other scores"),
    ):
        code, _, err = command(compare, files[0], tmp_path / name)
        assert (code, reason in err) == (2, True)


@pytest.fixture
def tid(tmp_path):
    def write(scenes):
        rng = np.random.default_rng(2)
        names = [f"i{s:02d}_{d:02d}_{level}.bmp" for s in range(1, scenes + 1) for d in (1, 2) for level in range(1, 6)]
        mos = rng.uniform(1, 8, len(names))
        write_predictions(tmp_path / "tid.mat", Predictions(mos, mos + rng.normal(0, 1, len(names)), names))
        return tmp_path / "tid.mat"

    return write


def test_intervals_are_printed_below_the_originals_table(command, files):
    _, out, _ = command(plot_patches, files[0], "--bootstrap", 50, "--logistic")
    table, _, below = out.partition("EMD L1")
    assert table.startswith("Got labels: 300") and "95 %" not in table
    assert "LCC after VQEG's four-parameter logistic" in below
    assert "95 % intervals (50 resamples of images):" in below
    assert "KRCC" in below and "(analytic)" in below
    _, without, _ = command(plot_patches, files[0], "--bootstrap", 0)
    assert "95 %" not in without


def test_of_few_scenes_each_is_printed_and_the_interval_is_for_them_only(command, tid):
    _, out, _ = command(plot_regression, tid(3), "--bootstrap", 50, "--distortions")
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("i0")] == ["i01", "i02", "i03"]
    assert "for these 3 scenes only" in out
    assert "distortion  1" in out and "between" not in out


def test_of_many_scenes_scenes_are_resampled_and_each_type_has_an_interval(command, tid):
    _, out, _ = command(plot_regression, tid(24), "--bootstrap", 50, "--distortions")
    assert "50 resamples of the 24 scenes" in out
    (line,) = [line for line in out.splitlines() if line.startswith("distortion  1:")]
    found = re.search(r"LCC (-?[\d.]+), .*LCC between (-?[\d.]+) and (-?[\d.]+)", line)
    lcc, low, high = map(float, found.groups())
    assert low < lcc < high

"""The scripts as a user meets them: what they print, their exit codes, and what they leave behind."""

import json
import re
import subprocess
import sys

from AVA import plot_patches
from TID2013_regression import plot_regression


def test_plot_prints_the_originals_table_and_writes_json_and_figure(command, shared, tmp_path):
    file = shared / "golden/tid_wtf_regression.mat"
    code, out, _ = command(plot_regression, file, "--json", tmp_path / "m.json", "--figure", tmp_path / "f.png")
    lines = out.splitlines()
    assert code == 0
    assert lines[:2] == ["Got labels: 360", "Confusion matrix:"]
    # The published table has the first bin last; otherwise it is this one.
    published = [[1, 0, 0, 0, 0, 0], [3, 6, 2, 0, 0, 0], [1, 1, 21, 1, 0, 0], [0, 0, 13, 65, 13, 1], [0, 0, 1, 13, 55, 28]]
    published.append([0, 0, 0, 0, 17, 78])
    assert [[int(count) for count in re.findall(r"\d+", line)[:6]] for line in lines[2:8]] == published
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


def test_plot_of_histograms_prints_the_originals_lines_and_writes_its_figures(command, shared, tmp_path):
    file = shared / "golden/wtf_patches.mat"
    code, out, err = command(plot_patches, file, "--json", tmp_path / "m.json", "--figure", tmp_path / "f.png")
    assert code == 0, err
    starts = (
        "Got labels: ", "accuracy:", "Binary accuracy:", "standard deviation of score differences:",
        "LCC: (", "SRCC: SpearmanrResult(", "LCC (std dev): (", "SRCC (std dev): SpearmanrResult(", "EMD L1: "
    )  # fmt: skip
    lines = [line for line in out.splitlines() if not line.lstrip().startswith("[")]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=False)), lines
    assert out.splitlines()[-1].startswith(f"{tmp_path / 'f.png'}: wtf_patches.mat, ")
    assert set(json.loads((tmp_path / "m.json").read_text())) == {
        "n", "confusion_matrix", "accuracy", "binary_accuracy", "score_difference_std", "lcc", "srcc", "lcc_std",
        "srcc_std", "emd_l1", "krcc", "rmse"
    }  # fmt: skip


def test_a_figure_of_an_unknown_kind_is_one_line_and_exit_code_2(command, shared, tmp_path):
    code, _, err = command(plot_regression, shared / "golden/tid_wtf_regression.mat", "--figure", tmp_path / "f.xyz")
    assert code == 2 and err.count("\n") == 1 and "xyz" in err


def test_the_prompt_comes_after_a_success_under_python_i(shared):
    line = [sys.executable, "-i", plot_regression.__file__, shared / "golden/tid_wtf_regression.mat"]
    result = subprocess.run(line, capture_output=True, text=True, input="print('prompt')\n")
    assert "prompt" in result.stdout

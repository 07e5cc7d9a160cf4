"""What all commands have in common: errors and bugs, exit codes, the prompt."""

import subprocess
import sys
from pathlib import Path

import pytest

from iqa.commands.terminal import run
from iqa.errors import ImageError, UsageError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "error", [UsageError("epochs must be at least 1, got 0"), ImageError("x"), FileNotFoundError(2, "No such file", "x")]
)
def test_our_own_errors_and_those_of_files_are_one_line_and_exit_code_2(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"error: {error}")


@pytest.mark.parametrize("bug", [ValueError("operands could not be broadcast"), TypeError("x"), KeyError("x")])
def test_a_bug_shows_its_traceback(bug):
    def main():
        raise bug

    with pytest.raises(type(bug)) as shown:
        run(main)
    assert shown.value is bug


def test_ctrl_c_ends_with_130():
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 130


def test_under_python_i_a_mistake_is_one_line_without_a_prompt():
    script = ROOT / "TID2013_regression/tid2013_regression.py"
    command = [sys.executable, "-i", script, "--images", ROOT, "--batch-size", "0"]
    result = subprocess.run(command, input="print('prompt')\n", capture_output=True, text=True)
    assert result.returncode == 2
    assert "--batch-size" in result.stderr.splitlines()[-1]
    assert "prompt" not in result.stdout and "Traceback" not in result.stderr

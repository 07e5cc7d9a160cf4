"""The wheel as other projects get it: its weights and tables are in it, and its `infer` needs nothing of the checkout."""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from iqa.images.finding import sample_photograph
from TID2013_regression import infer_regression

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("iqa", "AVA", "BIQ2021", "TID2013_regression", "idealo_comparison", "weights")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with what a wheel of this checkout holds."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", source, source]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_a_wheel_holds_all_that_the_packages_hold(unpacked):
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".md", ".mat"):
                place = unpacked / ("iqa/weights" if package == "weights" else package)
                assert (place / path.relative_to(ROOT / package)).is_file(), path


def test_infer_of_a_wheel_scores_with_the_weights_in_it_and_without_keras(unpacked, tmp_path):
    script = (
        "import sys, iqa; sys.modules['tensorflow'] = sys.modules['keras'] = None;"
        "from TID2013_regression import infer_regression; print(iqa.__file__);"
        "print(infer_regression.infer(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, sample_photograph()]
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    where, score = result.stdout.split()
    assert Path(where).is_relative_to(unpacked)
    assert float(score) == infer_regression.infer(sample_photograph())


CLIENT = """
from pathlib import Path
from AVA.infer_vanilla import infer
from iqa import ImageError, Score, score_many
from TID2013_regression import infer_regression

def rank(folder: Path) -> list[tuple[float, str]]:
    found: list[tuple[float, str]] = []
    for result in score_many(sorted(folder.glob("*.jpg")), workers=2):
        if result.error:
            print(result.path, result.error)
        elif result.beauty and result.beauty.percentile:
            found.append((result.beauty.percentile, str(result.path)))
    return found

def judge(content: bytes) -> tuple[float, float] | None:
    try:
        score: Score = infer(content, timeout=5)
        mean, std, histogram = score
        return mean + std + float(histogram[0]), infer_regression.infer(content, crop="centre")
    except ImageError:
        return None
"""

MISUSES = {
    "infer(3)": 'incompatible type "int"',
    'infer("photo.jpg", "ava_vanilla")': 'incompatible type "str"; expected "Scorer | None"',
    'score_many([3], workers="2")': 'incompatible type "str"; expected "int | None"',
    "next(score_many([])).beauty.mean": 'has no attribute "mean"',
    "from iqa import score_mny": 'has no attribute "score_mny"',
}


def test_a_client_of_the_wheel_is_checked_by_mypy(unpacked, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "installed.pth").write_text("\n".join([str(unpacked), *site.getsitepackages()]))
    (tmp_path / "client.py").write_text(CLIENT)
    misuses = "\n".join(["from AVA.infer_vanilla import infer", "from iqa import score_many", *MISUSES])
    (tmp_path / "misuses.py").write_text(misuses)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", environment / "bin/python"]
    done = subprocess.run([*command, "client.py", "misuses.py"], cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert not [line for line in said if line.startswith("client.py")]
    for number, message in enumerate(MISUSES.values(), start=3):
        assert [line for line in said if line.startswith(f"misuses.py:{number}: ") and message in line], message

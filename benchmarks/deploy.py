"""How near the scripts of docs/deploy.md come to `infer`, which they use nothing of.

    python benchmarks/deploy.py data/photos --pictures 200

Each script is taken from the page as it stands, and scores the same pictures in a process of its own.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from iqa.cards import shipped_weights
from iqa.commands import export
from iqa.commands.terminal import parser_of, positive, run
from iqa.errors import ImageError
from iqa.images.finding import list_images
from iqa.scoring.scorer import load_scorer

PAGE = Path(__file__).resolve().parent.parent / "docs/deploy.md"

#: {name of shipped weights: their head}.
MODELS = {"ava_vanilla": "histogram", "ava_patches": "histogram", "tid2013_regression": "regression"}

#: Scripts of the page, and the models that each is tried with: LiteRT's ship, the others are exported here.
CALLS = [
    *(("score_litert.py", name) for name in MODELS),
    *((f"score_{runtime}.py", "ava_vanilla") for runtime in ("onnx", "openvino", "keras")),
]


def read_scripts() -> dict[str, str]:
    """The scripts on the page, {name: text}."""
    page = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^```python (\w+\.py)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))


def unpack(folder: Path) -> None:
    """Write what the page says that a deployer has: its scripts, the files that ship, and the exported ones."""
    for name, text in read_scripts().items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in MODELS:
        for suffix in (".tflite", ".json"):
            shutil.copy(shipped_weights(name).with_name(f"{name}{suffix}"), folder)
    for format, suffix in (("onnx", ".onnx"), ("openvino", ".xml"), ("saved_model", "")):
        options = ["--input", "uint8", "--format", format, "--out", str(folder / f"ava_vanilla{suffix}")]
        before, sys.argv = sys.argv, ["export", "ava_vanilla", *options]
        try:
            export.main()
        finally:
            sys.argv = before


def score(folder: Path, script: str, name: str, paths: list[Path]) -> list[float]:
    """What a script in the folder of `unpack` says of pictures with a model."""
    command = [sys.executable, script, name, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr}")
    return [float(line.split()[0]) for line in done.stdout.splitlines()]


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=positive, default=200)
    arguments = parser.parse_args()
    scorers = {name: load_scorer(name, head=head) for name, head in MODELS.items()}
    expected: dict[Path, dict[str, float]] = {}
    for path in list_images(arguments.folder):
        if len(expected) < arguments.pictures:
            with suppress(ImageError):  # too small, for example
                expected[path.resolve()] = {name: scorer.score(path).score for name, scorer in scorers.items()}
    paths = list(expected)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(folder)
        print(f"\n{len(paths)} pictures\n\n| script | model | largest difference | mean |\n|---|---|---|---|")
        for script, model in CALLS:
            found = np.array(score(folder, script, model, paths))
            difference = np.abs(found - [expected[path][model] for path in paths])
            print(f"| `{script}` | `{model}` | {difference.max():.1e} | {difference.mean():.1e} |", flush=True)
    return 0


if __name__ == "__main__":
    run(main)

"""The pages: their figures are those of the model cards, and their Python passes the type checker."""

import re
import runpy
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent


def test_every_figure_on_the_pages_is_on_a_model_card():
    check = runpy.run_path(str(ROOT / "docs/check_numbers.py"))
    assert all(page == filled for page, filled in map(check["fill"], check["CARDS"]))
    assert check["find_stale"]() == []


def test_python_on_the_pages_passes_the_type_checker(tmp_path):
    for page in ("README.md", "docs/scoring.md"):
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
        (tmp_path / f"{Path(page).stem}_page.py").write_text("\n".join(blocks), encoding="utf-8")
    config = ("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"))
    printed, errors, code = api.run([*config, "--strict", "--follow-imports=silent", *map(str, tmp_path.iterdir())])
    assert code == 0, printed + errors

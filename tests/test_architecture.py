"""The rule of imports, which docs/architecture.md explains, and the size of what is written."""

import ast
import json
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

from iqa.evaluation.predictions import Predictions, write_predictions

ROOT = Path(__file__).resolve().parent.parent
SCRIPT_FOLDERS = ("AVA", "TID2013_regression", "idealo_comparison", "data", "docs", "benchmarks")

#: From the floor to the scripts. What stands on one step may import from the steps below, and from its own room alone.
STEPS = (
    ("errors", "files", "cards", "environment"),
    ("images", "labels"),
    ("models", "evaluation", "distortions"),
    ("scoring", "training"),
    ("commands",),
)
FLOOR = STEPS[0]

#: Modules of iqa that are run like scripts.
RUN_AS_SCRIPTS = ("iqa.__main__", "iqa.export")

LONGEST_FUNCTION, LONGEST_MODULE = 60, 400


def name_module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def find_modules():
    """{module: path} of the library and the scripts."""
    folders = [path for folder in ("iqa", *SCRIPT_FOLDERS) for path in sorted((ROOT / folder).rglob("*.py"))]
    return {name_module(path): path for path in folders}


@cache
def parse(module):
    return ast.parse(find_modules()[module].read_text(encoding="utf-8"))


@cache
def list_imports(module):
    """The modules of this project that a module imports anywhere, within functions too: {(module, name or None)}."""
    found = set()
    package = module if find_modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add((inner, None) if inner in find_modules() else (source, alias.name))
    beside = {
        name.rpartition(".")[2]: name for name in find_modules() if name.rpartition(".")[0] == package and is_script(name)
    }
    if is_script(module):  # a script finds those beside it by their bare names
        found = {(beside.get(source, source), name) for source, name in found}
    return {(source, name) for source, name in found if source in find_modules() and source != module}


def is_script(module):
    return module in RUN_AS_SCRIPTS or module.split(".")[0] != "iqa"


def name_room(module):
    """The room of a module of iqa; "" of iqa itself."""
    return [*module.split("."), ""][1]


def find_step(module):
    if is_script(module):
        return len(STEPS)
    return next((step for step, rooms in enumerate(STEPS) if name_room(module) in rooms), 0)


@pytest.mark.parametrize("module", [name for name in find_modules() if name != "iqa"])
def test_imports_go_down_the_steps_and_never_across(module):
    if not is_script(module):
        assert any(name_room(module) in rooms for rooms in STEPS), f"{module} stands in no room"
    step = find_step(module)
    for source, _ in sorted(list_imports(module), key=str):
        own = not is_script(module) and not is_script(source) and name_room(source) == name_room(module)
        floor = name_room(module) in FLOOR and name_room(source) in FLOOR
        package = is_script(source) and find_modules()[source].name == "__init__.py"
        benchmarks = module.startswith("benchmarks.") and source.startswith("benchmarks.")  # which lie in no package
        assert own or floor or package or benchmarks or find_step(source) < step, f"{module} imports {source}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: {source for source, _ in list_imports(module)} for module in find_modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", find_modules())
def test_what_is_imported_is_there(module):
    for source, name in sorted(list_imports(module), key=str):
        if name is not None and name != "*":
            bound = list_names(source)
            assert name in bound or "__getattr__" in bound, f"{module}: {source} has no {name}"


@cache
def list_names(module):
    """What a module binds at its top level, under `if` and `try` as well."""
    names, blocks = set(), [parse(module).body]
    for block in blocks:
        for node in block:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            else:
                names |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
                parts = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
                blocks += [*parts, *(handler.body for handler in getattr(node, "handlers", []))]
    return names


def test_no_function_is_longer_than_a_screen():
    long = {}
    for module in find_modules():
        for node in ast.walk(parse(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{module}.{node.name}"] = lines
    assert not long


def test_no_module_is_longer_than_can_be_kept_in_mind():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in find_modules().items()}
    assert not {name: count for name, count in lines.items() if name.startswith("iqa") and count > LONGEST_MODULE}


# --- what a process loads -------------------------------------------------------------------------------------------

# Runs scripts one after the other in one process, and names those that load what they should not, or fail.
RUNNER = """
import contextlib, io, json, os, runpy, sys
for script, *arguments in json.loads(sys.argv[1]):
    sys.argv, sys.path[0] = [script, *arguments], os.path.dirname(script)
    out, code = io.StringIO(), 0
    with contextlib.redirect_stdout(out):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as stop:
            code = stop.code
    heavy = sorted({"tensorflow", "keras", "jax"} & set(sys.modules))
    if code or heavy or not out.getvalue():
        sys.exit(f"{script} {arguments}: exit code {code}, loaded {heavy}, printed {out.getvalue()!r}")
    if arguments == ["--help"] and not out.getvalue().startswith("usage:"):
        sys.exit(f"{script}: {out.getvalue()!r}")
"""


def run_scripts(calls, folder):
    texts = [[str(part) for part in call] for call in calls]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(texts)], capture_output=True, text=True, cwd=folder, env=os.environ
    )
    assert done.returncode == 0, done.stderr


def list_scripts():
    """The files that are run."""
    return [path for path in find_modules().values() if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")]


def test_help_of_every_script_loads_no_heavy_library(tmp_path):
    run_scripts([(path, "--help") for path in list_scripts()], tmp_path)


def test_plots_and_comparisons_load_no_heavy_library(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"i{scene:02d}_01_{level}.bmp" for scene in range(1, 7) for level in range(1, 6)]
    votes, mos = rng.dirichlet(np.ones(10), len(names)), rng.uniform(1, 8, len(names))
    write_predictions(tmp_path / "votes.mat", Predictions(votes, rng.dirichlet(np.ones(10), len(names)), names))
    for name in ("mos.mat", "other.mat"):
        write_predictions(tmp_path / name, Predictions(mos, mos + rng.normal(0, 1, len(mos)), names))
    options = ("--bootstrap", 20, "--figure", tmp_path / "f.png", "--json")
    plots = ("AVA/plot_vanilla.py", "AVA/plot_patches.py", "idealo_comparison/plot.py")
    calls = [(ROOT / script, tmp_path / "votes.mat", *options, tmp_path / "m.json") for script in plots]
    mos = (tmp_path / "mos.mat", tmp_path / "other.mat")
    calls.append((ROOT / "TID2013_regression/plot_regression.py", mos[0], *options, tmp_path / "m.json"))
    calls.append((ROOT / "idealo_comparison/compare.py", *mos, *options, tmp_path / "c.json"))
    run_scripts(calls, tmp_path)


def test_the_page_of_the_rooms_names_every_module():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = {
        f"iqa.{room}.{module}"
        for room, row in re.findall(r"^\| `iqa/(\w+)` \|[^|]*\|(.*)\|$", page, re.MULTILINE)
        for module in re.findall(r"`(\w+)`", row)
    }
    there = {module for module in find_modules() if module.count(".") == 2 and module.startswith("iqa.")}
    assert there - named == set() == named - there

"""The documentation site: every page of the repository, as GitHub shows it, and a reference made from the docstrings.

    sphinx-build -W --keep-going -c docs -b html . site        # then open site/index.html
    sphinx-build -W --keep-going -c docs -b linkcheck . site   # asks the internet whether the links are alive

The pages are Markdown (MyST) and link to each other with relative paths, so the same links work on GitHub and on the site.
A link to a page, heading or file that is missing is a warning, and warnings are errors.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "Image quality assessment"
author = "the authors of the image quality assessment project"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "weights/*.md", "data/README.md", "benchmarks/README.md"]

myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = project
html_theme_options = {"light_css_variables": {"code-font-size": "0.78rem"}}

#: The order of the pages beside the text; README.md itself lists them in its own words.
PAGES = {
    "Use": ["docs/scoring", "docs/own-ratings", "docs/reading-the-numbers", "docs/deploy"],
    "Train": ["docs/training", "docs/prompt", "docs/own-pictures", "data/README"],
    "Models": [
        "weights/README",
        *sorted(f"weights/{page.stem}" for page in ROOT.glob("weights/[!R]*.md")),
        "docs/experiments",
    ],
    "Code": ["docs/reference", "docs/scripts", "docs/architecture", "CONTRIBUTING", "benchmarks/README", "CHANGELOG"],
}

#: What other programs may import; the rooms `commands`, `training` and `models` serve the scripts of this project alone.
SCRIPTS = (
    *("BIQ2021.infer_quality", "AVA.infer_vanilla", "AVA.infer_patches", "TID2013_regression.infer_regression"),
    *("idealo_comparison.infer", "idealo_comparison.infer_technical"),
)
ROOMS = ("scoring", "images", "labels", "evaluation", "distortions")
FLOOR = ("errors", "cards", "files")


def reference() -> dict[str, list[str]]:
    """{page: the modules whose docstrings it shows}, as docs/reference.md lists them."""
    rooms = {room: sorted(path.stem for path in ROOT.glob(f"iqa/{room}/[!_]*.py")) for room in ROOMS}
    pages = {f"iqa.{room}": [f"iqa.{room}", *(f"iqa.{room}.{name}" for name in names)] for room, names in rooms.items()}
    return {"Infer scripts": list(SCRIPTS), **pages, "iqa.errors, cards, files": [f"iqa.{name}" for name in FLOOR]}


def add_generated(_: Sphinx, page: str, source: list[str]) -> None:
    """Add the list of pages to the first page, and the docstrings to the reference."""
    if page == root_doc:
        for caption, names in PAGES.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(names) + "\n```\n"
    if page == "docs/reference":
        for title, modules in reference().items():
            source[0] += f"\n## {title}\n"
            for module in modules:
                source[0] += f"\n### {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"


def mend_docstring(_: Sphinx, what: str, *rest: object) -> None:
    """Let Sphinx take `Result`s for a plural, |x| for a size and indented lines for commands, as readers of the code do."""
    lines = rest[-1]
    assert isinstance(lines, list)
    text = re.sub(r"(?<!`)(`[^`\n]+`)(?=\w)", r"\1\\ ", "\n".join(lines))
    if what == "module":
        text = re.sub(r"\n\n(?=    \S)", "\n\n::\n\n", text)
    else:
        text = re.sub(r"`[^`]+`|\|", lambda found: found[0] if len(found[0]) > 1 else r"\|", text)
    lines[:] = text.split("\n")


def add_index(app: Sphinx, error: Exception | None) -> None:
    """Web servers look for index.html."""
    if not error and app.builder.name == "html":
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_generated)
    app.connect("autodoc-process-docstring", mend_docstring)
    app.connect("build-finished", add_index)

"""Make pages of the docstrings of all that other programs may import.

    python docs/make_reference.py FOLDER

Open FOLDER/index.html. What pdoc warns of, such as an annotation that it cannot resolve, is an error. The rooms that only
the scripts of this project use are left out: commands, training, models.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import iqa
from iqa.commands.terminal import parser_of

SCRIPTS = (
    *("AVA.infer_vanilla", "AVA.infer_patches", "TID2013_regression.infer_regression"),
    *("idealo_comparison.infer", "idealo_comparison.infer_technical"),
)
#: Long annotations are wrapped; otherwise they end at the edge.
STYLE = ".pdoc .signature .param {white-space: pre-wrap; overflow-wrap: anywhere}"

ROOMS = ("errors", "cards", "files", "images", "labels", "distortions", "evaluation", "scoring")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the pages are written")
    folder = parser.parse_args().folder
    import pdoc

    for name in iqa.__all__:  # pdoc looks for what is there already
        setattr(iqa, name, getattr(iqa, name))
    with tempfile.TemporaryDirectory() as templates, warnings.catch_warnings():
        Path(templates, "custom.css").write_text(STYLE)
        pdoc.render.configure(docformat="google", show_source=False, template_directory=Path(templates))
        warnings.simplefilter("error", UserWarning)
        pdoc.pdoc("iqa", *SCRIPTS, *(f"iqa.{room}" for room in ROOMS), output_directory=folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

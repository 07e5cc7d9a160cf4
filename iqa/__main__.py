"""Two scores for a picture: how beautiful it is, and how good technically.

    python -m iqa photo.jpg holiday/

Beauty is the mean of the votes, 1-10, that AVA's vanilla model predicts, with the share of AVA's photographs that score
lower. Technical quality is a score on TID2013's scale, 0-9, from patches of the picture, of which those with more
detail count for more. It needs a picture of at least 96 pixels a side.
"""

if __name__ == "__main__":  # before anything else is imported
    from iqa import forget_working_folder

    forget_working_folder()

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from iqa.cards import Scale
from iqa.commands.infer import print_error
from iqa.commands.terminal import load_quietly, parser_of, run
from iqa.environment import processors
from iqa.files import printable
from iqa.images.finding import LeftOut, in_words, named_images
from iqa.labels.opinions import Prediction
from iqa.scoring.scorer import Scorer, load_scorer
from iqa.scoring.writers import json_line, values_of


def main() -> int:
    """The command; returns the exit code."""
    parser = parser_of(__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: path, beauty, technical, or error")
    arguments = parser.parse_args()
    beauty, technical = load_quietly(
        lambda: (load_scorer("ava_vanilla", head="histogram"), load_scorer("tid2013_regression"))
    )
    return print_both(beauty, technical, arguments.images, arguments.json)


def print_both(beauty: Scorer, technical: Scorer, named: Sequence[str], as_json: bool) -> int:
    """Print a row with both answers for each picture, as soon as it is known; returns the exit code."""
    failed, exists = 0, False
    left_out = LeftOut()

    def readable() -> Iterator[Path]:
        nonlocal failed, exists
        for path, reason in named_images(named, left_out=left_out):
            exists = exists or os.path.exists(path)
            if reason is None:
                yield path
            else:
                failed += 1
                print_error(path, reason, as_json)

    workers = max(1, processors() // 2)  # half of them for each of the two models
    first, second = tee(readable())
    answers = zip(beauty.score_all(first, workers=workers), technical.score_all(second, workers=workers), strict=True)
    for (path, beautiful), (_, good) in answers:
        row = _row(path, beautiful, good, beauty.card.scale, technical.card.scale)
        if "error" in row:
            failed += 1
            print(f"{row['path']}: {row['error']}", file=sys.stderr)
        print(json_line(row) if as_json else _in_words(row, beauty.card.scale), flush=True)
    if left_out:
        print(in_words(left_out), file=sys.stderr)
    if not exists:
        return 2
    return 1 if failed else 0


def _row(path: Path, beautiful: Prediction, good: Prediction, beauty: Scale, technical: Scale) -> dict[str, Any]:
    row: dict[str, Any] = {"path": printable(path)}
    for name, prediction, scale in (("beauty", beautiful, beauty), ("technical", good, technical)):
        if prediction.output is not None:
            row[name] = values_of(prediction, scale)
            row[name].pop("histogram", None)
    if reasons := {prediction.reason for prediction in (beautiful, good) if prediction.reason}:
        row["error"] = "; ".join(sorted(reasons))
    if warnings := {prediction.warning for prediction in (beautiful, good) if prediction.warning}:
        row["warning"] = "; ".join(sorted(warnings))
    return row


def _in_words(row: dict[str, Any], scale: Scale) -> str:
    words = [f"{row['path']}:"]
    if "beauty" in row:
        beauty = row["beauty"]
        share = (
            f"; higher than {beauty['percentile']:.0f} % of {scale.population}'s photographs" if scale.population else ""
        )
        words.append(f"beauty {beauty['mean']:.2f} of 10 (votes scatter by {beauty['std']:.2f}{share})")
    if "technical" in row:
        words.append(f"technical quality {row['technical']['mean']:.2f} of 9")
    if len(words) == 1:
        return f"{words[0]} no score"
    return "  ".join([*words, f"warning: {row['warning']}"] if "warning" in row else words)


if __name__ == "__main__":
    run(main)

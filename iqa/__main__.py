"""Both answers for a picture: how beautiful it is, and how good technically.

    python -m iqa photo.jpg holiday/

Beauty is what the vanilla model of AVA says, a mean of votes 1-10, with the share of AVA's photographs that score lower.
Technical quality is TID2013's scale, 0-9, from a grid of patches that covers the picture; it needs 224 pixels in a side.
"""

import json
import os
import sys
from itertools import tee

from iqa.commands.infer import print_error, processors
from iqa.commands.terminal import load_quietly, parser_of, run
from iqa.files import printable
from iqa.images.finding import named_images
from iqa.labels.percentiles import percentile
from iqa.scoring.scorer import Scorer


def main():
    parser = parser_of(__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE_OR_FOLDER", help="default: matplotlib's sample photograph")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: path, beauty, technical, or error")
    arguments = parser.parse_args()
    beauty, technical = load_quietly(
        lambda: (Scorer("ava_vanilla", head="histogram"), Scorer("tid2013_regression", crop="grid"))
    )
    failed, exists = 0, False

    def readable():
        nonlocal failed, exists
        for path, reason in named_images(arguments.images):
            exists = exists or os.path.exists(path)
            if reason is None:
                yield path
            else:
                failed += 1
                print_error(path, reason, arguments.json)

    workers = max(1, processors() // 2)  # half of them for each of the two models
    first, second = tee(readable())
    scored = zip(beauty.score_all(first, workers=workers), technical.score_all(second, workers=workers))
    for (path, beautiful), (_, good) in scored:
        row, reasons = {"path": printable(path)}, {beautiful.reason, good.reason} - {None}
        if not beautiful.reason:
            score = beautiful.distribution
            row["beauty"] = {"mean": score.mean, "std": score.std, "percentile": percentile(score.mean)}
        if not good.reason:
            row["technical"] = {"mean": good.score}
        for reason in reasons:
            print(f"{printable(path)}: {reason}", file=sys.stderr)
        failed += bool(reasons)
        if arguments.json and reasons:
            row["error"] = "; ".join(reasons)
        print(json.dumps(row) if arguments.json else _in_words(row), flush=True)
    if not exists:
        return 2
    return 1 if failed else 0


def _in_words(row):
    words = [f"{row['path']}:"]
    if "beauty" in row:
        beauty = row["beauty"]
        share = f"higher than {beauty['percentile']:.0f} % of AVA's photographs"
        words.append(f"beauty {beauty['mean']:.2f} of 10 (votes scatter by {beauty['std']:.2f}; {share})")
    if "technical" in row:
        words.append(f"technical quality {row['technical']['mean']:.2f} of 9")
    return "  ".join(words) if len(words) > 1 else f"{words[0]} no score"


if __name__ == "__main__":
    run(main)

"""Judge a backbone on all scenes of TID2013, each by a head that has not seen it.

    python TID2013_regression/leave_scenes_out.py --images data/tid2013_matched --out shipped.mat
    python TID2013_regression/leave_scenes_out.py --images data/tid2013_matched --out imagenet.mat \\
        --backbone data/imagenet/mobilenet_v2-b0353104.pth
    python TID2013_regression/plot_regression.py shipped.mat --distortions

Three scenes have 15 images of a type, which say little about it; 24 have 120. What the backbone sees of them is computed
once. Then, fold by fold, a new head learns from the other scenes and predicts these. Weights of ours (--weights) have
seen the scenes that they were trained on, so these figures are too kind; a --backbone of ImageNet has seen none.
"""

from pathlib import Path

import numpy as np

from iqa.cards import TID2013_SCALE, keras2_card, weights_file
from iqa.commands.terminal import add_overwrite, natural, parser_of, positive, quiet_start, run
from iqa.environment import now, versions
from iqa.errors import LabelError
from iqa.evaluation.predictions import Predictions, write_predictions
from iqa.files import check_target, printable
from iqa.labels.tid2013 import read_ladders

CARDLESS = keras2_card("regression", "patch", TID2013_SCALE)


def parse_arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--images", required=True, type=Path, help="TID2013, or what make_images.py re-made")
    parser.add_argument("--out", required=True, type=Path, help="predictions to write, .mat")
    parser.add_argument("--weights", default="tid2013_regression", help="a file or a shipped name (default: %(default)s)")
    parser.add_argument("--backbone", help="instead: imagenet, or torchvision's mobilenet_v2 .pth")
    parser.add_argument("--folds", type=positive, default=4, help="default: %(default)s")
    parser.add_argument("--epochs", type=positive, default=60, help="passes over the scenes (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="falls to 1/100 of this (default: %(default)s)")
    parser.add_argument("--dropout", type=float, default=0.5, help="share of its inputs that a head drops (default: 0.5)")
    parser.add_argument("--ranking", type=float, default=2.0, help="weight of the order within ladders (default: 2)")
    parser.add_argument("--seed", type=natural, default=0, help="of the folds and the first weights (default: 0)")
    add_overwrite(parser)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    check_target(arguments.out, arguments.overwrite, inputs=[arguments.images])
    ladders = read_ladders(arguments.images)
    scenes = sorted({ladder[0].reference for ladder in ladders})
    if not 2 <= arguments.folds <= len(scenes):
        raise LabelError(f"{arguments.images}: {len(scenes)} scenes cannot be cut into {arguments.folds} folds")
    with quiet_start():  # only now: --help must not wait for TensorFlow
        import keras

        from iqa.models.heads import LEVELS, pool_levels
        from iqa.models.networks import network_to_train
        from iqa.models.settings import settle
        from iqa.training.head_fit import BATCH, HeadFit, compute_features, cut_grid, with_new_head

        settle()
        weights = None if arguments.backbone else weights_file(arguments.weights)
        model, facts = network_to_train("regression", arguments.backbone, 0.0, arguments.dropout, weights, CARDLESS)
    ladders, features, scores = compute_features(pool_levels(model, LEVELS), ladders, cut_grid, arguments.seed)
    order = np.random.default_rng(arguments.seed).permutation(len(scenes))
    fold_of = {scenes[scene]: place % arguments.folds for place, scene in enumerate(order)}
    folds = np.array([fold_of[ladder[0].reference] for ladder in ladders])
    predictions = np.empty(scores.shape, np.float32)
    for fold in range(arguments.folds):
        keras.utils.set_random_seed(arguments.seed)
        known, new = folds != fold, folds == fold
        print(f"fold {fold + 1}: without {', '.join(scene for scene in scenes if fold_of[scene] == fold)}")
        head = HeadFit(with_new_head(model, features[known], scores[known], arguments.dropout), arguments.dropout)
        steps = arguments.epochs * max(1, int(known.sum()) // BATCH)
        name = f"{known.sum()} ladders"
        head.learn(name, features[known], scores[known], arguments.learning_rate, steps, arguments.ranking, arguments.seed)
        head.fit(steps)
        seen = features[new].reshape(-1, *features.shape[2:])
        predictions[new] = head.predict(seen).reshape(-1, scores.shape[1])
    images = [image for ladder in ladders for image in ladder]
    of = Path(arguments.backbone or arguments.weights).name
    provenance = {
        "model": f"a new head in each of {arguments.folds} folds, on the features of {of}",
        "geometry": "grid of patches, mean of their features",
        "scale": TID2013_SCALE.name,
        "backbone": facts.backbone_weights,
        "versions": ", ".join(f"{name} {number}" for name, number in versions(("keras", "numpy")).items()),
        "utc": now(),
    }
    names = [image.path.name for image in images]
    write_predictions(arguments.out, Predictions(scores.ravel(), predictions.ravel(), names, provenance=provenance))
    print(f"{printable(arguments.out)}: {len(images)} images of {len(scenes)} scenes")
    return 0


if __name__ == "__main__":
    run(main)

"""Train the TID2013 model: mean opinion score from a 224x224 patch.

    python TID2013_regression/tid2013_regression.py --images data/tid2013_remade --ladders data/ladders \\
        --run runs/tid2013 --schedule "1@1e-3:frozen,5@1e-4,2@3e-5,2@1e-5"
    python3 -i TID2013_regression/tid2013_regression.py --images data/tid2013      # a prompt: pretrain(), fit(1e-4, 2)

--images is TID2013 itself or what make_images.py re-made, with its mos_with_names.txt. References 1-3 are the test
scenes of the original and are left alone here; 4-6 choose the checkpoint; the network learns from the others, and from
the photographs of make_ladders.py, without which it has too few scenes to learn from.
"""

from pathlib import Path

import numpy as np

from iqa.cards import TID2013_SCALE, Card, Head, Sight, keras2_card
from iqa.commands.terminal import positive, quiet_start, run, train_parser
from iqa.errors import LabelError
from iqa.images.geometry import centre_patch, random_patch
from iqa.labels.tid2013 import (
    LABELS_NAME,
    TEST_REFERENCES,
    VALIDATION_REFERENCES,
    ladders,
    locate,
    read_ladders,
    read_mos,
    read_order,
    split_by_reference,
)

NOISE = 0.003  # standard deviation, as a share of the range of the pixels: the original's 0.3 %

# "Pretrain it for 3-4 epochs with high learning rate 10-3, or 10-4, then 200-300 epochs with lr=10-5 or lower" (the
# original's README).
ORIGINAL_SCHEDULE = "4@1e-3:frozen,250@1e-5"

# The original dropped 0.75 of the features. Dropped anew for each step of a ladder, they make its order a lottery.
DROPOUT = 0.25


def parse_arguments():
    parser = train_parser(__doc__, "runs/tid2013", batch_size=30)  # six ladders of five levels
    parser.add_argument("--train-labels", type=Path, help=f"default: {LABELS_NAME} in --images")
    parser.add_argument("--test-labels", type=Path, help="labels to choose checkpoints by (default: references 4-6)")
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help="folders of make_ladders.py")
    parser.add_argument("--order", type=Path, nargs="+", default=[], help="such folders, whose order alone counts")
    parser.add_argument(
        "--multiple", type=positive, default=1, help="patches begin on such pixels: 16 keeps to JPEG's blocks (default: 1)"
    )
    # TID2013 has far fewer ladders than the photographs, but labels that people gave to these very images.
    parser.add_argument("--repeats", type=positive, default=2, help="times that TID2013 is seen in an epoch (default: 2)")
    parser.add_argument("--ranking", type=float, default=2.0, help="weight of the order within ladders (default: 2)")
    parser.add_argument("--patches", type=positive, default=1, help="of each picture, judged by their mean (default: 1)")
    return parser, parser.parse_args()


def cut_to_validate(pixels, patches, size, multiple):
    """The centre patch, or several that lie at random but always in the same places: (patches, size, size, 3)."""
    if patches == 1:
        return centre_patch(pixels, size, multiple)[None]
    rng = np.random.default_rng(0)
    return np.stack([random_patch(pixels, size, rng, multiple) for _ in range(patches)])


def main():
    parser, arguments = parse_arguments()
    with quiet_start():  # and only now: whoever asks for --help should not wait for TensorFlow
        import keras

        from iqa.models.backbones import PATCH_SIZE
        from iqa.models.heads import levels_of
        from iqa.models.networks import network_to_train
        from iqa.training.batches import Evaluation, Ladders
        from iqa.training.devices import prepare
        from iqa.training.losses import LCC, LadderLoss, known_mse
        from iqa.training.session import Session, open_prompt, parse_schedule

        strategy = prepare(arguments)
    phases = parse_schedule(arguments.schedule, ORIGINAL_SCHEDULE) if arguments.schedule else []
    images = [image for ladder in read_ladders(arguments.images, arguments.train_labels) for image in ladder]
    known, _ = split_by_reference(images, TEST_REFERENCES)
    train, validation = split_by_reference(known, VALIDATION_REFERENCES)
    if arguments.test_labels:
        validation = [image for image in locate(read_mos(arguments.test_labels), arguments.images) if image.path]
    both = {image.reference for image in train} & {image.reference for image in validation}
    if both:
        raise LabelError(f"scenes to train on and to choose by: {', '.join(sorted(both))}")
    photographs = [ladder for folder in arguments.ladders for ladder in read_ladders(folder)]
    ordered = [ladder for folder in arguments.order for ladder in read_order(folder)]
    with strategy.scope():
        cardless = keras2_card("regression", "patch", TID2013_SCALE)
        model, facts = network_to_train("regression", arguments.backbone, NOISE, DROPOUT, arguments.weights, cardless)
    if not train or not validation:
        parser.error(f"{arguments.images} holds no ladders to train on or none to validate on")
    tid, _ = ladders(train)
    print(
        f"{len(tid)} ladders of TID2013, {len(photographs)} of photographs, {len(ordered)} for their order, "
        f"{len(validation)} images to validate on"
    )
    data = Ladders(
        tid * arguments.repeats + photographs + ordered,
        arguments.batch_size,
        PATCH_SIZE,
        seed=arguments.seed,
        patches=arguments.patches,
        multiple=arguments.multiple,
    )

    def cut(pixels):
        return cut_to_validate(pixels, arguments.patches, PATCH_SIZE, arguments.multiple)

    session = Session(
        model,
        data,
        Evaluation(validation, max(1, arguments.batch_size // arguments.patches), cut),
        loss=LadderLoss(weight=arguments.ranking, patches=arguments.patches),
        metrics=[keras.metrics.MeanMetricWrapper(known_mse, name="mse"), LCC(patches=arguments.patches)],
        run=arguments.run,
        cut=cut,
        keep_epochs=arguments.keep_epochs,
        seed=arguments.seed,
        card=Card(
            facts,
            Head("regression", DROPOUT, levels_of(model)),
            Sight("patch", PATCH_SIZE, multiple=arguments.multiple, training="random patch, mirrored or not"),
            TID2013_SCALE,
            trained_on={
                "images": len(train),
                "scenes": sorted({image.reference for image in train}),
                "checkpoint chosen by": sorted({image.reference for image in validation}),
                "repeats": arguments.repeats,
                "ranking": arguments.ranking,
                "patches": arguments.patches,
                "ladders of photographs": len(photographs),
                "ladders for their order": len(ordered),
                "seed": arguments.seed,
            },
        ),
    )
    session.begin(phases, arguments.resume)
    open_prompt(
        session,
        f"MobileNetV2 ({facts.backbone_weights}), regression of the mean opinion score 0-9",
        f"training on {len(data.ladders)} ladders of {len(data.ladders[0])} images in {len(data)} steps, "
        f"testing on {len(validation)} images of {', '.join(sorted({image.reference for image in validation}))}",
    )
    return session


if __name__ == "__main__":
    session = run(main)
    globals().update(session.commands() if session else {})

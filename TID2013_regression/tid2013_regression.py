"""Train the TID2013 model: mean opinion score from a 224x224 patch.

    python TID2013_regression/tid2013_regression.py --images data/tid2013_remade --ladders data/ladders \\
        --run runs/tid2013 --schedule "1@1e-3:frozen,5@1e-4,2@3e-5,2@1e-5"
    python3 -i TID2013_regression/tid2013_regression.py --images data/tid2013      # a prompt: pretrain(), fit(1e-4, 2)
    python TID2013_regression/tid2013_regression.py --images my_pictures --train-labels scores.csv --scale 0 100 \\
        --test-share 0.2 --weights tid2013_regression --schedule "20@1e-4:frozen:cosine"

--images is TID2013 itself or what make_images.py re-made, with its mos_with_names.txt. References 1-3 are the test
scenes of the original and are left alone here; 4-6 choose the checkpoint; the network learns from the others, and from
the photographs of make_ladders.py, without which it has too few scenes to learn from.

With --train-labels FILE.csv it learns your own scores of any pictures; docs/own-pictures.md shows how.
"""

from dataclasses import replace
from pathlib import Path

from iqa.cards import TID2013_SCALE, Card, Head, Preprocessing, card_for, keras2_card, weights_file
from iqa.commands.run_options import (
    add_split_options,
    check_split_options,
    options_of,
    parse_options,
    settings_of,
    train_parser,
)
from iqa.commands.terminal import positive, quiet_start, run
from iqa.commands.train_scores import Regression, train_on_scores
from iqa.commands.training_run import begin, start_network
from iqa.errors import LabelError
from iqa.images.geometry import Geometry
from iqa.labels import scores
from iqa.labels.tid2013 import (
    LABELS_NAME,
    TEST_REFERENCES,
    VALIDATION_REFERENCES,
    across_scenes,
    ladders,
    locate,
    read_ladders,
    read_mos,
    read_order,
    split_by_reference,
)
from iqa.training.schedule import parse_schedule
from iqa.training.usable import usable_images, usable_ladders

SIZE = 224
GEOMETRY = Preprocessing("patch", SIZE, pooling="detail")
CARDLESS = keras2_card("regression", "patch", TID2013_SCALE)

NOISE = 0.003  # standard deviation, as a share of the range of the pixels: the original's 0.3 %

# "Pretrain it for 3-4 epochs with high learning rate 10-3, or 10-4, then 200-300 epochs with lr=10-5 or lower" (the
# original's README).
ORIGINAL_SCHEDULE = "4@1e-3:frozen,250@1e-5"

# The original dropped 0.75 of the features. With another draw for each step of a ladder, its order becomes a lottery.
DROPOUT = 0.25

# TID2013 has far fewer ladders than the photographs, but labels that people gave to these very images.
REPEATS, RANKING = 2, 2.0

#: Options that make sense for one kind of --train-labels alone: TID2013's, or a .csv of scores.
FOR_LADDERS = ("ladders", "order", "across", "repeats", "ranking")
FOR_SCORES = ("test_share", "split_by", "test_split", "folds", "seeds", "group_by", "scale", "test_images")


def parse_arguments():
    parser = train_parser(__doc__, "runs/tid2013", batch_size=30)  # six ladders of five levels
    parser.add_argument("--train-labels", type=Path, help=f"a .csv of scores, or {LABELS_NAME} (default: in --images)")
    parser.add_argument("--test-labels", type=Path, help="labels to choose checkpoints by (default: references 4-6)")
    add_split_options(parser, scores.TID2013)
    parser.add_argument("--ladders", type=Path, nargs="+", default=[], help="folders of make_ladders.py")
    parser.add_argument("--order", type=Path, nargs="+", default=[], help="the same, but only the order in a ladder counts")
    parser.add_argument("--across", type=Path, nargs="+", default=[], help="the same, with steps of different photographs")
    parser.add_argument(
        "--multiple",
        type=positive,
        help="patches begin on multiples of this many pixels: 16 keeps to JPEG's blocks (default: 1, or as --weights)",
    )
    parser.add_argument("--repeats", type=positive, help=f"times that TID2013 is seen in an epoch (default: {REPEATS})")
    parser.add_argument("--ranking", type=float, help=f"weight of the order within ladders (default: {RANKING:g})")
    parser.add_argument("--patches", type=positive, default=1, help="of each picture, judged by their mean (default: 1)")
    arguments = parse_options(parser)
    arguments.of_scores = bool(arguments.train_labels) and arguments.train_labels.suffix.lower() == ".csv"
    for name in FOR_LADDERS if arguments.of_scores else FOR_SCORES:
        if getattr(arguments, name) not in (None, []):
            kind = "a .csv of scores" if arguments.of_scores else "TID2013's labels"
            parser.error(f"--{name.replace('_', '-')} does not go with {kind}")
    if arguments.of_scores:
        check_split_options(parser, arguments)
        if not (arguments.test_share or arguments.split_by or arguments.test_labels or arguments.folds):
            parser.error("a .csv of scores needs --test-share, --split-by, --test-labels or --folds: what to test on")
        return arguments
    arguments.repeats = arguments.repeats or REPEATS
    arguments.ranking = RANKING if arguments.ranking is None else arguments.ranking
    if arguments.ranking < 0:
        parser.error(f"--ranking must be at least 0, got {arguments.ranking:g}")
    if (arguments.order or arguments.across) and not arguments.ranking:
        option = "--order" if arguments.order else "--across"
        parser.error(f"{option} and --ranking 0 do not go together: only the ranking uses the order")
    return arguments


def read_data(arguments, size):
    """(ladders of TID2013, ladders of photographs, ladders for their order, images to choose the checkpoint by)."""
    images = [image for ladder in read_ladders(arguments.images, arguments.train_labels) for image in ladder]
    known, _ = split_by_reference(images, TEST_REFERENCES)
    train, validation = split_by_reference(known, VALIDATION_REFERENCES)
    if arguments.test_labels:
        validation = [image for image in locate(read_mos(arguments.test_labels), arguments.images) if image.path]
    both = {image.reference for image in train} & {image.reference for image in validation}
    if both:
        raise LabelError(f"scenes to train on and to choose by: {', '.join(sorted(both))}")
    photographs = [ladder for folder in arguments.ladders for ladder in read_ladders(folder)]
    ordered, across = read_order(*arguments.order), read_order(*arguments.across)
    memory = arguments.run / "images.json"
    tid, photographs, ordered, across = (
        usable_ladders(found, size, memory)[0] if found else []
        for found in (ladders(train)[0], photographs, ordered, across)
    )
    ordered += across_scenes(across, arguments.seed)
    validation, _ = usable_images(validation, size, memory) if validation else ([], 0)
    if not tid or not validation:
        raise LabelError(f"{arguments.images} holds no ladders to train on or none to validate on")
    print(
        f"{len(tid)} ladders of TID2013, {len(photographs)} of photographs, {len(ordered)} for their order, "
        f"{len(validation)} images to validate on"
    )
    return tid, photographs, ordered, validation


def scenes_of(images):
    return sorted({image.reference for image in images})


def prepare_prompt(arguments, preprocessing, tid, photographs, ordered, validation):
    """The network, its data and its run folder, ready to begin."""
    model, facts = start_network(arguments, "regression", NOISE, DROPOUT, CARDLESS, preprocessing.size)
    with quiet_start():
        from iqa.models.heads import levels_of
        from iqa.training.batches import Evaluation, Ladders, see_at_random
        from iqa.training.losses import LadderLoss
        from iqa.training.metrics import score_metrics
        from iqa.training.prompt import Prompt
        from iqa.training.run_folder import RunFolder
        from iqa.training.session import Beginning, Session
        from iqa.training.trainer import Objective, Trainer
    train = [image for ladder in tid for image in ladder]
    shared = {name: getattr(arguments, name) for name in ("repeats", "ranking", "patches", "seed")}
    described = {
        "images": len(train),
        "scenes": scenes_of(train),
        "checkpoint chosen by": scenes_of(validation),
        "ladders of photographs": len(photographs),
        "ladders for their order": len(ordered),
    }
    groups = tid * arguments.repeats + photographs + ordered
    settings = shared | settings_of(
        arguments, [image for ladder in groups for image in ladder], validation, facts, preprocessing
    )
    settings |= {"multiple": preprocessing.multiple}
    head = Head("regression", DROPOUT, tuple(levels_of(model)))
    card = Card(facts, head, preprocessing, TID2013_SCALE, trained_on=described | shared)
    patches, size, rows = arguments.patches, preprocessing.size, arguments.batch_size
    see = Geometry.of(card, "centre").patches if patches == 1 else see_at_random(preprocessing, patches)
    trainer = Trainer(
        model,
        Ladders(groups, rows, size, arguments.seed, patches, preprocessing.multiple),
        Evaluation(validation, max(1, rows // patches), see),
        Objective(LadderLoss(weight=arguments.ranking, patches=patches), score_metrics(patches, len(validation))),
        card,
        RunFolder(arguments.run, arguments.keep_epochs),
    )
    return Prompt(Session(trainer, Beginning(settings, options_of(arguments), arguments.seed)), see)


def main():
    arguments = parse_arguments()
    phases = parse_schedule(arguments.schedule, ORIGINAL_SCHEDULE) if arguments.schedule else []
    known = card_for(weights_file(arguments.weights), CARDLESS).preprocessing if arguments.weights else GEOMETRY
    size, multiple = arguments.size or known.size, arguments.multiple or known.multiple
    preprocessing = replace(known, size=size, multiple=multiple, training="random patch, mirrored or not")
    if arguments.of_scores:
        return train_on_scores(arguments, phases, Regression(preprocessing, CARDLESS, NOISE, DROPOUT))
    tid, photographs, ordered, validation = read_data(arguments, preprocessing.size)
    prompt = prepare_prompt(arguments, preprocessing, tid, photographs, ordered, validation)
    data, card = prompt.session.trainer.train_data, prompt.session.trainer.card
    return begin(
        prompt,
        phases,
        arguments.resume,
        f"{card.backbone.backbone}, regression of the mean opinion score 0-9; {Geometry.of(card, 'centre')}",
        f"training on {len(data.ladders)} ladders of {len(data.ladders[0])} images in {len(data)} steps, "
        f"testing on {len(validation)} images of {', '.join(scenes_of(validation))}",
    )


if __name__ == "__main__":
    prompt = run(main)
    globals().update(prompt.commands() if prompt else {})

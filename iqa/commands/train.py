"""What the train scripts share: options and what --resume restores, labels, the first network, the session, folds."""

import argparse
import copy
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from iqa.cards import Card, Head, Preprocessing, Scale, card_for, keras2_card, sha256, weights_file
from iqa.commands.terminal import natural, parser_of, positive
from iqa.environment import processors, without_greetings
from iqa.errors import CardError, ExportError, LabelError, RunError
from iqa.evaluation.tables import align_columns
from iqa.files import printable, read_json, write_json
from iqa.images.finding import usable_images
from iqa.labels.rating_files import GROUP_COLUMN
from iqa.labels.ratings import TEST_SPLIT, check_apart, locate_ratings, split_by_group, split_by_name, split_into_folds
from iqa.training.run_folder import RunState, parse_schedule, read_state

#: What a cross-validation writes into --run: its options, and the figures of each fold.
FOLDS_NAME = "folds.json"

#: The figures of the printed table, those that a training has; `folds.json` has all.
SHOWN = ("mse", "emd", "lcc", "srcc")

WORKERS = processors() if processors() > 2 else 0  # on two cores threads decode faster
Sets = tuple[Sequence[Any], Sequence[Any]]


def train_parser(description: str | None, run: str, batch_size: int, labels: str = "") -> argparse.ArgumentParser:
    """The options that all train scripts share; `run`, `batch_size` and `labels` are defaults of those names."""
    parser = parser_of(description)
    add = parser.add_argument
    large: dict[str, Any] = {"nargs": "?", "const": 256, "metavar": "N"}
    add("--images", type=Path, help="folder of the images (required for a new run)")
    add("--train-labels", type=Path, default=labels or None, help="label file to train on, such as a .csv")
    add("--test-labels", type=Path, help="label file to test on")
    add("--test-images", type=Path, help="folder of the test images (default: --images)")
    add("--test-share", type=float, metavar="SHARE", help="keep this share (0-1) of --train-labels for testing")
    add("--split-by", metavar="COLUMN", help="train on rows of the .csv whose COLUMN begins with train")
    add("--test-split", metavar="NAME", help=f"test on rows with NAME in the --split-by column (default: {TEST_SPLIT})")
    add("--folds", type=positive, metavar="K", help="cross-validate: train K times, test on another Kth each time")
    add("--group-by", metavar="COLUMN", help=f"keep rows with equal COLUMN together (default: {GROUP_COLUMN!r}, if any)")
    add("--scale", type=float, nargs=2, metavar=("LOWEST", "HIGHEST"), help="lowest and highest possible score in the .csv")
    add("--backbone", help="initial backbone weights: imagenet (default), none (random) or a .pth")
    add("--weights", metavar="FILE", help="start from these weights: a file or a shipped name")
    add("--batch-size", type=positive, default=batch_size, help=f"images per step (default: {batch_size})")
    add("--run", type=Path, default=Path(run), help=f"folder for the log and the checkpoints (default: {run})")
    add("--schedule", help='train unattended: "original", or phases such as "1@1e-3:frozen,4@1e-4:cosine"')
    add("--mixed-precision", action="store_true", help="compute in 16 bits (float16 on GPUs, else bfloat16)")
    add("--large-batch", type=positive, **large, help="train on a GPU: N images per step (256), 16 bits, scaled rates")
    add("--data-workers", type=natural, default=WORKERS, help=f"decoding processes; 0: threads (default: {WORKERS})")
    add("--resume", action="store_true", help="continue the run in --run with the options it began with")
    add("--seed", type=natural, default=0, help="random seed of order, crops and initial weights (default: 0)")
    return parser


def parse_options(parser: argparse.ArgumentParser, original: str) -> argparse.Namespace:
    """The options of the command line, with --resume over those that the run began with; `original` is that schedule."""
    options = parser.parse_args()
    stored = _stored_options(options.run) if options.resume else {}
    if stored:
        begun = vars(parser.parse_args(stored["argv"]))
        # A run's own schedule is in its state; a cross-validation has none but this.
        of_the_call = {"run", "resume"} if begun["folds"] else {"run", "resume", "schedule"}
        parser.set_defaults(**{name: _from(stored["folder"], begun[name]) for name in begun.keys() - of_the_call})
        options = parser.parse_args()
    options.begun = stored or {"argv": sys.argv[1:], "folder": os.getcwd()}
    options.phases = parse_schedule(options.schedule, original) if options.schedule else []
    if options.large_batch:
        options.batch_size, options.mixed_precision = options.large_batch, True
    ways = ("test_share", "split_by", "test_labels", "folds")
    chosen = [f"--{name.replace('_', '-')}" for name in ways if getattr(options, name) is not None]
    for wrong, reason in (
        (options.images is None, "--images is missing: the folder of the images"),
        (options.weights and options.backbone, "--backbone and --weights do not go together: weights bring their backbone"),
        (len(chosen) > 1, f"{' and '.join(chosen)} do not go together: choose one"),
        (not 0 < (options.test_share or 0.5) < 1, f"--test-share must be above 0 and below 1, got {options.test_share}"),
        (options.split_by and options.group_by, "--split-by and --group-by do not go together: the split is the file's"),
        (options.test_split and not options.split_by, "--test-split names rows of --split-by, and there is no --split-by"),
        (options.folds == 1, "--folds must be at least 2, got 1"),
        (options.test_images and not options.test_labels, "--test-images needs --test-labels"),
        (options.folds and not options.schedule, "--folds trains unattended and needs a --schedule"),
    ):
        if wrong:
            parser.error(reason)
    return options


def _stored_options(run: Path) -> dict[str, Any]:
    file = run / FOLDS_NAME
    stored = read_json(file)["options"] if file.exists() else {}
    return stored or (read_state(run).options if (run / "checkpoint.npz").exists() else {})


def _from(folder: str, value: Any) -> Any:  # an option whose paths were meant from another folder
    if isinstance(value, list):
        return [_from(folder, entry) for entry in value]
    there = isinstance(value, str) and os.path.isfile(os.path.join(folder, value))
    return Path(folder, value) if isinstance(value, Path) else os.path.join(folder, value) if there else value


def fingerprint(images: Sequence[Any]) -> str:
    """A text that differs for other images, labels or order: their number and the beginning of a hash."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{printable(image.name)} {image.label!r}\n".encode())
    return f"{len(images)} images {digest.hexdigest()[:12]}"


def read_sets(options: argparse.Namespace, read: Callable[..., list[Any]], smallest: int = 1, test: str = "") -> Sets:
    """(images to train on, images to test on), without an image in both; with --folds (all, none).

    `read` is a function (file, group=column) -> labelled images, such as `iqa.labels.ratings.read_ratings`, `smallest` the
    pixels that the shorter side must have, and `test` the labels to test on if no option says which.
    """
    images = read(options.train_labels, group=str(options.split_by or options.group_by or GROUP_COLUMN))
    testing: Sequence[Any] = []
    if options.split_by:
        images, testing, others = split_by_name(images, options.test_split or TEST_SPLIT)
        if others:
            print(f"in neither split: {', '.join(f'{printable(name)}: {count}' for name, count in others.items())}")
    elif options.test_share:
        images, testing = split_by_group(images, options.test_share, options.seed)
    elif not options.folds:
        testing = read(options.test_labels or Path(test))
        check_apart(images, testing)

    def locate(images: Sequence[Any], folder: Path, memory: str) -> list[Any]:
        if not folder.is_dir():
            raise LabelError(f"{folder}: there is no such folder")
        return usable_images(locate_ratings(images, folder), smallest, options.run / memory) if images else []

    training = locate(images, options.images, "train_images.json")
    tested = locate(testing, options.test_images or options.images, "test_images.json")
    if not training or not (tested or options.folds):
        raise LabelError(f"{options.images} holds no usable image of the training or of the test labels")
    print(f"{len(training)} images to train on, {len(tested)} to test on")
    return training, tested


def scale_of(labels: Path, span: Sequence[float], model: Scale) -> Scale:
    """`model`, with percentiles, for AVA's own .json or .txt; else the same range of what these labels of a `span` mean."""
    whole = tuple(span) == (model.lowest, model.highest)
    if whole and labels.suffix.lower() in (".json", ".txt"):
        return model
    mapped = "" if whole else f" mapped linearly to {model.lowest:g}-{model.highest:g}"
    meaning = f"{labels.name} mean opinion score, {span[0]:g}-{span[1]:g}{mapped}, higher is better"
    return Scale(model.lowest, model.highest, meaning)


def start_network(
    options: argparse.Namespace, network: str, head: Head, preprocessing: Preprocessing, noise: float, scale: Scale
) -> tuple[Any, Card]:
    """The network that a training begins with, and its card; with --weights, it sees what they were trained to see.

    `network` is the backbone, one of `iqa.cards.BACKBONES`, and `noise` the deviation of the Gaussian noise added in
    training, as a share of the range of the pixels.
    """
    with without_greetings():  # and only now: --help should not wait for TensorFlow
        from iqa.models.backbones import build_backbone
        from iqa.models.networks import add_head, build_network
        from iqa.training.trainer import prepare

        prepare(options.seed, options.mixed_precision)
        if not options.weights:
            backbone, facts = build_backbone(options.backbone or "imagenet", noise, preprocessing.size, network)
            return add_head(backbone, head), Card(facts, head, preprocessing, scale)
        file, cardless = weights_file(options.weights), keras2_card(head.kind, preprocessing.kind, scale)
        card = card_for(file, cardless)
        if card.head.kind != head.kind:
            kinds = f"the weights of a {card.head.kind} network, but a {head.kind} network is trained here"
            raise CardError(f"{file}: {kinds}")
        if card.head.hidden != head.hidden:
            raise CardError(f"{file}: head.hidden is {card.head.hidden}, but a head with {head.hidden} is trained here")
        if card.preprocessing.kind == preprocessing.kind:
            preprocessing = replace(card.preprocessing, training=preprocessing.training)
        facts, head = replace(card.backbone, noise=noise), replace(card.head, dropout=head.dropout)
        return build_network(facts, head, preprocessing.size, file), Card(facts, head, preprocessing, scale)


def open_session(
    options: argparse.Namespace,
    script: str,
    model: Any,
    card: Card,
    data: tuple[Any, Any],
    sets: Sets,
    loss: Callable[[Any, Any], Any],
    metrics: Sequence[Any],
    see: Callable[[Path], Any],
    **settings: Any,
) -> Any:
    """Begin or resume the run, train its schedule if there is one, and open the prompt under `python3 -i`; returns it.

    A run is not resumed with a `script` that was changed. `data` are batches to train on and to test on, `sets` the images
    in them; for loss, metrics and see look at `iqa.training.session.Session`. What else in `settings` must be the same when
    the run is resumed is written on the card too.
    """
    with without_greetings():
        from iqa.training.prompt import Prompt, open_prompt
        from iqa.training.session import Session
        from iqa.training.trainer import name_of
    training, testing = sets
    facts = {
        "script": f"{Path(script).name} {sha256(script)[:12]}",
        "loss": name_of(loss),
        "began with": sha256(weights_file(options.weights)) if options.weights else card.backbone.backbone_weights,
        "seed": options.seed,
        **settings,
    }
    held = facts | {"training set": fingerprint(training), "test set": fingerprint(testing)}
    held |= {name.replace("_", " "): getattr(options, name) for name in ("batch_size", "mixed_precision", "large_batch")}
    described = facts | ({"labels": options.train_labels.name} if options.train_labels else {})
    card = replace(card, trained_on={"images": len(training), **card.trained_on, **described})
    given: dict[str, Any] = {"see": see, "large_batch": options.large_batch, "settings": held, "options": options.begun}
    session, best = Session(model, *data, loss, metrics, card, options.run, **given), options.run / "best.weights.h5"
    finished = session.begin(options.phases, options.resume, options.seed)
    for batches in data:
        batches.close()  # its worker processes, which start again when they are needed
    if finished and best.exists() and not options.folds:
        _compile(best)
    seen, prompt = card.preprocessing, Prompt(session)
    network = (
        f"{card.backbone.backbone}, {card.head.kind}; {seen.kind} of {seen.size}x{seen.size}; scores {card.scale.name}"
    )
    steps = f"training on {len(training)} images in {data[0].steps} steps, testing on {len(testing)}"
    open_prompt(prompt, network, steps)
    return prompt


def _compile(weights: Path) -> None:  # those that have barely learnt round badly, and stay without
    try:
        with without_greetings():
            import keras

            from iqa.models.compiled import compile_weights

            keras.config.set_dtype_policy("float32")  # the network that was trained keeps its own
            written = compile_weights(weights)
        print(f"wrote {printable(written)}")
    except ExportError as error:
        print(printable(f"warning: {error}"), file=sys.stderr)


def cross_validate(options: argparse.Namespace, images: Sequence[Any], train: Callable[..., Any]) -> int:
    """Cross-validation: train on all folds but one, for each in turn, and print what that reaches; returns the exit code.

    Each training is a run of its own, `RUN/fold-F`. The figures are those of its last epoch: those of its best epoch would
    flatter it, which is chosen by the very pictures that test it.

    `train` is a function (options of one fold, images to train on, images to test on) -> a prompt, once it has trained.
    Raises a `RunError` if the folder holds what is not to be resumed, and a `KeyboardInterrupt` after Ctrl-C.
    """
    done: list[dict[str, Any]] = []
    record = options.run / FOLDS_NAME
    splits = split_into_folds(images, options.folds, options.seed)
    if (record.exists() or (options.run / "checkpoint.npz").exists()) and not options.resume:
        raise RunError(f"{options.run} holds a run: resume it (--resume) or choose another folder (--run)")
    options.run.mkdir(parents=True, exist_ok=True)
    for number, (training, testing) in enumerate(splits, start=1):
        write_json(record, {"options": options.begun, "folds": done}, durable=True)
        print(f"\nfold {number} of {options.folds}: {len(training)} images to train on, {len(testing)} to test on")
        fold = copy.copy(options)
        fold.run = options.run / f"fold-{number}"
        begun = (fold.run / "checkpoint.npz").exists()
        state, fold.resume = read_state(fold.run) if begun else RunState(), options.resume and begun
        if not (state.kept and state.has_finished() and state.settings["training set"] == fingerprint(training)):
            state = train(fold, training, testing).session.state
            if state.kept[-1].status != "done":
                raise KeyboardInterrupt  # under python3 -i
            import keras

            keras.backend.clear_session()  # or the networks of all folds stay in memory
        figures = {"before": state.kept[0].before or {}, "after": state.kept[-1].after or {}}
        done.append({"fold": number, "tested on": len(testing), **figures})
    write_json(record, {"options": options.begun, "folds": done}, durable=True)
    print(f"\n{len(images)} images in {options.folds} folds; figures on the test images, before > after the last epoch")
    names = [name for name in SHOWN if name in done[0]["after"]]
    rows = [["fold", "images", *names]]

    def add(first: str, second: str, before: dict[str, float], after: dict[str, float]) -> None:
        rows.append([first, second, *(f"{before[name]:.3f} > {after[name]:.3f}" for name in names)])

    for row in done:
        add(str(row["fold"]), str(row["tested on"]), row["before"], row["after"])
    for label, of in (("mean", mean), ("+-", stdev)):
        add("", label, *({name: of(row[side][name] for row in done) for name in names} for side in ("before", "after")))
    print(align_columns(rows))
    return 0

"""The card beside a weight file, `weights/NAME.json`: what a network is, what it was trained on, what was measured.

    card = read_card(card_of("weights/ava_vanilla.weights.h5"))
    card.head.kind, card.preprocessing.size, card.scale.highest      # "histogram", 224, 10

Code that needs a fact about a model reads it from the card. weights/README.md says what its keys mean.
"""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from iqa.errors import CardError
from iqa.files import read_json

#: The first is what is trained if nothing else is asked for.
BACKBONES = (
    *("mobilenet_v2", "mobilenet", "mobilenet_v3_large", "efficientnet_v2_b0", "efficientnet_lite0", "nasnet_mobile"),
    *("inception_resnet_v2", "vgg16", "convnext_tiny"),
)
NORMALISATIONS = ("imagenet", "minus_one_to_one", "imagenet_mean", "minus_127_over_128")
PADDINGS = ("keras", "symmetric")
HEADS = ("histogram", "regression")
GEOMETRIES = ("resize", "patch")
INTERPOLATIONS = ("nearest", "bilinear")
POOLINGS = ("mean", "detail")

#: Populations that `iqa.labels.percentiles` has a table of.
POPULATIONS = ("AVA",)

#: Pixels in a side of what a network sees, at most: a card with a misprint must not ask for terabytes.
LARGEST = 2048

#: Bytes of a card, at most.
LARGEST_CARD = 1 << 20


def _require(fact: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise CardError(f"{fact} must be {expected}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value in a message: on one line, and not longer than that."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_of(fact: str, value: Any, choices: tuple[str, ...]) -> None:
    _require(fact, value, value in choices, "one of " + ", ".join(choices))


def _number(value: Any, lowest: float, highest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest


def _text(value: Any) -> bool:
    # Half of a surrogate pair is no text that any file can hold.
    return isinstance(value, str) and len(value) <= 10_000 and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _integer(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


@dataclass(frozen=True)
class Backbone:
    """The network below the head.

    Attributes:
        backbone: one of `BACKBONES`.
        normalisation: of the pixels, one of `NORMALISATIONS`.
        padding: before a stride-2 convolution, "keras" pads (0, 1), "symmetric" (of MobileNets) pads (1, 1).
        batch_norm_epsilon: 1e-3 in Keras, 1e-5 in torchvision; of no account where there is no batch normalisation.
        noise: deviation of the Gaussian noise added in training, as a share of the range of the pixels.
        backbone_weights: where its first weights came from: "imagenet" (Keras's), "torchvision", "efficientnet_lite",
            "none", or "" if unknown.
    """

    backbone: str
    normalisation: str
    padding: str
    batch_norm_epsilon: float
    noise: float = 0.0
    backbone_weights: str = ""

    def __post_init__(self) -> None:
        _one_of("backbone.backbone", self.backbone, BACKBONES)
        _one_of("backbone.normalisation", self.normalisation, NORMALISATIONS)
        _one_of("backbone.padding", self.padding, PADDINGS)
        epsilon = self.batch_norm_epsilon
        _require("backbone.batch_norm_epsilon", epsilon, _number(epsilon, 1e-12, 1), "a number above 0, at most 1")
        _require("backbone.noise", self.noise, _number(self.noise, 0, 1), "a number of 0 to 1")
        _require("backbone.backbone_weights", self.backbone_weights, _text(self.backbone_weights), "a text")


@dataclass(frozen=True)
class Head:
    """What stands on the pooled features.

    Attributes:
        kind: "histogram" (10 shares of votes) or "regression" (a score).
        dropout: share of the features that a training step leaves out.
        levels: layers of the backbone whose pooled activations a regression head sees beside the last one's.
        hidden: units of a dense layer (relu) before the output; 0 for none.
    """

    kind: str
    dropout: float = 0.75
    levels: tuple[str, ...] = ()
    hidden: int = 0

    def __post_init__(self) -> None:
        _one_of("head.kind", self.kind, HEADS)
        _require("head.dropout", self.dropout, _number(self.dropout, 0, 0.999), "a number of 0 to below 1")
        levels = self.levels
        texts = isinstance(levels, list | tuple) and len(levels) <= 20 and all(_text(name) for name in levels)
        _require("head.levels", levels, texts, "a list of names of layers")
        object.__setattr__(self, "levels", tuple(levels))
        _require("head.hidden", self.hidden, _integer(self.hidden, 0, LARGEST), f"an integer of 0 to {LARGEST}")


@dataclass(frozen=True)
class Preprocessing:
    """What the network sees of a picture; `iqa.images.geometry.Geometry` does all but the mirroring.

    Attributes:
        kind: "resize" (the whole picture) or "patch" (pixels at their own size).
        size: pixels in a side.
        interpolation: how a whole picture is resized; None for patches.
        multiple: patches begin on multiples of this many pixels.
        pooling: how the score of a picture is made from those of its patches, one of `POOLINGS`: their "mean", or their
            mean weighted by "detail"; see `iqa.images.pooling`.
        training: how pictures were cut in training, in words.
        flip_averaging: whether the network averages its outputs over the picture and its mirror image.
    """

    kind: str
    size: int = 224
    interpolation: str | None = None
    multiple: int = 1
    pooling: str = "mean"
    training: str = ""
    flip_averaging: bool = False

    def __post_init__(self) -> None:
        _one_of("preprocessing.kind", self.kind, GEOMETRIES)
        _require("preprocessing.size", self.size, _integer(self.size, 32, LARGEST), f"an integer of 32 to {LARGEST}")
        _require(
            "preprocessing.multiple", self.multiple, _integer(self.multiple, 1, self.size), "an integer of 1 to the size"
        )
        if self.kind == "resize":
            _one_of("preprocessing.interpolation", self.interpolation, INTERPOLATIONS)
        else:
            object.__setattr__(self, "interpolation", None)  # old cards name one that patches never use
        _one_of("preprocessing.pooling", self.pooling, POOLINGS)
        _require("preprocessing.training", self.training, _text(self.training), "a text")
        _require(
            "preprocessing.flip_averaging", self.flip_averaging, isinstance(self.flip_averaging, bool), "true or false"
        )


@dataclass(frozen=True)
class Scale:
    """What the numbers mean.

    Attributes:
        lowest, highest: the scores that are possible.
        meaning: in words.
        population: whose scores a percentile compares with, one of `POPULATIONS`; None if the model has no percentiles.
    """

    lowest: float
    highest: float
    meaning: str = ""
    population: str | None = None

    def __post_init__(self) -> None:
        for name in ("lowest", "highest"):
            value = getattr(self, name)
            _require(f"scale.{name}", value, _number(value, -1e6, 1e6), "a number")
        _require("scale.highest", self.highest, self.highest > self.lowest, "above scale.lowest")
        _require("scale.meaning", self.meaning, _text(self.meaning), "a text")
        if self.population is not None:
            _one_of("scale.population", self.population, POPULATIONS)

    @property
    def name(self) -> str:
        """Whose scores these are, and their range, as axes name them.

        >>> TID2013_SCALE.name, Scale(1, 5).name
        ('TID2013, 0-9', '1-5')
        """
        source, said, _ = self.meaning.partition(" mean opinion score")
        source = self.population or (source if said else "")
        return f"{source}, {self.lowest:g}-{self.highest:g}".removeprefix(", ")


#: The scales of the models of this project.
AVA_SCALE = Scale(1, 10, "mean of the votes 1-10, higher is better", "AVA")
TID2013_SCALE = Scale(0, 9, "TID2013 mean opinion score, higher is better")


@dataclass(frozen=True)
class Card:
    """All that is known of a weight file; see weights/README.md.

    Attributes:
        backbone, head, preprocessing, scale: what the network is, sees and says.
        sha256: of the weights; None for weights that came without a card.
        compiled: {file name: sha256} of the compiled forms that ship beside the weights.
        faults: {file name: sha256} of the layer that tells kinds of faults apart, if there is one.
        probe: what Keras says of `iqa.images.probe.draw_probe`: the histogram or the score. A compiled form that says
            something else is not used.
        trained_on, training, figures: as JSON: data and settings, phases, what was measured.
        notes: whatever else the file says, kept as it is.
    """

    backbone: Backbone
    head: Head
    preprocessing: Preprocessing
    scale: Scale
    sha256: str | None = None
    compiled: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    probe: tuple[float, ...] = ()
    trained_on: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def bins(self) -> int:
        """How many numbers the network gives for a picture: 10 shares of votes, or 1 score."""
        return 10 if self.head.kind == "histogram" else 1

    @classmethod
    def from_json(cls, value: Any) -> "Card":
        """The card behind a value of JSON.

        Raises:
            CardError: naming the fact that is missing, unknown or absurd.
        """
        if not isinstance(value, dict):
            raise CardError("a card must be a JSON object")
        known = {entry.name for entry in dataclasses.fields(cls)} - {"notes"}
        facts: dict[str, Any] = {name: value[name] for name in known & value.keys()}
        head = _part(Head, "head", facts)
        facts["backbone"] = _part(Backbone, "backbone", facts)
        facts["preprocessing"] = _part(Preprocessing, "preprocessing", facts)
        # Older cards name no population, or name it in words: no percentile is better than a wrong one.
        facts["scale"] = (
            _part(Scale, "scale", facts)
            if "scale" in facts
            else (dataclasses.replace(AVA_SCALE, population=None) if head.kind == "histogram" else TID2013_SCALE)
        )
        sha = facts.get("sha256")
        _require("sha256", sha, sha is None or _hash(sha), "64 hexadecimal digits")
        for name in ("compiled", "faults", "trained_on", "training", "figures"):
            _require(name, facts.get(name, {}), isinstance(facts.get(name, {}), dict), "an object")
        for files in ("compiled", "faults"):
            for name, digits in facts.get(files, {}).items():
                _require(files, name, Path(name).name == name, "names of files beside the card")
                _require(f"{files}.{_shown(name)}", digits, _hash(digits), "64 hexadecimal digits")
        faults = facts.get("faults", {})
        known_head = len(faults) <= 1 and (not faults or bool(head.levels))
        _require("faults", faults, known_head, "one file, for a head that sees several levels")
        probe = facts.pop("probe", ())
        bins = 10 if head.kind == "histogram" else 1
        numbers = isinstance(probe, list | tuple) and all(_number(value, -1e6, 1e6) for value in probe)
        _require("probe", probe, numbers and len(probe) in (0, bins), f"a list of {bins} numbers")
        return cls(**facts | {"head": head}, probe=tuple(probe), notes={name: value[name] for name in value.keys() - known})

    def to_json(self) -> dict[str, Any]:
        """The card as JSON holds it; `Card.from_json` reads it back."""
        value = dataclasses.asdict(self)
        value["head"]["levels"] = list(self.head.levels)
        if not self.head.levels:
            del value["head"]["levels"]
        if not self.head.hidden:
            del value["head"]["hidden"]
        notes = value.pop("notes")
        return {name: part for name, part in value.items() if part not in (None, {}, ())} | notes


_Part = TypeVar("_Part", Backbone, Head, Preprocessing, Scale)


def _part(of: type[_Part], name: str, facts: dict[str, Any]) -> _Part:
    """A part of a card, whose keys must be those of its dataclass."""
    value = facts.get(name)
    _require(name, value, isinstance(value, dict), "an object")
    assert isinstance(value, dict)
    entries = dataclasses.fields(of)
    unknown = value.keys() - {entry.name for entry in entries}
    if unknown:
        raise CardError(f"unknown fact {name}.{_shown(min(unknown))[1:-1]}")
    for entry in entries:
        if entry.name not in value and entry.default is dataclasses.MISSING:
            raise CardError(f"the fact {name}.{entry.name} is missing")
    return of(**value)


def shipped_weights(name: str) -> Path:
    """The path of shipped weights, in an installed wheel (`iqa/weights`) or in a checkout (`weights` beside `iqa`)."""
    here = Path(__file__).resolve().parent
    folder = here / "weights" if (here / "weights").is_dir() else here.parent / "weights"
    return folder / f"{name}.weights.h5"


def card_of(weights: str | PathLike[str]) -> Path:
    """The path of the card beside a weight file: NAME.weights.h5 -> NAME.json."""
    weights = Path(weights)
    return weights.with_name(weights.name.removesuffix(".h5").removesuffix(".weights") + ".json")


def sha256(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(path: Path) -> Card:
    """The card at a path.

    Raises:
        CardError: if it is missing, no JSON, or lacks or misstates what a model is built from; the message names the file.
    """
    try:
        value = read_json(path, LARGEST_CARD)
    except FileNotFoundError:
        raise CardError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise CardError(f"{path}: not a card ({error})") from None
    try:
        return Card.from_json(value)
    except CardError as error:
        raise CardError(f"{path}: {error}") from None


def keras2_card(
    head: str,
    geometry: str,
    scale: Scale,
    backbone: str = "mobilenet_v2",
    normalisation: str = "imagenet",
    padding: str = "keras",
) -> Card:
    """The card of weights that come without one, as the projects of Keras 2's time saved them.

    Args:
        head: "histogram" or "regression".
        geometry: "resize" (nearest neighbour, to 224x224) or "patch".
        scale: what the scores mean; `AVA_SCALE` or `TID2013_SCALE`.
        backbone, normalisation, padding: see `Backbone`.
    """
    return Card(
        Backbone(backbone, normalisation, padding, batch_norm_epsilon=1e-3),
        Head(head),
        Preprocessing(geometry, interpolation="nearest" if geometry == "resize" else None),
        scale,
    )


def idealo_card(scale: Scale = AVA_SCALE) -> Card:
    """The card of idealo's MobileNets, which Keras 2.1 trained with a padding of (1, 1) and pixels from -1 to 1."""
    return keras2_card("histogram", "resize", scale, "mobilenet", normalisation="minus_one_to_one", padding="symmetric")


def weights_file(weights: str | PathLike[str]) -> Path:
    """The path that a name of shipped weights ("ava_vanilla"), or the path of a weight file, stands for.

    Raises:
        CardError: if there is no such file.
    """
    path = Path(weights) if Path(weights).suffix in (".h5", ".hdf5") else shipped_weights(str(weights))
    if not path.is_file():
        raise CardError(f"{path}: there is no such file")
    return path


def card_for(weights: Path, cardless: Card | None = None) -> Card:
    """The card of a weight file, or `cardless` for an `.hdf5` or `.h5` file of Keras 2 that has none.

    Raises:
        CardError: see `read_card`.
    """
    has_card = weights.name.endswith(".weights.h5") or card_of(weights).is_file()
    return read_card(card_of(weights)) if has_card or cardless is None else cardless

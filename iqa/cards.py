"""The card beside a weight file, `weights/NAME.json`: what a network is, what it was trained on, what was measured.

    card = read_card(card_of("weights/ava_vanilla.weights.h5"))
    card.head.kind, card.preprocessing.size, card.scale.highest      # "histogram", 224, 10

weights/README.md says what its keys mean.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Self

from iqa.errors import CardError
from iqa.files import read_json

#: The first is trained if nothing else is asked for.
BACKBONES = (
    *("mobilenet_v2", "mobilenet", "mobilenet_v3_large", "efficientnet_v2_b0", "nasnet_mobile"),
    *("inception_resnet_v2", "vgg16", "convnext_tiny"),
)

#: Whose scores a percentile can compare with.
POPULATIONS = ("AVA", "BIQ2021")

#: Pixels in a side of what a network sees, and bytes of a card, at most: a misprint must not ask for terabytes.
LARGEST, LARGEST_CARD = 2048, 1 << 20


def _require(fact: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise CardError(f"{fact} must be {expected}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fact(holds: Callable[[Any], bool], expected: str, default: Any = MISSING) -> Any:
    """A field of a part of a card, with the rule that its value keeps."""
    return field(default=default, metadata={"holds": holds, "expected": expected})


def _one_of(*choices: Any, default: Any = MISSING) -> Any:
    return _fact(lambda value: value in choices, "one of " + ", ".join(filter(None, choices)), default)


def _number(lowest: float, highest: float, default: Any = MISSING, kind: Any = int | float) -> Any:
    expected = f"{'an integer' if kind is int else 'a number'} of {lowest:g} to {highest:g}"
    return _fact(lambda value: _is_number(value, kind) and lowest <= value <= highest, expected, default)


def _is_number(value: Any, kind: Any = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:  # half of a surrogate pair is no text that a file can hold
    return isinstance(value, str) and len(value) <= 10_000 and not any("\ud800" <= letter <= "\udfff" for letter in value)


class _Part:
    """A part of a card, whose facts are checked when it is made."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):  # type: ignore[arg-type]
            value, rule = getattr(self, entry.name), entry.metadata
            _require(f"{type(self).__name__.lower()}.{entry.name}", value, rule["holds"](value), rule["expected"])

    @classmethod
    def from_json(cls, card: dict[str, Any]) -> Self:
        """This part of a card, whose keys are the names of the fields."""
        name = cls.__name__.lower()
        facts = card.get(name)
        if not isinstance(facts, dict):
            raise CardError(f"{name} must be an object, got {_shown(facts)}")
        entries = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for unknown in sorted(facts.keys() - entries):
            raise CardError(f"unknown fact {name}.{_shown(unknown)[1:-1]}")
        for entry in entries.values():
            if entry.name not in facts and entry.default is MISSING:
                raise CardError(f"the fact {name}.{entry.name} is missing")
        return cls(**facts)


@dataclass(frozen=True)
class Backbone(_Part):
    """The network below the head.

    Attributes:
        backbone: one of `BACKBONES`.
        normalisation: of the pixels; see `iqa.models.backbones.normalise`.
        padding: before a stride-2 convolution, "keras" pads (0, 1), "symmetric" (of MobileNets) pads (1, 1).
        batch_norm_epsilon: 1e-3 in Keras, 1e-5 in torchvision.
        noise: deviation of the Gaussian noise added in training, as a share of the range of the pixels.
        backbone_weights: where its first weights came from: "imagenet" (Keras's), "torchvision",
            "none", or "" if unknown.
    """

    backbone: str = _one_of(*BACKBONES)
    normalisation: str = _one_of("imagenet", "minus_one_to_one", "imagenet_mean")
    padding: str = _one_of("keras", "symmetric")
    batch_norm_epsilon: float = _number(1e-12, 1)
    noise: float = _number(0, 1, 0.0)
    backbone_weights: str = _fact(_is_text, "a text", "")


@dataclass(frozen=True)
class Head(_Part):
    """What stands on the pooled features.

    Attributes:
        kind: "histogram" (10 shares of votes) or "regression" (a score).
        dropout: share of the features that a training step leaves out.
        levels: layers of the backbone whose pooled activations a regression head sees beside the last one's.
        hidden: units of a dense layer (relu) before the output, 16 or more; 0 for none.
    """

    kind: str = _one_of("histogram", "regression")
    dropout: float = _number(0, 0.999, 0.75)
    levels: tuple[str, ...] = _fact(
        lambda value: isinstance(value, list | tuple) and len(value) <= 20 and all(map(_is_text, value)),
        "a list of names of layers",
        (),
    )
    hidden: int = _fact(lambda value: _is_number(value, int) and (value == 0 or value >= 16), "0, or 16 or more", 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "levels", tuple(self.levels))


@dataclass(frozen=True)
class Preprocessing(_Part):
    """What the network sees of a picture; `iqa.images.geometry.Geometry` does all but the mirroring.

    Attributes:
        kind: "resize" (the whole picture) or "patch" (pixels at their own size).
        size: pixels in a side.
        interpolation: how a whole picture is resized; None for patches.
        multiple: patches begin on multiples of this many pixels.
        pooling: of the scores of patches: "mean", or weighted by "detail"; see `iqa.images.geometry`.
        flip_averaging: whether the network averages its outputs over the picture and its mirror image.
    """

    kind: str = _one_of("resize", "patch")
    size: int = _number(32, LARGEST, 224, kind=int)
    interpolation: str | None = _one_of("nearest", "bilinear", None, default=None)
    multiple: int = _number(1, LARGEST, 1, kind=int)
    pooling: str = _one_of("mean", "detail", default="mean")
    training: str = _fact(_is_text, "a text", "")
    flip_averaging: bool = _fact(lambda value: isinstance(value, bool), "true or false", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("preprocessing.multiple", self.multiple, self.multiple <= self.size, "an integer of 1 to the size")
        if self.kind == "patch":
            object.__setattr__(self, "interpolation", None)  # old cards name one that patches never use
        elif not self.interpolation:
            raise CardError("preprocessing.interpolation must be one of nearest, bilinear, got None")


@dataclass(frozen=True)
class Scale(_Part):
    """What the numbers mean.

    Attributes:
        lowest, highest: the scores that are possible; `meaning` says the same in words.
        population: whose scores a percentile compares with, one of `POPULATIONS`; None if the model has no percentiles.
    """

    lowest: float = _number(-1e6, 1e6)
    highest: float = _number(-1e6, 1e6)
    meaning: str = _fact(_is_text, "a text", "")
    population: str | None = _one_of(*POPULATIONS, None, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require("scale.highest", self.highest, self.highest > self.lowest, "above scale.lowest")

    @property
    def name(self) -> str:
        """Whose scores these are, and their range, as axes name them, such as "TID2013, 0-9" or "1-5"."""
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
        sha256: of the weights; None for weights that came without a card.
        compiled, faults: {file name: sha256} of the compiled network, and of the layer that tells kinds of faults apart.
        probe: Keras's output for `iqa.images.geometry.draw_probe`, which a compiled network must give too.
        trained_on, training, figures, notes: data and settings, phases, what was measured, and all else, as JSON.
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
        """Numbers that the network gives for a picture: 10 shares of votes, or 1 score."""
        return 10 if self.head.kind == "histogram" else 1

    @classmethod
    def from_json(cls, value: Any) -> "Card":
        """The card in a value of JSON; a `CardError` names the fact that is missing, unknown or absurd."""
        if not isinstance(value, dict):
            raise CardError("a card must be a JSON object")
        known = {entry.name for entry in dataclasses.fields(cls)} - {"notes"}
        facts: dict[str, Any] = {name: value[name] for name in known & value.keys()}
        facts |= {part.__name__.lower(): part.from_json(value) for part in (Head, Backbone, Preprocessing, Scale)}
        for name in ("compiled", "faults", "trained_on", "training", "figures"):
            _require(name, facts.get(name, {}), isinstance(facts.get(name, {}), dict), "an object")
        hashes = {"sha256": facts["sha256"]} if facts.get("sha256") is not None else {}
        for files in ("compiled", "faults"):
            for name, digits in facts.get(files, {}).items():
                _require(files, name, Path(name).name == name, "names of files beside the card")
                hashes[f"{files}.{_shown(name)}"] = digits
        for name, digits in hashes.items():
            holds = isinstance(digits, str) and re.fullmatch("[0-9a-f]{64}", digits) is not None
            _require(name, digits, holds, "64 hexadecimal digits")
        faults, head = facts.get("faults", {}), facts["head"]
        one_file = not faults or (len(faults) == 1 and bool(head.levels))
        _require("faults", faults, one_file, "one file, for a head that sees several levels")
        probe, bins = facts.pop("probe", ()), 10 if head.kind == "histogram" else 1
        numbers = isinstance(probe, list | tuple) and all(map(_is_number, probe))
        _require("probe", probe, numbers and len(probe) in (0, bins), f"a list of {bins} numbers")
        return cls(**facts, probe=tuple(probe), notes={name: value[name] for name in value.keys() - known})

    def to_json(self) -> dict[str, Any]:
        """The card as JSON holds it; `Card.from_json` reads it back."""
        value = dataclasses.asdict(self)
        head = value["head"] | {"levels": list(self.head.levels)}
        value["head"] = {name: fact for name, fact in head.items() if fact or name not in ("levels", "hidden")}
        notes = value.pop("notes")
        return {name: part for name, part in value.items() if part not in (None, {}, ())} | notes


def shipped_weights(name: str) -> Path:
    """The path of shipped weights, in an installed wheel (`iqa/weights`) or in a checkout (`weights` beside `iqa`)."""
    here = Path(__file__).resolve().parent
    return (here if (here / "weights").is_dir() else here.parent) / "weights" / f"{name}.weights.h5"


def card_of(weights: str | PathLike[str]) -> Path:
    """The path of the card beside a weight file: NAME.weights.h5 or NAME.hdf5 -> NAME.json."""
    path = Path(weights)
    return path.with_name(path.name.removesuffix(".hdf5").removesuffix(".h5").removesuffix(".weights") + ".json")


def compiled_beside(weights: str | PathLike[str]) -> Path:
    """The path of the compiled network beside a weight file: NAME.weights.h5 -> NAME.tflite."""
    return card_of(weights).with_suffix(".tflite")


def sha256(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(path: Path) -> Card:
    """The card at a path; a `CardError` names the file if it is missing, no JSON, or misstates a fact."""
    try:
        return Card.from_json(read_json(path, LARGEST_CARD))
    except FileNotFoundError:
        raise CardError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise CardError(f"{path}: {error if isinstance(error, CardError) else f'not a card ({error})'}") from None


def keras2_card(head: str, geometry: str, scale: Scale, backbone: Backbone | None = None) -> Card:
    """The card of weights that Keras 2 saved, which have none; by default of a MobileNetV2, as the original's."""
    return Card(
        backbone or Backbone("mobilenet_v2", "imagenet", "keras", batch_norm_epsilon=1e-3),
        Head(head),
        Preprocessing(geometry, interpolation="nearest" if geometry == "resize" else None),
        scale,
    )


# idealo's MobileNets were trained by Keras 2.1, which padded (1, 1), with pixels from -1 to 1.
_IDEALO = Backbone("mobilenet", "minus_one_to_one", "symmetric", batch_norm_epsilon=1e-3)

#: {name: card} of weight files of Keras 2 that come without one. idealo's technical model was not trained on AVA, whose
#: percentiles it therefore lacks.
CARDLESS = {
    "ava_vanilla": keras2_card("histogram", "resize", AVA_SCALE),
    "ava_patches": keras2_card("histogram", "patch", AVA_SCALE),
    "tid2013_regression": keras2_card("regression", "patch", TID2013_SCALE),
    "idealo": keras2_card("histogram", "resize", AVA_SCALE, _IDEALO),
    "idealo_technical": keras2_card(
        "histogram", "resize", Scale(1, 10, "mean of histograms made of TID2013's scores, higher is better"), _IDEALO
    ),
}


def weights_file(weights: str | PathLike[str]) -> Path:
    """The file of a name of shipped weights ("ava_vanilla") or of a path; a `CardError` if it is not there."""
    path = Path(weights) if Path(weights).suffix in (".h5", ".hdf5") else shipped_weights(str(weights))
    if not path.is_file():
        raise CardError(f"{path}: there is no such file")
    return path


def card_for(weights: Path, cardless: Card | None = None) -> Card:
    """`read_card` of a weight file, or `cardless` for an `.hdf5` or `.h5` file of Keras 2 that has none."""
    has_card = weights.name.endswith(".weights.h5") or card_of(weights).is_file()
    return read_card(card_of(weights)) if has_card or cardless is None else cardless

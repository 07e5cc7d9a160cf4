"""A student of histograms that learns a teacher's features as well, through a linear layer that is thrown away in the end.

Romero et al., "FitNets: hints for thin deep nets", 2015.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from iqa.errors import UsageError
from iqa.training.batches import Batches
from iqa.training.frozen_views import Cut, FrozenViews, compute_views, split
from iqa.training.losses import Steady, emd_and_moments
from iqa.training.network_state import set_frozen

#: Of the features in the loss, beside the 50 EMD + moments of the histograms: both are about 2 at the end.
FEATURES_WEIGHT = 5.0

WARM_UP = 500  # steps of rising rate, at most a quarter of all: new layers must not spoil the others


class Lesson(NamedTuple):
    """A photograph and all that is to be learnt of it: float32 (10 + n,), the histogram, then the teacher's features."""

    path: Path
    label: NDArray[np.float32]


def freeze(model: keras.Model, until: str | None) -> None:
    """Keep batch normalisation's statistics, those of ImageNet, and the layers up to `until` as they are.

    Raises:
        UsageError: if no layer is called `until`, or none comes behind it.
    """
    names = [layer.name for layer in model.layers]
    if until and until not in names[:-1]:
        middle = names[len(names) // 2]
        raise UsageError(
            f"--frozen-until {until}: the network has no such layer before its last; {middle} is in its middle"
        )
    set_frozen(model, names[names.index(until) + 1] if until else names[0], bool(until), keep_normalisation=True)


def add_teacher(model: keras.Model, width: int, memory: Path | None) -> tuple[keras.layers.Layer, Any]:
    """The layer that guesses the teacher's features, and the histogram with that guess behind it: (N, 10 + width).

    Args:
        model: of `network_to_train`.
        width: how many features the teacher has.
        memory: file of the linear layer's weights as an earlier run left them; a new layer if there is none.
    """
    guess = keras.layers.Dense(width, name="teacher", dtype="float32")
    both = keras.layers.Concatenate()([model.output, guess(model.get_layer("pooling").output)])
    if memory and memory.exists():
        with np.load(memory, allow_pickle=False) as stored:
            guess.set_weights([stored["kernel"], stored["bias"]])
    return guess, both


def see_through_frozen_layers(
    model: keras.Model,
    both: Any,
    until: str,
    lessons: Sequence[Lesson],
    cut: Cut,
    file: Path,
    about: str,
    **batches: Any,
) -> tuple[keras.Model, FrozenViews]:
    """(student, data): the layers behind the frozen ones, and what those make of the photographs.

    Args:
        both: of `add_teacher`.
        until: the last frozen layer.
        cut, file, about: see `compute_views`.
        batches: see `FrozenViews`; the seed is that of the cuts as well.
    """
    early, student = split(model, until, both)
    places = {path: place for place, path in enumerate(dict.fromkeys(lesson.path for lesson in lessons))}
    views = compute_views(early, list(places), cut, file, batches["seed"], about)
    rows, labels = np.array([places[lesson.path] for lesson in lessons]), np.stack([lesson.label for lesson in lessons])
    return student, FrozenViews(views, rows, labels, **batches)


def fit(
    student: keras.Model, data: Batches, bins: int, epochs: float, rate: float, steady: float | None, backup: Path
) -> None:
    """Train with a rate that rises at first and falls like a cosine; what is killed goes on from its last 500 steps.

    Args:
        student: of `both`, see `add_teacher`.
        bins: of the histogram.
        epochs: a whole number, or a share of one epoch.
        rate: the highest one; it falls to a twentieth.
        steady: see `Steady`; None for batches without pairs.
        backup: folder of what a killed run goes on from.
    """
    of_histograms = Steady(emd_and_moments, steady) if steady else emd_and_moments

    def loss(y_true: Any, y_pred: Any) -> Any:
        features = keras.ops.mean((y_true[:, bins:] - y_pred[:, bins:]) ** 2)
        return of_histograms(y_true[:, :bins], y_pred[:, :bins]) + FEATURES_WEIGHT * features

    steps = max(1, int(epochs * len(data)))
    rising = min(WARM_UP, steps // 4)
    falling = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps - rising, alpha=0.05, warmup_target=rate, warmup_steps=rising
    )
    student.compile(keras.optimizers.Adam(falling), loss)
    backup.parent.mkdir(parents=True, exist_ok=True)
    student.fit(
        data,
        epochs=max(1, int(epochs)),
        steps_per_epoch=min(steps, len(data)),
        shuffle=False,
        callbacks=[
            keras.callbacks.BackupAndRestore(backup, save_freq=500),
            keras.callbacks.TerminateOnNaN(raise_error=True),
        ],
    )

"""What computes a score: Keras, or a compiled runtime. All are called alike: `network(patches) -> [outputs, features]`.

A compiled runtime takes a few milliseconds where Keras takes tens, with the same float32 arithmetic. It must agree with
Keras on a probe picture each time that it is opened (see `iqa.scoring.network_cache`), or it is not used. A process that
finds its compiled file never imports Keras, which need not be installed to score with the weights that ship.
"""

import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from iqa.cards import Card
from iqa.environment import processors, without_greetings
from iqa.errors import RuntimeUnavailable, UsageError
from iqa.scoring.engines import ENGINES, Engine, Run
from iqa.scoring.network_cache import CompiledFile, check_keras, find_compiled

#: What `--runtime` takes.
RUNTIMES = ("auto", "keras", *ENGINES)

#: Patches that go through Keras at once, at most: their activations take 15 MB each.
STEP = 32


class Network(Protocol):
    """A network that is ready to score.

    Attributes:
        name: of its runtime: "keras", "litert" ...
        description: with the version: "litert 2.3.0".
        packages: those whose versions decide what comes out.
    """

    name: str
    description: str
    packages: tuple[str, ...]

    def __call__(self, patches: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """uint8 (N, size, size, 3) -> [outputs, features], float32 arrays of N rows."""
        ...


class _SpoiltFile(RuntimeUnavailable):
    """A compiled file that its runtime cannot open, or that disagrees with Keras."""


def open_network(runtime: str, weights: Path, card: Card, sha256: str, threads: int | None = None) -> Network:
    """Open the network of a weight file on a runtime.

    Args:
        runtime: one of `RUNTIMES`. "auto" is the fastest that is installed and agrees with Keras on the probe; it is Keras
            itself if none does, or if KERAS_BACKEND names another backend than tensorflow.
        weights, card, sha256: the weight file, its card, its hash.
        threads: for a compiled runtime; None for all processors that this process may use.

    Raises:
        UsageError: if there is no such runtime.
        RuntimeUnavailable: if the runtime is not installed or disagrees with Keras.
        CardError, WeightsError: see `iqa.models.networks.network_of`.
    """
    if runtime not in ("auto", "keras", *ENGINES):
        raise UsageError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    with without_greetings():
        return _open(runtime, weights, card, sha256, threads)


def _open(runtime: str, weights: Path, card: Card, sha256: str, threads: int | None) -> Network:
    if runtime == "keras":
        return _open_keras(weights, card)
    if runtime != "auto":
        return CompiledNetwork(ENGINES[runtime], weights, card, sha256, threads)
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return _open_keras(weights, card)
    reasons = []
    for engine in ENGINES.values():
        if engine.automatic and engine.installed:
            try:
                network = CompiledNetwork(engine, weights, card, sha256, threads)
            except RuntimeUnavailable as error:
                reasons.append(str(error))
                continue
            if reasons:
                warnings.warn(f"scoring with {engine.name}: {'; '.join(reasons)}", stacklevel=2)
            return network
    try:
        slow = _open_keras(weights, card)
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(reasons[0] if reasons else str(error)) from None  # either names Keras as the remedy
    warnings.warn(f"scoring with Keras, which is slow: {'; '.join(reasons) or 'no other runtime'}", stacklevel=2)
    return slow


def _open_keras(weights: Path, card: Card) -> Network:
    check_keras(weights)
    from iqa.models.networks import network_of

    return KerasNetwork(network_of(card, weights))


class KerasNetwork:
    """A `Network` on Keras, with the backend that Keras is set to.

    Args:
        model: a `keras.Model` with two outputs, as `iqa.models.networks.network_of` builds it.
    """

    name = "keras"

    def __init__(self, model: Any) -> None:
        import keras

        self._model, self._lock = model, threading.Lock()
        self.description = f"keras on {keras.backend.backend()}"
        self.packages: tuple[str, ...] = ("keras", keras.backend.backend())

    def __call__(self, patches: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        # `predict_on_batch` runs the same compiled function as `predict`, without building a data set around each call.
        with self._lock:  # the first call builds that function
            steps = [self._model.predict_on_batch(patches[i : i + STEP]) for i in range(0, len(patches), STEP)]
        return [np.concatenate([np.asarray(output) for output in outputs]) for outputs in zip(*steps, strict=True)]


class CompiledNetwork:
    """A `Network` on a compiled runtime; see `open_network` for the arguments.

    Patches go through one by one, or `engine.batch` at once if a patch then scores exactly as it does alone: what a picture
    scores never depends on its neighbours.
    """

    def __init__(self, engine: Engine, weights: Path, card: Card, sha256: str, threads: int | None = None) -> None:
        if not engine.installed:
            raise RuntimeUnavailable(
                f"{engine.name} is not installed: pip install 'image-quality-assessment[{engine.extra}]'"
            )
        self.name, self.batch, self._lock = engine.name, engine.batch, threading.Lock()
        self.packages: tuple[str, ...] = (engine.package,)
        spoilt: list[str] = []
        try:
            for compiled in find_compiled(engine.format, engine.suffix, Path(weights), card, sha256):
                try:
                    return self._open(engine, compiled, threads)
                except _SpoiltFile as error:  # damaged, or of a version that this one does not read: try the next
                    spoilt = [str(error)]
        except RuntimeUnavailable as error:
            spoilt.append(str(error))
        raise RuntimeUnavailable("; ".join(spoilt))

    def _open(self, engine: Engine, compiled: CompiledFile, threads: int | None) -> None:
        try:
            run, version = engine.open(compiled.file, threads or processors())
            self._run: Run = run
            # The probe once; or three times, a pair and one alone, where patches go through in pairs.
            outputs = self(np.repeat(compiled.probe.patches, 2 * engine.batch - 1, axis=0))[0]
        except RuntimeUnavailable:
            raise
        except Exception as error:  # a runtime's own, for a damaged file or a processor that it does not know
            reason = " ".join(str(error).split())[:200]
            raise _SpoiltFile(f"{self.name} cannot open {compiled.file} ({type(error).__name__}: {reason})") from None
        self.description = f"{self.name} {version}"
        difference = np.abs(_scores(outputs) - _scores(compiled.probe.outputs)).max()
        if not difference <= engine.tolerance:  # NaN too
            raise _SpoiltFile(f"{self.name} differs from Keras by {difference:.2g} on the probe picture ({compiled.file})")
        if (outputs != outputs[-1]).any():
            self.batch = 1

    def __call__(self, patches: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        with self._lock:  # the runtimes keep the tensors of one call at a time
            results = [self._run(patches[i : i + self.batch]) for i in range(0, len(patches), self.batch)]
        return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _scores(outputs: NDArray[np.float32]) -> NDArray[np.floating]:
    return outputs @ np.arange(1.0, outputs.shape[1] + 1)

"""What computes a score: OpenVINO or LiteRT, which read the same compiled file, or Keras. All are called alike.

    network = open_network("auto", weights, card, sha256)
    outputs, features = network(patches)

The compiled file, NAME.tflite, lies beside the weights (see `iqa.models.compiled`), and whoever uses it imports no Keras.
Whenever it is opened, its answer for a probe picture is compared with Keras's on the card, so that no new version of a
runtime changes a score unnoticed.
"""

import functools
import importlib.util
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from iqa.cards import CARDLESS, Card, card_of, compiled_beside
from iqa.cards import sha256 as hash_of
from iqa.environment import processors, versions, without_greetings
from iqa.errors import RuntimeUnavailable, UsageError
from iqa.images.geometry import draw_probe

#: {name: package} of what opens a compiled file. bfloat16 is 1.5 times as fast and moves scores by up to 0.03.
PACKAGES = {"openvino": "openvino", "litert": "ai-edge-litert", "openvino-bf16": "openvino"}

#: What `--runtime` takes.
RUNTIMES = ("auto", "keras", *PACKAGES)

#: Patches that go through Keras at once, at most: their activations take 15 MB each.
STEP = 32

_Outputs = Sequence[NDArray[np.float32]]
_Run = Callable[[NDArray[np.uint8]], _Outputs]


def tolerance_of(runtime: str) -> float:
    """How far a score may lie from Keras's."""
    return 0.03 if runtime == "openvino-bf16" else 1e-4


class Network:
    """A network that is ready to score: `network(patches) -> [output, features(, levels)]`.

    `name` is that of the runtime, `description` has its version too; the versions of `packages` decide what comes out.
    """

    def __init__(self, name: str, description: str, packages: tuple[str, ...], run: _Run, step: int = 1) -> None:
        self.name, self.description, self.packages = name, description, packages
        self._run, self._step, self._lock = run, step, threading.Lock()

    def __call__(self, patches: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """uint8 (N, size, size, 3) -> float32 arrays of N rows."""
        with self._lock:  # the runtimes keep the tensors of one call at a time
            steps = [self._run(patches[first : first + self._step]) for first in range(0, len(patches), self._step)]
        outputs = [np.concatenate(parts) for parts in zip(*steps, strict=True)]
        # Converters reorder them, but an output is shorter than what it is made from.
        return sorted(outputs, key=lambda output: output.shape[-1])


def open_network(runtime: str, weights: Path, card: Card, sha256: str, threads: int | None = None) -> Network:
    """Open the network of a weight file on a runtime.

    Args:
        runtime: one of `RUNTIMES`. "auto" is OpenVINO if it is installed, else LiteRT; without a compiled file that agrees
            with Keras it is Keras, with a warning. It is Keras too if KERAS_BACKEND names another backend than tensorflow.
        threads: for a compiled file; None for all processors that this process may use.

    Raises:
        UsageError: if there is no such runtime.
        RuntimeUnavailable: if it is not installed, disagrees with Keras or finds no compiled file.
        WeightsError: if the weights do not fit the network on the card.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if runtime == "auto" and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        runtime = "keras"
    with without_greetings():
        if runtime == "keras":
            return _open_keras(weights, card)
        name = ("openvino" if importlib.util.find_spec("openvino") else "litert") if runtime == "auto" else runtime
        try:
            return _open_compiled(name, _find_compiled(weights, card, sha256), card, threads)
        except RuntimeUnavailable as error:
            if runtime != "auto":
                raise
            reason = str(error)
        try:
            network = _open_keras(weights, card)
        except RuntimeUnavailable as error:
            raise RuntimeUnavailable(f"{reason}; {error}") from None
        warnings.warn(f"scoring with Keras, which is slow: {reason}", stacklevel=2)
        return network


def _find_compiled(weights: Path, card: Card, sha256: str) -> Path:
    """The compiled file beside a weight file, if it is the one on the card."""
    file = compiled_beside(weights)
    if not (card.probe and card.sha256 == sha256 and file.name in card.compiled and file.is_file()):
        reason = f"there is no compiled {file.name}"
    elif hash_of(file) == card.compiled[file.name]:
        return file
    else:
        reason = f"{file.name} is not the file that {card_of(weights).name} describes"
    known = [] if card.sha256 else [f" --like {name}" for name, cardless in CARDLESS.items() if cardless == card]
    raise RuntimeUnavailable(f"{reason}, which `python -m iqa.export {weights}{''.join(known)}` writes")


def _open_keras(weights: Path, card: Card) -> Network:
    from iqa.models.compiled import check_keras

    check_keras(weights)
    import keras

    from iqa.models.networks import network_of

    model, backend = network_of(card, weights), keras.backend.backend()

    def run(patches: NDArray[np.uint8]) -> _Outputs:
        # The same compiled function as in `predict`, which builds a data set around each call.
        return [np.asarray(output) for output in model.predict_on_batch(patches)]

    return Network("keras", f"keras on {backend}", ("keras", backend), run, STEP)


def _open_compiled(runtime: str, file: Path, card: Card, threads: int | None) -> Network:
    """Patches go through one by one: what a picture scores must not depend on its neighbours."""
    package = PACKAGES[runtime]
    if not importlib.util.find_spec(package.replace("-", "_")):
        raise RuntimeUnavailable(f"{runtime} is not installed: pip install {package}")
    try:
        run = _OPEN[runtime](file, threads or processors())
        network = Network(runtime, f"{runtime} {versions([package]).get(package, '')}", (package,), run)
        said = network(draw_probe(card.preprocessing.size)[None])[0][0].astype(float)
    except RuntimeUnavailable:
        raise
    except Exception as error:  # a runtime's own, for a damaged file or a processor that it does not know
        reason = " ".join(str(error).split())[:200]
        raise RuntimeUnavailable(f"{runtime} cannot open {file} ({type(error).__name__}: {reason})") from None
    values = np.arange(1.0, card.bins + 1)  # of the votes 1-10, or 1 for a score
    difference = abs(float((said - card.probe) @ values))
    if not difference <= tolerance_of(runtime):  # NaN too
        raise RuntimeUnavailable(f"{runtime} differs from Keras by {difference:.2g} on the probe picture ({file})")
    return network


def _open_litert(file: Path, threads: int) -> _Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    targets = [output["index"] for output in interpreter.get_output_details()]

    def run(patch: NDArray[np.uint8]) -> _Outputs:
        interpreter.set_tensor(source["index"], patch)
        interpreter.invoke()
        return [interpreter.get_tensor(target) for target in targets]

    return run


@functools.cache
def _openvino_core() -> Any:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report to its makers
    import openvino

    # One for the process, never freed: on processors with AMX a second one breaks the handling of Ctrl-C.
    return openvino.Core()


def _open_openvino(file: Path, threads: int, precision: str = "f32") -> _Run:
    core = _openvino_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeUnavailable("this processor does not compute in bfloat16")
    model = _read_for_bfloat16(core, file) if precision == "bf16" else core.read_model(file)
    model.reshape([1, *list(model.input().partial_shape)[1:]])
    settings = {
        "INFERENCE_PRECISION_HINT": precision,  # named even for float32: with AMX the default is bfloat16
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # otherwise all workers of one thread are pinned to the first processor
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(patch: NDArray[np.uint8]) -> _Outputs:
        request.infer([patch], share_inputs=True)
        return [tensor.data.copy() for tensor in request.output_tensors]

    return run


def _read_for_bfloat16(core: Any, file: Path) -> Any:
    """Its first two convolutions stay in float32: in bfloat16 they cause half of the change and save 5 % of time."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "network.xml"
        openvino.save_model(core.read_model(file), written, compress_to_fp16=False)
        tree, weights = ElementTree.parse(written), written.with_suffix(".bin").read_bytes()
    convolutions = [layer for layer in tree.iter("layer") if layer.get("type") in ("Convolution", "GroupConvolution")]
    for layer in convolutions[:2]:
        facts = layer.find("rt_info")
        facts = ElementTree.SubElement(layer, "rt_info") if facts is None else facts
        ElementTree.SubElement(facts, "attribute", name="precise", version="0")
    return core.read_model(ElementTree.tostring(tree.getroot()), weights)


_OPEN: dict[str, Callable[[Path, int], _Run]] = {
    "openvino": _open_openvino,
    "litert": _open_litert,
    "openvino-bf16": functools.partial(_open_openvino, precision="bf16"),
}

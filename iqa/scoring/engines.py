"""The compiled runtimes, each described once: what it needs, what it reads, how it is opened, how far it is trusted.

To add one, write a function that opens a file for it and give it an entry in `ENGINES`; `--runtime` then offers it.
"""

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from iqa.errors import RuntimeUnavailable

#: Patches, uint8 (N, size, size, 3) -> (outputs, features), float32 of N rows; logits of faults come third, if at all.
Run = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.float32]]]


#: How far a score that is computed in float32 may lie from Keras's.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Engine:
    """A runtime that scores from a compiled file.

    Attributes:
        name: what `--runtime` calls it.
        module: what Python imports.
        package: what pip installs; its version decides what comes out.
        extra: the extra of this project that installs it.
        format: of the compiled file, a key of `iqa.models.export.FORMATS`.
        suffix: of the compiled file.
        open: function (file, threads) -> (`Run`, version of the runtime).
        tolerance: how far a score of the probe picture may lie from Keras's.
        batch: patches that go through at once, where that is faster than one by one.
        automatic: whether `auto` may choose it.
    """

    name: str
    module: str
    package: str
    extra: str
    format: str
    suffix: str
    open: Callable[[Path, int], tuple[Run, str]]
    tolerance: float = TOLERANCE
    batch: int = 1
    automatic: bool = True

    @property
    def installed(self) -> bool:
        """Whether Python finds its module."""
        return importlib.util.find_spec(self.module) is not None


def _order(outputs: Sequence[NDArray[np.float32]]) -> Sequence[NDArray[np.float32]]:
    """(outputs, features) and logits of faults, if there are any: converters rename and reorder them.

    A score is shorter than what it is made from, and faults are more than one score and fewer than features.
    """
    first, *between, last = sorted(outputs, key=lambda output: output.shape[-1])
    return (first, last, *between)


def _open_litert(file: Path, threads: int) -> tuple[Run, str]:
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    targets = [output["index"] for output in interpreter.get_output_details()]

    def run(patch: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        interpreter.set_tensor(source["index"], patch)
        interpreter.invoke()
        return _order([interpreter.get_tensor(target) for target in targets])

    return run, ai_edge_litert.__version__


def _open_onnx(file: Path, threads: int) -> tuple[Run, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return lambda patch: _order(session.run(None, {source.name: patch})), onnxruntime.__version__


@functools.cache
def _openvino_core() -> Any:
    """The only core of the process, which is never freed.

    On processors with AMX each core sets up a stack for signals. If an older core is freed after a younger one, the process
    keeps a stack that no longer exists, and the next Ctrl-C kills it.
    """
    import openvino

    return openvino.Core()


def _read_for_bfloat16(core: Any, file: Path) -> Any:
    """The network of a file, with a mark that keeps its first two convolutions in float32.

    They cause half of the change that bfloat16 makes to the scores and save only a twentieth of the time.
    """
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


def _open_openvino(file: Path, threads: int, precision: str = "f32") -> tuple[Run, str]:
    import openvino

    core = _openvino_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeUnavailable("this processor does not compute in bfloat16")
    model = _read_for_bfloat16(core, file) if precision == "bf16" else core.read_model(file)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,  # named even for float32: with AMX the default is bfloat16
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # otherwise all workers of one thread are pinned to the first processor
        "PERFORMANCE_HINT": "LATENCY",
    }
    count = len(model.outputs)

    @functools.cache
    def request_of(rows: int) -> Any:
        model.reshape([rows, *list(model.input().partial_shape)[1:]])
        return core.compile_model(model, "CPU", settings).create_infer_request()

    def run(patches: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        request = request_of(len(patches))
        request.infer([patches], share_inputs=True)
        return _order([request.get_output_tensor(number).data.copy() for number in range(count)])

    return run, openvino.__version__.split("-")[0]


_BFLOAT16 = functools.partial(_open_openvino, precision="bf16")

#: {name: `Engine`}, fastest first in the order of benchmarks/README.md. In bfloat16, half as fast again, scores move by up
#: to 0.03, so `auto` never chooses it. There the processor waits for the weights, so two patches share them. OpenVINO reads
#: LiteRT's file, so that the one that ships serves both.
ENGINES = {
    engine.name: engine
    for engine in (
        Engine("openvino", "openvino", "openvino", "openvino", "litert", ".tflite", _open_openvino),
        Engine("litert", "ai_edge_litert", "ai-edge-litert", "litert", "litert", ".tflite", _open_litert),
        Engine("onnx", "onnxruntime", "onnxruntime", "onnx", "onnx", ".onnx", _open_onnx),
        Engine(
            *("openvino-bf16", "openvino", "openvino", "openvino", "litert", ".tflite", _BFLOAT16),
            tolerance=0.03,
            batch=2,
            automatic=False,
        ),
    )
}


def tolerance_of(runtime: str) -> float:
    """How far a score of a runtime may lie from Keras's; Keras itself counts as one of float32."""
    return ENGINES[runtime].tolerance if runtime in ENGINES else TOLERANCE

"""The two libraries that compute an ONNX model, each with threads and precision that do not depend on the machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing

Array = NDArray[Any]
Provider = str | tuple[str, dict[str, Any]]

Session = Callable[[dict[str, Array]], Array]
"""From all inputs by name to one output."""

CPU = "CPUExecutionProvider"

SOURCE_PLACE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Load model from \S+ failed:|/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\) "
    r"|Exception from \S+: |Check '[^']*' failed at \S+: "
)

SILENT = 4
"""Severity from which onnxruntime writes messages: fatal ones only, since errors are raised as well."""


def open_onnxruntime(path: Path, output: str, threads: int, providers: Sequence[Provider] | None) -> Session:
    """Return a session of onnxruntime, with sequential execution.

    Parameters
    ----------
    path : Path
        The file.
    output : str
        Name of the output that is computed.
    threads : int
        Threads of one operation.
    providers : sequence, optional
        What computes, as onnxruntime takes it; by default the CPU. CUDA does not round products to TF32 here.

    Raises
    ------
    ModelError
        If onnxruntime cannot load the model, or does not have a provider.
    """
    with needing("onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    given = [own if isinstance(own, tuple) else (own, {}) for own in (CPU,) * (providers is None) or providers or ()]
    wanted = [
        (name, {"use_tf32": "0"} | dict(own) if name == "CUDAExecutionProvider" else dict(own)) for name, own in given
    ]
    available = onnxruntime.get_available_providers()
    lacking = [name for name, _ in wanted if name not in available]
    if lacking or not wanted:
        got = lacking[0] if lacking else "nothing"
        raise ModelError(f"providers: got {got}, this onnxruntime has {', '.join(available)}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except Exception as error:
        raise ModelError(f"{path}: onnxruntime cannot load it ({said(error)})") from error
    # It takes the CPU in place of a provider that does not start.
    idle = [name for name, _ in wanted if name not in session.get_providers()]
    if idle:
        raise ModelError(f"providers: {idle[0]} does not start; see the requirements of this onnxruntime")

    def run(feeds: dict[str, Array]) -> Array:
        return np.asarray(session.run([output], feeds)[0])

    return run


def open_openvino(path: Path, output: str, threads: int, providers: Sequence[Provider] | None) -> Session:
    """Return a model compiled by OpenVINO for the CPU, in float32 even where bfloat16 is faster.

    Arguments and errors are those of :func:`open_onnxruntime`; there are no `providers`.
    """
    if providers is not None:
        raise ModelError("providers: are for runtime='onnxruntime', OpenVINO takes the CPU; leave them out")
    with needing("openvino"):
        import openvino
    own = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(str(path)), "CPU", own)
        port = compiled.output(output)
        request = compiled.create_infer_request()
    except Exception as error:
        raise ModelError(f"{path}: OpenVINO cannot load it ({said(error)})") from error
    lock = Lock()  # A request computes one batch at a time.

    def run(feeds: dict[str, Array]) -> Array:
        with lock:
            return np.asarray(request.infer(feeds)[port])

    return run


RUNTIMES: Mapping[str, Callable[[Path, str, int, Sequence[Provider] | None], Session]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def said(error: Exception) -> str:
    """Return in one line what is wrong, in the words of a runtime, without places and signatures of its own source."""
    return one_line(SOURCE_PLACE.sub("", one_line(error, 5000)))

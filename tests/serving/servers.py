"""Real inference servers on this machine: Triton and MLServer, each with an environment and a small CNN of its own.

``python tests/serving/servers.py FOLDER`` starts both and says where, until it is interrupted. The environments lie in
the folder that APPROXGRAD_SERVERS names, by default ~/.cache/approxgrad-servers; making them takes minutes, once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HOME = Path(os.environ.get("APPROXGRAD_SERVERS") or "~/.cache/approxgrad-servers").expanduser()
PATIENCE = 120
"""Seconds within which a server is ready."""

SHAPE, CLASSES, LARGEST_BATCH = (3, 32, 32), 10, 128

SESSION = """
import numpy as np
import onnxruntime

def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
"""

TRITON_MODEL = (
    SESSION
    + """
from pathlib import Path
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.session = session(Path(__file__).with_name("cnn.onnx"))

    def execute(self, requests):
        answers = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            (found,) = self.session.run(None, {"x": rows})
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", found)]))
        return answers
"""
)

TRITON_CONFIG = f"""
name: "cnn"
backend: "python"
max_batch_size: {LARGEST_BATCH}
input [{{ name: "x" data_type: TYPE_FP32 dims: [{", ".join(map(str, SHAPE))}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [{CLASSES}] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""

MLSERVER_MODEL = (
    SESSION
    + """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Cnn(MLModel):
    async def load(self):
        self.session = session(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        (found,) = self.session.run(None, {"x": rows})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", found)])
"""
)


class UnavailableError(Exception):
    """A server that cannot be installed or started here; says why."""


def write_cnn(path: Path) -> None:
    """Write the CNN of the studies with random weights as an ONNX file: input x (N, 3, 32, 32), output y (N, 10)."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    shapes = {
        "a": (32, 3, 3, 3),
        "b": (32, 32, 3, 3),
        "c": (64, 32, 3, 3),
        "d": (256, 64 * 8 * 8),
        "e": (CLASSES, 256),
    }
    weights = {name: random.normal(size=shape) / np.prod(shape[1:]) ** 0.5 for name, shape in shapes.items()}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("Conv", ["2", "b"], ["3"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["3"], ["4"]),
        helper.make_node("MaxPool", ["4"], ["5"], **pool),
        helper.make_node("Conv", ["5", "c"], ["6"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["6"], ["7"]),
        helper.make_node("MaxPool", ["7"], ["8"], **pool),
        helper.make_node("Flatten", ["8"], ["9"]),
        helper.make_node("Gemm", ["9", "d"], ["10"], transB=1),
        helper.make_node("Relu", ["10"], ["11"]),
        helper.make_node("Gemm", ["11", "e"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def environment(name: str, *packages: str) -> Path:
    """Return the folder of an environment with some packages, made if it is not there."""
    place = HOME / name
    if (place / ".installed").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    for command in ([sys.executable, "-m", "venv", place], pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(f"{name} cannot be installed ({(done.stderr.strip().splitlines() or ['?'])[-1]})")
    (place / ".installed").touch()
    return place


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens at."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def triton(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses of Triton, by protocol, while it serves the model ``cnn`` from files in a folder."""
    home = environment("triton", "nvidia-pytriton", "onnxruntime")
    (packages,) = home.glob("lib/python*/site-packages")
    shipped = packages / "pytriton" / "tritonserver"
    number = "{}.{}".format(*sys.version_info)
    backend = folder / "backends" / "python"
    shutil.copytree(shipped / "backends" / "python", backend)
    shutil.copy2(shipped / "python_backend_stubs" / number / "triton_python_backend_stub", backend)
    files = folder / "models" / "cnn" / "1"
    files.mkdir(parents=True)
    write_cnn(files / "cnn.onnx")
    (files / "model.py").write_text(TRITON_MODEL)
    (files.parent / "config.pbtxt").write_text(TRITON_CONFIG)
    http, grpc = free_ports(2)
    command = [shipped / "bin" / "tritonserver", "--model-repository", folder / "models", "--allow-metrics=false"]
    command += ["--backend-directory", folder / "backends", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]
    command += [f"--http-port={http}", f"--grpc-port={grpc}"]
    libraries = [sysconfig.get_config_var("LIBDIR"), str(packages / "nvidia_pytriton.libs")]
    variables = {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [*libraries, os.environ.get("LD_LIBRARY_PATH")])),
        "PYTHONPATH": str(packages),
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    with running(command, folder, variables, f"http://127.0.0.1:{http}/v2/models/cnn/ready"):
        yield {"grpc": f"grpc://127.0.0.1:{grpc}", "v2": f"http://127.0.0.1:{http}"}


@contextmanager
def mlserver(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses of MLServer, by protocol, while it serves the model ``cnn`` from files in a folder."""
    home = environment("mlserver", "mlserver", "onnxruntime")
    files = folder / "cnn"
    files.mkdir(parents=True)
    write_cnn(files / "cnn.onnx")
    (files / "runtime.py").write_text(MLSERVER_MODEL)
    http, grpc, metrics = free_ports(3)
    tensors = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, *SHAPE]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, CLASSES]}],
    }
    model = {"name": "cnn", "implementation": "runtime.Cnn", "parameters": {"uri": str(files / "cnn.onnx")}}
    (files / "model-settings.json").write_text(json.dumps(model | tensors))
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    (folder / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0}))
    variables = {"PYTHONPATH": str(files), "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    ready = f"http://127.0.0.1:{http}/v2/models/cnn/ready"
    with running([home / "bin" / "mlserver", "start", folder], folder, variables, ready):
        yield {"grpc": f"grpc://127.0.0.1:{grpc}", "v2": f"http://127.0.0.1:{http}"}


@contextmanager
def running(command: list[object], folder: Path, variables: dict[str, str], ready: str) -> Iterator[None]:
    """Run a server until the block ends, which begins when an address of it answers."""
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **variables}, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _await(ready, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    said = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise UnavailableError(f"the server does not start ({' '.join(said)})")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    # So that the servers end with this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with triton(root / "triton") as first, mlserver(root / "mlserver") as second:
        print("Triton", first, "MLServer", second, flush=True)
        with suppress(KeyboardInterrupt):
            time.sleep(1e9)

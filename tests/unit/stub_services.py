"""Services on this machine that answer for a small model, with the faults that services have."""

from __future__ import annotations

import json
import threading
import time
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

FEATURES, OUTPUTS = 6, 3
WEIGHTS = np.random.default_rng(7).normal(size=(FEATURES, OUTPUTS))
BINARY_HEADER = "Inference-Header-Content-Length"


def network(rows):
    """The model, in float64; each row by itself, so that it does not depend on its batch."""
    return np.stack(
        [np.tanh(row @ WEIGHTS) + row @ WEIGHTS / 4 for row in np.asarray(rows, float).reshape(-1, FEATURES)]
    )


def jacobian(row):
    """Exact gradients of the outputs, shape (outputs, features)."""
    return (WEIGHTS * (1 - np.tanh(row @ WEIGHTS) ** 2 + 0.25)).T


@dataclass
class Service:
    """What a service does, and what it was asked.

    `faults` holds what goes wrong with the next requests for outputs, one for each; None for nothing.
    """

    faults: list = field(default_factory=list)
    change: object = None  # Called with the outputs of a batch, returns others.
    always: str | None = None
    largest: int | None = None
    binary: bool = True
    metadata: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)  # Rows of each request that came, answered or not.
    headers: list = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    delay: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    end: threading.Event = field(default_factory=threading.Event)
    times: list = field(default_factory=list)
    paths: list = field(default_factory=list)
    forgotten: set = field(default_factory=set)  # Connections on which nothing is answered any more.

    def fault(self):
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always

    def outputs(self, rows):
        found = network(rows)
        return found if self.change is None else self.change(found)

    @contextmanager
    def busy(self, rows, headers):
        with self.lock:
            self.asked.append(rows)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.end.wait(self.delay)
            yield
        finally:
            with self.lock:
                self.at_once -= 1

    def described(self):
        return {
            "name": "m",
            "versions": ["1"],
            "platform": "stub",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, FEATURES]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, OUTPUTS]}],
        } | self.metadata


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def parse_request(self):
        """Leave the query out of the path."""
        done = super().parse_request()
        if done:
            self.server.service.paths.append(self.path)
            self.path = self.path.partition("?")[0]
        return done

    def do_GET(self):
        service = self.server.service
        if self.path in ("/v2/models/m", "/v2/models/m/versions/1"):
            return self.reply(200, json.dumps(service.described()).encode())
        if self.path == "/v2/models/m/config" and service.largest:
            return self.reply(200, json.dumps({"max_batch_size": service.largest}).encode())
        return self.reply(404, b'{"error": "Request for unknown model: \'n\' is not found"}')

    def do_POST(self):
        service = self.server.service
        if self.connection in service.forgotten:
            service.end.wait(20)
            return None
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head_size = self.headers.get(BINARY_HEADER)
        document = json.loads(body[: int(head_size)] if head_size else body)
        rows = self.rows(document, body[int(head_size) :] if head_size else b"")
        with service.busy(len(rows), dict(self.headers)):
            fault = service.fault()
            if fault is not None and (done := getattr(self, f"fault_{fault}", None)):
                return done(rows, document, head_size)
            return self.answer(rows, document, head_size, fault)

    def rows(self, document, rest):
        if "inputs" in document and isinstance(document["inputs"][0], dict):
            tensor = document["inputs"][0]
            if "data" not in tensor:
                return np.frombuffer(rest, "<f4").reshape(tensor["shape"])
            return np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        for key in ("inputs", "instances", "features"):
            if key in document:
                found = document[key]
                found = [item["x"] if isinstance(item, dict) else item for item in found]
                return np.array(found, float).reshape(-1, FEATURES)
        return np.array(document["dataframe_split"]["data"], float)

    def answer(self, rows, document, head_size, fault=None):
        service = self.server.service
        if service.largest and len(rows) > service.largest:
            return self.reply(400, json.dumps({"error": f"batch-size must be <= {service.largest}"}).encode())
        outputs = service.outputs(rows)
        outputs = {"fewer": outputs[:-1], "nan": outputs * np.nan}.get(fault, outputs)
        outputs = outputs.round(4) if fault == "rounded" else outputs
        if self.path.startswith("/v2/"):
            if head_size and not service.binary:
                return self.reply(500, b"Internal Server Error")
            tensor = {"name": "y", "datatype": "FP32", "shape": list(outputs.shape)}
            if fault == "text":
                tensor |= {"datatype": "BYTES", "data": ["cat"] * len(rows), "shape": [len(rows)]}
                return self.reply(200, json.dumps({"outputs": [tensor]}).encode())
            values = outputs.astype("<f4")
            if head_size:
                tensor["parameters"] = {"binary_data_size": values.nbytes}
                head = json.dumps({"model_name": "m", "outputs": [tensor]}).encode()
                return self.reply(200, head + values.tobytes(), **{BINARY_HEADER: str(len(head))})
            tensor["data"] = values.ravel().tolist()
            return self.reply(200, json.dumps({"outputs": [tensor]}).encode())
        if self.path == "/one":
            return self.reply(200, json.dumps({"result": {"scores": outputs[0].tolist()}}).encode())
        if self.path == "/each":
            rows = [{"scores": row} for row in outputs.tolist()]
            return self.reply(200, json.dumps({"predictions": rows}).encode())
        return self.reply(200, json.dumps({"predictions": outputs.tolist()}).encode())

    def fault_busy(self, *_):
        self.reply(429, b'{"error": "slow down"}', **{"Retry-After": "0"})

    def fault_later(self, *_):
        self.reply(503, b"try later", **{"Retry-After": "1"})

    def fault_date(self, *_):
        self.reply(503, b"try later", **{"Retry-After": formatdate(time.time() + 2, usegmt=True)})

    def fault_hour(self, *_):
        self.reply(503, b"", **{"Retry-After": "3600"})

    def fault_unavailable(self, *_):
        self.reply(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>")

    def fault_broken(self, *_):
        self.reply(500, b'{"error": "the model raised KeyError"}')

    def fault_forbidden(self, *_):
        token = self.headers.get("Authorization", "")
        self.reply(401, json.dumps({"error": f"bad token {token}", "trace": "x" * 5000}).encode())

    def fault_wrong(self, *_):
        self.reply(400, b'{"error": "unexpected shape for input \'x\'"}')

    def fault_large(self, *_):
        self.reply(413, b"too large")

    def fault_slow(self, rows, document, head_size):
        self.server.service.end.wait(1.5)
        self.answer(rows, document, head_size)

    def fault_drip(self, *_):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            if self.server.service.end.wait(0.05):
                return
            self.wfile.write(b" ")
            self.wfile.flush()

    def fault_cut(self, rows, document, head_size):
        self.short = True
        self.answer(rows, document, head_size)
        self.close_connection = True

    def fault_closes(self, *_):
        self.close_connection = True
        self.connection.shutdown(2)

    def fault_last(self, rows, document, head_size):
        """Answer, and close the connection without having said so."""
        self.answer(rows, document, head_size)
        self.close_connection = True

    def fault_page(self, *_):
        self.reply(200, b"<html>welcome</html>")

    def fault_moved(self, *_):
        self.reply(301, b"", Location="https://models.example.com/v2")

    def fault_elsewhere(self, *_):
        self.reply(307, b"", Location=self.server.service.elsewhere + self.path)

    short = False

    def reply(self, status, body, **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.short else body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *args):
        super().__init__(*args)
        self.connections = []

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self):
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, *_):
        """Say nothing of clients that went away."""


@contextmanager
def http_service(service=None, port=0):
    """Yield a service and its address while it runs."""
    service = service or Service()
    server = Server(("127.0.0.1", port), Handler)
    server.service = service
    service.server = server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        service.end.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def grpc_service(service=None, port=0, longest=None):
    """Yield a service that speaks gRPC and its address; `longest` bytes of a message, 4 MiB by default."""
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    service = service or Service()

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelMetadata(self, request, context):
            if request.name != "m":
                context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
            said = service.described()
            tensor = service_pb2.ModelMetadataResponse.TensorMetadata
            tensors = {key: [tensor(**each) for each in said[key]] for key in ("inputs", "outputs")}
            return service_pb2.ModelMetadataResponse(name="m", versions=["1"], platform="stub", **tensors)

        def ModelConfig(self, request, context):
            if not service.largest:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "no")
            found = service_pb2.ModelConfigResponse()
            found.config.max_batch_size = service.largest
            return found

        def ModelInfer(self, request, context):
            rows = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(request.inputs[0].shape)
            with service.busy(len(rows), dict(context.invocation_metadata())):
                fault = service.fault()
                if fault == "slow":
                    service.end.wait(1.5)
                if fault in grpc.StatusCode.__members__:
                    context.abort(grpc.StatusCode[fault], "not now")
                values = service.outputs(rows).astype("<f4")
                shape = [len(rows) + 1, OUTPUTS] if fault == "cut" else list(values.shape)
                output = service_pb2.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=shape)
                if fault == "typed":
                    output.contents.fp32_contents.extend(values.ravel().tolist())
                    return service_pb2.ModelInferResponse(outputs=[output])
                return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[values.tobytes()])

    options = [] if longest is None else [("grpc.max_receive_message_length", longest)]
    options.append(("grpc.so_reuseport", 0))
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    number = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield service, f"grpc://127.0.0.1:{number}"
    finally:
        service.end.set()
        server.stop(0).wait(5)

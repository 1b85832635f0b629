"""The Open Inference Protocol, version 2, by gRPC."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import SplitResult

import numpy as np

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.services.addresses import PORTS, Headers, is_loopback
from approxgrad.models.services.calls import FEW_TRIES, Caller, PassingError, RefusedError, TooLargeError
from approxgrad.models.services.http_requests import QUOTED
from approxgrad.models.services.protocols import Array, Facts
from approxgrad.models.services.v2_rest import DTYPES, V2

PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED")
DOUBTFUL = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
"""Status codes after which a service is asked again, and those after which it is only a few times."""

CONTENTS = {
    **{"BOOL": "bool_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"},
    **{"INT64": "int64_contents", "UINT64": "uint64_contents"},
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
}
"""Fields for outputs of services that do not answer with bytes."""


class GrpcV2(V2):
    """By gRPC, with rows as bytes.

    Parameters
    ----------
    address : SplitResult
        Of the service.
    headers : Headers
        Sent as metadata.
    caller : Caller
        Repeats requests.
    timeout : float
        Seconds that a request may take.
    others
        As of :class:`approxgrad.models.services.v2_rest.V2`.
    """

    json: ClassVar[bool] = False

    def __init__(self, address: SplitResult, headers: Headers, caller: Caller, timeout: float, *others: Any) -> None:
        super().__init__(*others)
        with needing("serving"):
            import grpc
            from tritonclient.grpc import service_pb2, service_pb2_grpc
        self._grpc: Any = grpc
        self._messages: Any = service_pb2
        self._stub_class: Any = service_pb2_grpc.GRPCInferenceServiceStub
        self._headers, self._caller, self._timeout = headers, caller, timeout
        host = address.hostname or ""
        self._target = f"{f'[{host}]' if ':' in host else host}:{address.port or PORTS[address.scheme]}"
        self._encrypted, self._direct = address.scheme == "grpcs", is_loopback(host)
        self._lock = threading.Lock()
        self._stub: Any = None

    def close(self) -> None:
        """Close the connection when the last request that uses it has ended."""
        with self._lock:
            self._stub = None

    def _metadata(self, stop: threading.Event) -> Mapping[str, Any]:
        asked = self._messages.ModelMetadataRequest(name=self._model, version=self._version)
        found = self._caller.call(lambda: self._attempt("ModelMetadata", asked), stop)
        return {
            "versions": list(found.versions),
            "platform": found.platform,
            **{
                key: [
                    {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
                    for tensor in getattr(found, key)
                ]
                for key in ("inputs", "outputs")
            },
        }

    def _largest_batch(self, stop: threading.Event) -> int:
        asked = self._messages.ModelConfigRequest(name=self._model, version=self._version)
        try:
            found = self._caller.call(lambda: self._attempt("ModelConfig", asked), stop)
        except ModelError:  # Only Triton has this.
            return 0
        return int(found.config.max_batch_size)

    def ask(self, rows: Array, facts: Facts, stop: threading.Event) -> Array:
        """Return the outputs for some rows."""
        names, messages = facts.names, self._messages
        tensor = messages.ModelInferRequest.InferInputTensor(
            name=names["input"], datatype=names["datatype"], shape=list(rows.shape)
        )
        output = messages.ModelInferRequest.InferRequestedOutputTensor
        asked = messages.ModelInferRequest(
            model_name=self._model,
            model_version=self._version,
            inputs=[tensor],
            outputs=[output(name=names["output"])] if names["output"] else [],
            raw_input_contents=[np.ascontiguousarray(rows).tobytes()],
        )
        return self._caller.call(lambda: self._outputs(self._attempt("ModelInfer", asked), facts), stop)

    def _outputs(self, found: Any, facts: Facts) -> Array:
        if not found.outputs:
            raise ModelError(f"{self._name}: answers no outputs")
        place = self._picked(list(found.outputs), facts, lambda output: str(output.name))
        chosen = found.outputs[place]
        shape = list(chosen.shape)
        if found.raw_output_contents:
            return self._from_bytes(found.raw_output_contents[place], chosen.datatype, shape)
        if chosen.datatype not in CONTENTS:
            raise ModelError(f"{self._name}: answers {chosen.datatype}, such as text; expected numbers such as logits")
        values = np.array(getattr(chosen.contents, CONTENTS[chosen.datatype]), DTYPES[chosen.datatype])
        return self._from_bytes(values.tobytes(), chosen.datatype, shape)

    def _attempt(self, method: str, asked: Any) -> Any:
        """Return the answer to one request."""
        stub = self._connected()
        metadata = [(name.lower(), value) for name, value in self._headers.values().items()]
        try:
            return getattr(stub, method)(asked, timeout=self._timeout, metadata=metadata)
        except self._grpc.RpcError as error:
            with self._lock:
                # A new connection at once: the old one would wait longer and longer before it tries again.
                self._stub = None if self._stub is stub else self._stub
            raise self._explained(error) from error
        except ValueError as error:  # A message above 2 GiB.
            raise TooLargeError(f"{self._name}: the request cannot be sent ({one_line(error, QUOTED)})") from error

    def _explained(self, error: Any) -> Exception:
        code, said = error.code().name, one_line(self._headers.hide(error.details() or ""), 2 * QUOTED)
        line = f"answers {code} ({said})" if said else f"answers {code}"
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in said:
            return TooLargeError(f"{self._name}: {line}")
        if code == "UNAVAILABLE" and "SSL_ERROR_SSL" in said:
            said = said.rpartition("OPENSSL_internal:")[2]
            return RefusedError(
                f"{self._name}: the encrypted connection failed ({said}); the environment variable "
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names a file with the certificates to trust"
            )
        if code == "UNAVAILABLE" and any(word in said for word in ("connect", "resol", "DNS")):
            missing = "DNS" in said or "resol" in said
            line = "no such host" if missing else f"nothing answers at this address ({said})"
            return PassingError(line, away=True)
        if code == "DEADLINE_EXCEEDED":
            return PassingError(f"no answer within {self._timeout:g} s")
        if code in PASSING:
            return PassingError(line)
        if code in DOUBTFUL:
            return PassingError(line, tries=FEW_TRIES)
        helps = "; token_variable names the environment variable with the token" if code == "UNAUTHENTICATED" else ""
        return RefusedError(f"{self._name}: {line}{helps}")

    def _connected(self) -> Any:
        with self._lock:
            if self._stub is None:
                options = [
                    ("grpc.max_send_message_length", -1),
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.use_local_subchannel_pool", 1),
                ]
                if self._direct:
                    options.append(("grpc.enable_http_proxy", 0))
                if self._encrypted:
                    secure = self._grpc.ssl_channel_credentials()
                    channel = self._grpc.secure_channel(self._target, secure, options=options)
                else:
                    channel = self._grpc.insecure_channel(self._target, options=options)
                self._stub = self._stub_class(channel)
            return self._stub

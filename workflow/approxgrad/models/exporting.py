"""Writing a network for another runtime or in half precision, and seeing that the file gives the same outputs.

The same network gives the same bytes: what the libraries add of names, traces of the source and paths is left out.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from approxgrad.models.evaluating import TRIED_ROWS, evaluated, explained
from approxgrad.models.kind import ModelError, Shape
from approxgrad.models.libraries import needing
from approxgrad.models.model_files import load_model
from approxgrad.models.opening import AGREEMENT
from approxgrad.storage.seals import sealed_weights

OPSET = 20
"""Version of the operators of an ONNX file."""

LARGEST_BYTES = 2**31 - 2**20
"""An ONNX file holds its weights up to this size; a larger one would need further files."""

NOTES = ("doc_string", "metadata_props")
"""Fields of an ONNX file that hold comments, and places in the source of what made it."""

CHECKED_BATCHES = (1, TRIED_ROWS, 5)
"""Numbers of random rows for which the outputs of a file are compared with the network's."""


def random_inputs(shape: Shape, rows: int) -> Tensor:
    """Return random rows, always the same ones."""
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def write_onnx(path: Path, network: nn.Module, shape: Shape) -> dict[str, Any]:
    """Write a network as an ONNX file and return its largest difference of outputs, relative to the largest output.

    Raises a ModelError if a library is missing, the network cannot be exported, or the file gives other outputs than
    rounding explains.
    """
    from approxgrad.models.onnx_model import OnnxModel

    path.write_bytes(onnx_bytes(network, shape, OPSET))
    model = OnnxModel(path, threads=torch.get_num_threads())
    worst = 0.0
    for rows in CHECKED_BATCHES:
        inputs = random_inputs(shape, rows)
        with evaluated(network), explained(f"exported: the file fails for a batch of {rows}"):
            expected, found = network(inputs).double(), torch.as_tensor(model(inputs)).double()
        if found.shape != expected.shape:
            raise ModelError(
                f"exported: the file returns shape {tuple(found.shape)} for a batch of {rows}, the network "
                f"{tuple(expected.shape)}; the network must treat every row by itself, whatever the size of the batch"
            )
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)))
    if not worst <= AGREEMENT:
        raise ModelError(
            f"exported: the outputs of the ONNX file differ from the network's by {worst:.2g} of the largest, expected "
            f"at most {AGREEMENT:g}; the network does something that an ONNX file does not hold, such as counting calls"
        )
    return {"largest_difference": worst}


def onnx_bytes(network: nn.Module, shape: Shape, opset: int) -> bytes:
    """Return a network as an ONNX model with a batch of any size; the same network gives the same bytes.

    Raises a ModelError if a library is missing, or the network cannot be exported.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*network.parameters(), *network.buffers()))
    if size > LARGEST_BYTES:
        raise ModelError(
            f"exported: the weights have {size / 2**30:.2g} GiB, expected at most 2 GiB, which an ONNX file holds"
        )
    with needing("onnx"):
        import onnx  # noqa: F401
    with needing("study"):
        import onnxscript  # noqa: F401
    batch = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), explained("exported: the network cannot be written as ONNX"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (random_inputs(shape, TRIED_ROWS),),
            dynamo=True,
            dynamic_shapes=batch,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            verbose=False,
        )
        model = program.model_proto  # type: ignore[union-attr]
        return plain_model(model)


def plain_model(model: Any) -> bytes:
    """Return the bytes of an ONNX model without comments, and traces of what made it."""
    from google.protobuf.message import Message

    waiting = [model]
    while waiting:
        own = waiting.pop()
        for name in NOTES:
            if name in own.DESCRIPTOR.fields_by_name:
                own.ClearField(name)
        for field, value in own.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else value
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of a difference of outputs, relative to that of the expected ones."""
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-30))


class HalfNetwork:
    """A network that computes in half precision, with inputs and outputs of the caller's type.

    Its `file` is one of :func:`write_half`, the `precision` is ``float16`` or ``bfloat16``.
    """

    def __init__(self, file: Path, precision: str, device: torch.device) -> None:
        self.dtype: torch.dtype = getattr(torch, precision)
        self.network = load_model(file, device).to(self.dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the outputs (N, outputs) at inputs (N, ...)."""
        with torch.no_grad():
            found: Tensor = self.network(inputs.to(self.dtype))
        return found.to(inputs.dtype)


def write_half(path: Path, weights: Path, precision: str, shape: Shape) -> dict[str, Any]:
    """Write a file of weights in half precision and return by how much the outputs differ then.

    Raises a ModelError if a weight is beyond the range of the precision, or the network cannot compute in it.
    """
    cpu, dtype = torch.device("cpu"), getattr(torch, precision)
    network = load_model(weights, cpu)
    with safe_open(weights, framework="pt") as file:
        document = json.loads(file.metadata()["approxgrad"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    # It tells what the weights came from; the measures tell what this file came from.
    document.pop("provenance", None)
    halved = {name: own.to(dtype) if own.is_floating_point() else own for name, own in tensors.items()}
    for name, own in halved.items():
        if not torch.equal(own.isfinite(), tensors[name].isfinite()):
            raise ModelError(
                f"exported: {name} has a number beyond {torch.finfo(dtype).max:g}, the largest of {precision}; take "
                "another precision"
            )
    path.write_bytes(sealed_weights(save(halved, metadata={"approxgrad": json.dumps(document, allow_nan=False)})))
    inputs = random_inputs(shape, max(CHECKED_BATCHES))
    half = HalfNetwork(path, precision, cpu)
    with evaluated(network), explained(f"exported: the network fails in {precision}"):
        return {"relative_difference": relative_difference(half(inputs), network(inputs))}

"""Small ONNX files for tests: a linear map, or whatever nodes are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

WEIGHTS = np.array([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0], [3.0, 0.5, 2.0], [-1.0, 1.5, 0.0]], np.float32)
"""Of the linear map, (features, outputs)."""

F32 = TensorProto.FLOAT


def port(name: str, shape: list[Any] | None, kind: int = F32) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def made(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any] | None = None, **options: Any
) -> ModelProto:
    """Return a model of operators of opset 20."""
    initialisers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initialisers)
    opsets = [
        helper.make_opsetid(domain, version) for domain, version in ({"": 20} | options.pop("opsets", {})).items()
    ]
    return helper.make_model(graph, opset_imports=opsets, ir_version=options.pop("ir_version", 10))


def linear(batch: int | str | None = "N", dtype: Any = np.float32, kind: int = F32) -> ModelProto:
    """Return x @ WEIGHTS, computed in a type of floats, from inputs x of perhaps another type."""
    own = {np.float32: F32, np.float64: TensorProto.DOUBLE, np.float16: TensorProto.FLOAT16}[dtype]
    nodes = [helper.make_node("Cast", ["x"], ["c"], to=own), helper.make_node("MatMul", ["c", "w"], ["y"])]
    return made(nodes, [port("x", [batch, 4], kind)], [port("y", [batch, 3], own)], {"w": WEIGHTS.astype(dtype)})


def saved(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def kept_outside(model: ModelProto, path: Path, location: str, *, write: bool = True) -> Path:
    """Save a model whose weights are in another file beside it."""
    content = b""
    for tensor in model.graph.initializer:
        for key, value in (("location", location), ("offset", len(content)), ("length", len(tensor.raw_data))):
            tensor.external_data.add(key=key, value=str(value))
        content += tensor.raw_data
        tensor.data_location = TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
    if write:
        (path.parent / location).parent.mkdir(exist_ok=True)
        (path.parent / location).write_bytes(content)
    return saved(model, path)

"""What an ONNX file says of its model: inputs, outputs, and the files beside it that hold its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from approxgrad.messages import one_line
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.storage.beginnings import recognised

LARGEST = 2**31 - 1
"""Bytes of the largest file: protobuf has no larger messages."""

NUMBERS = {
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "FLOAT16": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "UINT16": "uint16",
    "INT16": "int16",
    "UINT32": "uint32",
    "INT32": "int32",
    "UINT64": "uint64",
    "INT64": "int64",
}
"""Types of tensors, by their name in ONNX, that numpy has as well."""

WITHOUT_ZIPMAP = "for a classifier of skl2onnx convert it with options={'zipmap': False}"


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes
    ----------
    name : str
        Its name in the file.
    kind : str
        ONNX's name of the type of a tensor's elements, or ``sequence``, ``map``, ``optional`` and others.
    shape : tuple or None
        An integer, a name or None for each axis; None if the file does not say it.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({NUMBERS.get(self.kind, self.kind.lower())}, shape ({sizes}))"

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Its type in numpy; None if it is not a tensor of real numbers."""
        return np.dtype(NUMBERS[self.kind]) if self.kind in NUMBERS else None

    @property
    def sizes(self) -> tuple[int | None, ...] | None:
        """The shape, with None for each axis of any length."""
        return None if self.shape is None else tuple(s if isinstance(s, int) else None for s in self.shape)


@dataclass(frozen=True)
class OnnxFile:
    """What an ONNX file says of its model.

    Attributes
    ----------
    path : Path
        The file.
    inputs, outputs : tuple of Port
        Inputs without initialisers, and outputs, in the file's order.
    external : dict of Path to int
        The files beside it that hold tensors, and the bytes that each must have.
    """

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external: dict[Path, int]

    def check_external(self) -> None:
        """Refuse, by a ModelError, a model without all its files."""
        for path, size in self.external.items():
            place = f"{self.path}: keeps weights in {path.name}"
            if not path.is_file():
                raise ModelError(f"{place}, which is not in {path.parent}; move or copy both files together")
            found = path.stat().st_size
            if found < size:
                other = recognised(path)
                hint = f"; {other}" if other else ""
                raise ModelError(f"{place}, which has {found:,} bytes, expected at least {size:,}{hint}")
            if not any(
                path.resolve().is_relative_to(own.parent) for own in (self.path.absolute(), self.path.resolve())
            ):
                raise ModelError(f"{place}, a link to {path.resolve()}, expected a file in the model's own folder")


def read_onnx(path: Path) -> OnnxFile:
    """Read what an ONNX file says of its model, but not the files beside it.

    Raises a ModelError if it cannot be read, is not an ONNX file, or names files that lie outside its folder.
    """
    try:
        state = path.stat()
        if not path.is_file():
            what = "is a folder, expected an ONNX file" if path.is_dir() else "is not a file"
            raise ModelError(f"{path}: {what}")
        return _read(path, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({one_line(error.strerror or error)})") from error


@lru_cache(maxsize=32)
def _read(path: Path, _time: int, size: int) -> OnnxFile:
    """Read a file; those of a study are read once, whenever Snakemake starts."""
    with needing("onnx"):
        from google.protobuf.message import DecodeError
        from onnx import ModelProto
    if size > LARGEST:
        raise ModelError(f"{path}: has {size:,} bytes, an ONNX file has less than 2 GiB; keep weights as external data")
    try:
        model = ModelProto.FromString(path.read_bytes())
    except DecodeError:
        other = recognised(path)
        raise ModelError(f"{path}: is damaged or not an ONNX file{f'; {other}' if other else ''}") from None
    graph = model.graph
    if not (graph.node and graph.output):
        raise ModelError(f"{path}: is {'empty' if size == 0 else 'not an ONNX file with a graph'}")
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    return OnnxFile(
        path,
        tuple(_port(value) for value in graph.input if value.name not in weights),
        tuple(_port(value) for value in graph.output),
        _external(path, model),
    )


def _port(value: Any) -> Port:
    from onnx import TensorProto

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(value.name, str(kind).removesuffix("_type"), None)
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        # Some exporters write -1 or 0 for an axis of any length.
        shape = tuple(axis.dim_value if axis.dim_value > 0 else axis.dim_param or None for axis in tensor.shape.dim)
    try:
        return Port(value.name, TensorProto.DataType.Name(tensor.elem_type), shape)
    except ValueError:
        return Port(value.name, f"type {tensor.elem_type}", shape)


def _external(path: Path, model: Any) -> dict[Path, int]:
    from onnx import TensorProto

    found: dict[Path, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = Path(entries.get("location", ""))
        if not place.parts or place.is_absolute() or ".." in place.parts:
            raise ModelError(
                f"{path}: tensor {tensor.name} is in {str(place)!r}, expected a file in the model's own folder"
            )
        try:
            end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        except ValueError:
            raise ModelError(f"{path}: offset or length of tensor {tensor.name} is not a number") from None
        own = path.parent / place
        found[own] = max(found.get(own, 0), end)
    return found


def _tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors in a message, wherever they stand: initialisers, attributes, subgraphs, functions."""
    from google.protobuf.message import Message

    waiting = [message]
    while waiting:
        own = waiting.pop()
        if own.DESCRIPTOR.name == "TensorProto":
            yield own
            continue
        for field, value in own.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else value

"""Quantising an ONNX model with onnxruntime: static scales from training rows, or dynamic ones from each batch."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from approxgrad.models.evaluating import evaluated, explained
from approxgrad.models.exporting import OPSET, onnx_bytes, plain_model, random_inputs, relative_difference
from approxgrad.models.kind import ModelError, Shape
from approxgrad.models.libraries import needing
from approxgrad.models.onnx_model import OnnxModel
from approxgrad.storage.splits import Split

WIDE_OPSET = 21
"""Version of the operators that have 16-bit quantisation."""

CALIBRATION_BATCH = 32
"""Training rows that scales are found with at once."""


def write_static(
    path: Path, network: nn.Module, rows: NDArray[np.float32], *, wide: bool, method: str, per_channel: bool
) -> dict[str, Any]:
    """Write a network as an ONNX file with quantised weights and activations, whose scales follow from some rows.

    Parameters
    ----------
    path : path
        The file.
    network : Module
        The network.
    rows : ndarray
        Inputs (N, ...), on which the ranges of all activations are found.
    wide : bool
        Whether activations have 16 bits instead of 8. Weights have 8.
    method : str
        ``minmax``, ``entropy`` or ``percentile``.
    per_channel : bool
        Whether weights have a scale for each output channel.

    Returns
    -------
    dict
        ``calibration_rows``, and ``relative_difference`` of the outputs for these rows, by the Euclidean norm.

    Raises
    ------
    ModelError
        If a library is missing, or the network cannot be exported or quantised.
    """
    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    with _prepared(network, rows.shape[1:], WIDE_OPSET if wide else OPSET) as source:
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Rows(CalibrationDataReader):  # type: ignore[misc]
            """The rows, batch by batch."""

            def __init__(self) -> None:
                self.batches = iter(np.array_split(rows, -(-len(rows) // CALIBRATION_BATCH)))

            def get_next(self) -> dict[str, NDArray[np.float32]] | None:
                batch = next(self.batches, None)
                return None if batch is None else {"input": np.ascontiguousarray(batch)}

        quantize_static(
            source,
            path,
            Rows(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt16 if wide else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            calibrate_method=getattr(CalibrationMethod, methods[method]),
        )
    return {"calibration_rows": len(rows), **_finished(path, network, torch.from_numpy(rows), None)}


def write_dynamic(path: Path, network: nn.Module, shape: Shape, *, per_channel: bool) -> dict[str, Any]:
    """Write a network as an ONNX file with quantised weights, whose activations are quantised by the range of a batch.

    Parameters and errors are those of :func:`write_static`. The difference is that of some random rows, one by one.
    """
    with _prepared(network, shape, OPSET) as source:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=per_channel)
    return _finished(path, network, random_inputs(shape, 8), 1)


def drawn_rows(train: Split, count: int, seed: int) -> NDArray[np.float32]:
    """Return the inputs (N, ...) of some training rows, drawn without replacement; of all if there are fewer."""
    drawn = np.random.default_rng(seed).permutation(len(train.target))[:count]
    return train.rows(np.sort(drawn)).model_inputs()


@contextmanager
def _prepared(network: nn.Module, shape: tuple[int, ...], opset: int) -> Iterator[Path]:
    """Write the network as ONNX into a temporary folder, with the shapes of all that it computes."""
    content = onnx_bytes(network, shape, opset)
    with needing("onnx"):
        from onnxruntime.quantization.shape_inference import quant_pre_process

    level = logging.getLogger().level
    with tempfile.TemporaryDirectory(prefix="approxgrad-") as folder, explained("exported: cannot be quantised"):
        plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
        plain.write_bytes(content)
        try:
            # It prints its progress, and warns of what a user cannot change.
            logging.getLogger().setLevel(logging.ERROR)
            with redirect_stdout(io.StringIO()):
                quant_pre_process(plain, prepared, skip_symbolic_shape=True)
                yield prepared
        finally:
            logging.getLogger().setLevel(level)


def _finished(path: Path, network: nn.Module, inputs: Tensor, batch_size: int | None) -> dict[str, Any]:
    """Strip a quantised file, and return by how much its outputs differ from the network's."""
    import onnx

    model = onnx.load(path)
    if not any("Quantize" in node.op_type for node in model.graph.node):
        raise ModelError("exported: nothing in the network can be quantised; it has no convolution or matrix product")
    path.write_bytes(plain_model(model))
    opened = OnnxModel(path, batch_size=batch_size, threads=torch.get_num_threads())
    with evaluated(network), explained("exported: the quantised file fails"):
        return {"relative_difference": relative_difference(opened(inputs), network(inputs))}

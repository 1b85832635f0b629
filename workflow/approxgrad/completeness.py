"""Completeness of Integrated Gradients: attributions should sum to what the output gained from baseline to input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from approxgrad.tables import TableError, read_attributions


def completeness_residuals(paths: Sequence[Path | str], cells: Sequence[tuple[str, str]]) -> pa.Table:
    """Return by how much the attributions of every sample miss the difference of the outputs.

    Parameters
    ----------
    paths : sequence of path
        Attribution files of path methods.
    cells : sequence of (str, str)
        Method and gradient source of each of them.

    Returns
    -------
    Table
        One row for each file and sample: ``method``, ``gradient``, ``scheme``, ``step``, ``sample``;
        ``attribution_sum`` over the features, in float64; ``output`` and ``baseline_output`` of the model;
        ``residual``, the sum minus the difference of the outputs; and ``relative_residual``, the residual over the
        absolute difference, null where the outputs are equal.

    Raises
    ------
    TableError
        If a file has no outputs at the ends of the path.
    """
    parts = []
    for path, (method, gradient) in zip(paths, cells, strict=True):
        result = read_attributions(path)
        if result.output is None or result.baseline_output is None:
            raise TableError(f"{path}: lacks the outputs at input and baseline; attribute it again")
        rows = len(result.sample)
        total = result.attribution.sum(axis=1, dtype=np.float64)
        gain = result.output - result.baseline_output
        residual = total - gain
        size = np.abs(gain)
        relative = np.divide(residual, size, out=np.zeros(rows), where=size > 0)
        columns = {
            "method": pa.array([method] * rows),
            "gradient": pa.array([gradient] * rows),
            "scheme": pa.array([result.metadata["scheme"]] * rows),
            "step": pa.array([result.metadata["step"]] * rows, pa.float64()),
            "sample": pa.array(result.sample),
            "attribution_sum": pa.array(total),
            "output": pa.array(result.output),
            "baseline_output": pa.array(result.baseline_output),
            "residual": pa.array(residual),
            "relative_residual": pa.array(relative, mask=size == 0),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)

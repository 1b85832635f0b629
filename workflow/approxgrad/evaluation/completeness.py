"""Completeness: the attributions of a path method should sum to what the output gains from baseline to input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from approxgrad.evaluation.frames import source_columns
from approxgrad.storage.attributions import END_COLUMNS, attribution_file
from approxgrad.storage.table_checks import TableError, matrix


def residuals_table(inputs: Mapping[str, Any], params: Mapping[str, Any]) -> pa.Table:
    """Return by how much the attributions of every sample miss the difference of the outputs, for a rule.

    The ``attributions`` are files of path methods, the ``methods`` those of each. The table has a row for each file
    and sample: ``method``, the columns :data:`approxgrad.evaluation.frames.SOURCE`, ``sample``; ``attribution_sum``
    over the features, in float64; ``output`` and ``baseline_output`` of the model; ``residual``, the sum minus the
    difference of the outputs; and ``relative_residual``, the residual over the absolute difference, null where the
    outputs are equal. A TableError names a file without outputs at the ends of the path.
    """
    parts = []
    for path, method in zip(inputs["attributions"], params["methods"], strict=True):
        file = attribution_file(path, ["attribution"])
        ends = file.read([name for name in ("sample", *END_COLUMNS) if name in file.schema.names])
        if any(name not in file.schema.names or ends[name].null_count == len(ends) for name in END_COLUMNS):
            raise TableError(f"{path}: lacks the outputs at input and baseline; attribute it again")
        rows = len(ends)
        pieces = (matrix(piece["attribution"], "attribution", path) for piece in file.pieces(["attribution"]))
        total = np.concatenate([maps.sum(axis=1, dtype=np.float64) for maps in pieces])
        output, baseline_output = (ends[name].to_numpy() for name in END_COLUMNS)
        gain = output - baseline_output
        residual = total - gain
        size = np.abs(gain)
        relative = np.divide(residual, size, out=np.zeros(rows), where=size > 0)
        columns = {
            "method": pa.array([method] * rows),
            **source_columns(file.metadata, rows),
            "sample": ends["sample"],
            "attribution_sum": pa.array(total),
            "output": pa.array(output),
            "baseline_output": pa.array(baseline_output),
            "residual": pa.array(residual),
            "relative_residual": pa.array(relative, mask=size == 0),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)

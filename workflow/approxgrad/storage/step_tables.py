"""Tables of chosen steps: a single row, with a column for each field of a choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table, write_table

COLUMN_TYPES = {float: pa.float64(), int: pa.int64(), str: pa.string(), bool: pa.bool_()}


def write_choice(path: Path | str, choice: Any, metadata: Mapping[str, Any]) -> None:
    """Write a chosen step; column types follow from its annotations, not values, so that all files form one table."""
    hints = get_type_hints(type(choice)).items()
    # Of an annotation such as ``float | None``, the type that is not None.
    kinds = [(name, *(set(get_args(hint) or (hint,)) - {type(None)})) for name, hint in hints]
    schema = pa.schema([(name, COLUMN_TYPES[kind]) for name, kind in kinds])
    write_table(path, pa.Table.from_pylist([asdict(choice)], schema=schema), metadata)


def read_choice(path: Path | str, scheme: str) -> dict[str, Any]:
    """Return a chosen step for a scheme and what it was chosen from, by field, or raise a TableError."""
    rows = read_table(path)[0].to_pylist()
    if len(rows) != 1 or not {"step", "scheme"} <= rows[0].keys():
        raise TableError(f"{path}: does not hold one chosen step")
    (row,) = rows
    if row["scheme"] != scheme:
        raise TableError(f"{path}: holds a step for the scheme {row['scheme']!r}, expected {scheme!r}")
    step = row["step"]
    if not (isinstance(step, float) and math.isfinite(step) and step > 0):
        raise TableError(f"{path}: step is {step!r}, expected a positive number")
    # An unknown value may be infinite, which the JSON of result files cannot hold.
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}

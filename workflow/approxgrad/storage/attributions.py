"""Attribution files: the maps of one data set, model, method and gradient source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from approxgrad.storage.names import Names, names_of
from approxgrad.storage.row_groups import document_schema, group_rows, write_row_groups
from approxgrad.storage.table_checks import TableError, check_attributions, matrix
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import lists

# Lists in result files have no fixed size: readers give one schema to all data sets, which differ in features.
ATTRIBUTION_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "sample": (pa.int64(), "Number of the row among the test rows, from 0 on."),
    "target": (pa.int64(), "Number of the explained class; null for a model with one output."),
    "family": (pa.string(), "Kind of the gradient source, such as `forward`."),
    "setting": (pa.float64(), "What a study varies of it, such as the step; null for `exact`."),
    "setting_name": (pa.string(), "What that is: `step`, `evaluations`, ...; empty for `exact`."),
    "chosen": (pa.bool_(), "Whether the setting was chosen at run time (`auto`)."),
    "dtype": (pa.string(), "Precision of the computation."),
    "evaluations": (pa.int64(), "Model evaluations for the attribution of one row."),
    # Float64 whatever a map was computed in: readers of a folder give all its files the schema of the first, which
    # would round the others to it.
    "attribution": (pa.list_(pa.float64()), "The map, flat."),
    "input": (pa.list_(pa.float32()), "What the model was given: the normalised features, flat."),
    "truth": (pa.list_(pa.float32()), "True effects of the features, where they are known."),
    "output": (pa.float64(), "Explained output at the input, where a method or its reference needs it."),
    "baseline_output": (pa.float64(), "The same at the baseline, for methods with a path."),
    "origin": (pa.string(), "Row of the table, from 1 on without the header, or file of the image; null otherwise."),
}
"""Types of the columns, and a line about each."""

ATTRIBUTION_SCHEMA = pa.schema([(name, kind) for name, (kind, _) in ATTRIBUTION_COLUMNS.items()])


SOURCE_COLUMNS = ["family", "setting", "setting_name", "chosen", "dtype", "evaluations"]
"""Columns that say what gradient an attribution has; the same for all its rows, and entries of the metadata."""


END_COLUMNS = ["output", "baseline_output"]
"""Outputs at the ends of a path, from which the completeness residual follows."""

OPTIONAL_COLUMNS = [*END_COLUMNS, "origin"]
"""Columns that an attribution file may lack, or hold no values in."""


@dataclass(frozen=True)
class Attributions:
    """One attribution file: the maps of one data set, model, method and gradient source."""

    sample: NDArray[np.int64]  # (N,): row of the test split
    attribution: NDArray[np.floating[Any]]  # (N, d) in the precision of the computation; float64 when read from a file
    inputs: NDArray[np.float32]  # (N, d): what the model was given
    target: NDArray[np.int64] | None  # (N,): the explained output; None for a model with one output
    truth: NDArray[np.float32] | None  # (N, d): the true effects, where known
    metadata: dict[str, Any]  # feature shape, normalisation, gradient source, method options, cost and versions
    output: NDArray[np.float64] | None = None  # (N,): the explained output at the input, for methods with a path
    baseline_output: NDArray[np.float64] | None = None  # the same at the baseline
    origin: NDArray[np.str_] | None = None  # (N,): the row of a table, from 1 on, or the file, that a sample is from

    @property
    def names(self) -> Names:
        """What features and classes are called."""
        return names_of(self.metadata)


def write_attributions(path: Path | str, result: Attributions) -> None:
    """Write one attribution file; its metadata hold :data:`SOURCE_COLUMNS`."""
    rows = len(result.sample)
    none = pa.nulls(rows, pa.list_(pa.float32()))
    columns = [
        pa.array(result.sample),
        pa.nulls(rows, pa.int64()) if result.target is None else pa.array(result.target),
        *(pa.array([result.metadata[name]] * rows, ATTRIBUTION_SCHEMA.field(name).type) for name in SOURCE_COLUMNS),
        lists(result.attribution.astype(np.float64)),
        lists(result.inputs),
        none if result.truth is None else lists(result.truth),
        *(
            pa.nulls(rows, pa.float64()) if values is None else pa.array(values, pa.float64())
            for values in (result.output, result.baseline_output)
        ),
        pa.nulls(rows, pa.string()) if result.origin is None else pa.array(result.origin, pa.string()),
    ]
    schema = document_schema(ATTRIBUTION_SCHEMA, result.metadata)
    write_row_groups(path, schema, [pa.table(columns, schema=schema)], group_rows(result.attribution.shape[1]))


def attribution_file(path: Path | str, needed: Sequence[str]) -> TableFile:
    """Return an attribution file to be read in pieces; a TableError if it is not one of :func:`write_attributions`."""
    file = TableFile(path, ["sample", *needed])
    check_attributions(file.schema, ATTRIBUTION_SCHEMA, file.metadata, path)
    if file.read(["sample"])["sample"].null_count:
        raise TableError(f"{path}: column sample lacks values")
    return file


def read_attributions(path: Path | str, rows: slice | Sequence[int] = slice(None)) -> Attributions:
    """Return one attribution file, or some rows of it; a TableError if it is not one of :func:`write_attributions`."""
    needed = ["sample", "target", "attribution", "input", "truth"]
    file = attribution_file(path, needed)
    columns = [*needed, *(name for name in OPTIONAL_COLUMNS if name in file.schema.names)]
    table = file.read(columns) if rows == slice(None) else file.take(np.arange(file.rows)[rows], columns)
    known = {name for name in table.column_names if table[name].null_count < len(table)}
    return Attributions(
        sample=table["sample"].to_numpy(),
        attribution=matrix(table["attribution"], "attribution", path),
        inputs=matrix(table["input"], "input", path),
        target=table["target"].to_numpy() if "target" in known else None,
        truth=matrix(table["truth"], "truth", path) if "truth" in known else None,
        metadata=file.metadata,
        **{name: table[name].to_numpy() for name in END_COLUMNS if name in known},
        origin=table["origin"].to_numpy().astype(str) if "origin" in known else None,
    )

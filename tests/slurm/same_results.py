"""Whether two runs of a study gave the same results, byte for byte."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq

from approxgrad.storage.row_groups import METADATA_KEY

MEASURED = {"seconds"}
"""Entries of a file's metadata that differ from run to run by their nature."""
TELLS_OF_THE_RUN = {"results/report/run.html"}
"""Files that quote measured times."""


def result_files(folder: Path) -> dict[str, Path]:
    """Return the data sets and results of a run by their names, without those that quote measured times."""
    files = [path for name in ("data", "results") for path in (folder / name).rglob("*") if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in files if not path.name.startswith(".")}
    return {name: path for name, path in named.items() if name not in TELLS_OF_THE_RUN}


def content(path: Path) -> bytes:
    """Return a file's bytes; a table that holds measured times is written again without them."""
    table = pq.ParquetFile(path).read() if path.suffix == ".parquet" else None
    document = json.loads(table.schema.metadata[METADATA_KEY]) if table is not None else {}
    if not document.keys() & MEASURED:
        return path.read_bytes()
    rest = {key: value for key, value in document.items() if key not in MEASURED}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(rest, sort_keys=True)}), buffer)
    return buffer.getvalue()


def differing(first: Path, second: Path) -> list[str]:
    """Return the names of result files that only one of two runs has, or that differ in them."""
    one, other = result_files(first), result_files(second)
    shared = one.keys() & other.keys()
    return sorted((one.keys() ^ other.keys()) | {name for name in shared if content(one[name]) != content(other[name])})

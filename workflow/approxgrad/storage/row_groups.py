"""How tables are written: a JSON document as metadata, and row groups that do not depend on how the rows arrive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from approxgrad.storage.files import write_atomically
from approxgrad.storage.seals import seal_parquet

METADATA_KEY = b"approxgrad"  # key of the JSON document in the schema metadata of a file

GROUP_BYTES = 2**23
"""Bytes of a row group in a large file. A reader holds at least one group, and several arrays of its size."""

FEATURE_BYTES = 16  # bytes of an attribution file for each feature of a row: map, input and truth


def document_schema(schema: pa.Schema, metadata: Mapping[str, Any]) -> pa.Schema:
    """Return a schema with a JSON document in its metadata."""
    document = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    return schema.with_metadata({**(schema.metadata or {}), METADATA_KEY: document.encode()})


def group_rows(features: int) -> int:
    """Return the number of rows in a row group of an attribution file."""
    return max(1, GROUP_BYTES // (FEATURE_BYTES * features))


def write_row_groups(path: Path | str, schema: pa.Schema, tables: Iterable[pa.Table], rows: int) -> None:
    """Write tables below each other in row groups of `rows` rows, of which the last may be smaller.

    Only the table that has just arrived and the row group to be written are in memory.
    """

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, schema, **writer_options(schema)) as writer:
            for group in _groups(tables, rows):
                writer.write_table(group, row_group_size=rows)
        seal_parquet(temporary)

    write_atomically(path, write)


def writer_options(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are compressed; page checksums let other programs find damage as well.

    Attributions, the lists of float64, hardly ever repeat, so their bytes compress better without a dictionary. Inputs
    have one: 8-bit pixels take few values.
    """
    maps = [field.name for field in schema if pa.types.is_list(field.type) and field.type.value_type == pa.float64()]
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": [
            f"{field.name}.list.element" if pa.types.is_nested(field.type) else field.name
            for field in schema
            if field.name not in maps
        ],
        "use_byte_stream_split": [f"{name}.list.element" for name in maps],
    }


def _groups(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    held = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            waiting.append(table.slice(start, rows - held))
            start += waiting[-1].num_rows
            held += waiting[-1].num_rows
            if held == rows:
                # Pages end where chunks do, so a group is one chunk.
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, held = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()

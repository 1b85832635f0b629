"""How a long attribution is cut: into blocks, on which its last digits depend, and shards of whole blocks.

A model's kernels differ with the number of inputs that it is given at once, so results depend on which samples are
attributed together. Those are the samples of one block, whose size never depends on the number of shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from approxgrad.provenance.document import joined_provenance
from approxgrad.storage.attributions import ATTRIBUTION_SCHEMA, attribution_file
from approxgrad.storage.row_groups import document_schema, group_rows, write_row_groups
from approxgrad.storage.table_file import TableFile

BLOCK_EVALUATIONS = 2**16
"""Model evaluations of a block: so many that those of a last, smaller batch do not matter for the speed."""

SHARD_EVALUATIONS = 2**20
"""Model evaluations of an automatic shard: minutes of a small network on a CPU, much more than a job's start."""

WHOLE = (1, 1)
"""The only shard of a cell that is not cut."""

MAY_DIFFER = {"model_evaluations", "check_evaluations", "lost_steps", "batch_size", "device", "versions"} | {
    "rounding_ratios",
    "predicted",
    "service",
}
"""Entries of the metadata that are not the same in all shards of a cell."""

Shard = tuple[int, int]
"""Number of a shard, from 1 on, and the number of shards."""


def shard_count(asked: int | str, samples: int, per_sample: int | None) -> int:
    """Return the number of shards of a cell.

    Parameters
    ----------
    asked : int or "auto"
        What the configuration says; ``auto`` for shards of about :data:`SHARD_EVALUATIONS`.
    samples : int
        Samples of the cell.
    per_sample : int or None
        Evaluations for each of them; None if that is not known yet: then ``auto`` does not cut, and shards may turn
        out to be empty.
    """
    wanted = asked if isinstance(asked, int) else ceil(samples * (per_sample or 0) / SHARD_EVALUATIONS)
    return max(1, min(wanted, samples if per_sample is None else ceil(samples / _block_size(per_sample))))


def shard_blocks(samples: int, per_sample: int, shard: Shard = WHOLE) -> list[slice]:
    """Return the blocks of a shard as slices of the drawn samples; the shards of a cell differ by at most one block."""
    size = _block_size(per_sample)
    starts = range(0, samples, size)
    number, shards = shard
    own = starts[(number - 1) * len(starts) // shards : number * len(starts) // shards]
    return [slice(start, min(start + size, samples)) for start in own]


def _block_size(per_sample: int) -> int:
    return max(1, BLOCK_EVALUATIONS // max(1, per_sample))


def shard_name(shard: Shard) -> str:
    """Return how a shard is called in paths, such as ``3-of-8``."""
    return "{}-of-{}".format(*shard)


def named_shard(name: str) -> Shard:
    """Return the shard with a name; a ValueError if it is not the name of a shard."""
    match = re.fullmatch(r"([1-9]\d*)-of-([1-9]\d*)", name)
    if match is None or int(match[1]) > int(match[2]):
        raise ValueError(f"shard: got {name!r}, expected a name such as 3-of-8")
    return int(match[1]), int(match[2])


def gather(paths: Sequence[Path | str], target: Path | str) -> dict[str, Any]:
    """Write the shards of a cell as one file, the same as if the cell had not been cut; return its metadata.

    Raises
    ------
    TableError
        If a shard cannot be read or is damaged.
    ValueError
        If the shards are not those of one cell.
    """
    metadata = merged([_shard(path).metadata for path in paths])
    rows = group_rows(prod(metadata["feature_shape"]))
    write_row_groups(target, document_schema(ATTRIBUTION_SCHEMA, metadata), _tables(paths), rows)
    return metadata


def _tables(paths: Sequence[Path | str]) -> Iterator[pa.Table]:
    for path in paths:
        file = _shard(path)
        if file.rows:
            yield from file.pieces(ATTRIBUTION_SCHEMA.names)


def _shard(path: Path | str) -> TableFile:
    return attribution_file(path, ATTRIBUTION_SCHEMA.names)


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of a cell from those of its shards.

    Raises a ValueError if the shards differ in more than their cost and where they were computed.
    """
    result = {key: value for key, value in documents[0].items() if key != "rounding_ratios"}
    values = {key: [document[key] for document in documents] for key in documents[0]}
    for key in ("model_evaluations", "lost_steps"):
        result[key] = sum(values[key])
    # Every job makes the same check, a whole cell's as well; on another device it may take more evaluations.
    result["check_evaluations"] = max(values["check_evaluations"])
    result["batch_size"] = min((size for size in values["batch_size"] if size is not None), default=None)
    result["device"] = _joined(values["device"])
    result["versions"] = {name: _joined([own[name] for own in values["versions"]]) for name in result["versions"]}
    # A shard without samples has no predictions, and most sources make none.
    predicted = [own for document in documents if (own := document.get("predicted"))]
    result.pop("predicted", None)
    if predicted:
        result["predicted"] = {name: [row for own in predicted for row in own[name]] for name in predicted[0]}
    ratios = [ratio for own in values["rounding_ratios"] for ratio in own]
    result["rounding_scale"] = float(np.median(ratios)) if ratios else None
    if "provenance" in result:
        result["provenance"] = joined_provenance(values.pop("provenance"))
    for key in values.keys() - MAY_DIFFER:
        if any(value != values[key][0] for value in values[key]):
            raise ValueError(f"shards: {key} differs between them ({', '.join(map(repr, values[key]))})")
    return result


def _joined(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))

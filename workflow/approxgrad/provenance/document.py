"""What a result came from: configuration, code, input files, libraries and machine, as one document in its file.

The document is the entry ``provenance`` of the JSON under the metadata key ``approxgrad`` of parquet and safetensors
files. It contains neither time nor host, so the same study gives the same bytes again.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from approxgrad import __version__
from approxgrad.provenance.digests import code_digest, input_digest
from approxgrad.storage.row_groups import METADATA_KEY
from approxgrad.storage.seals import ParquetSeal, SealError, check_weights

NOT_CONFIGURATION = {"versions", "states"}
"""Parameters of rules that only let Snakemake notice changes of code and files."""

ENVIRONMENT = (
    *("ATEN_CPU_CAPABILITY", "CUBLAS_WORKSPACE_CONFIG", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
    *("NPY_DISABLE_CPU_FEATURES", "NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE"),
    *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",),
)
"""Variables that make libraries use other instructions or another precision."""


CONDITIONS = ("approxgrad", "libraries", "machine", "python")
"""Entries of a document that must be equal for the same computation to give the same bytes."""


class ProvenanceError(ValueError):
    """A file that does not say what it came from."""


def provenance(snakemake: Any, machine: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the results of a job come from, with the `machine` of a job that evaluates a model.

    The entries are ``script``; ``config``, the parameters of the rule; ``code``, a digest of script and package files,
    which the input ``code`` lists in this order; ``inputs``, the digest of each other named input; ``libraries`` with
    their versions; ``approxgrad`` and ``python``, versions; ``machine``, with the variables of :data:`ENVIRONMENT` that
    are set.
    """
    inputs = {name: value for name, value in snakemake.input.items() if name != "code"}
    return described(snakemake.params, snakemake.input.code, inputs) | {
        "python": platform.python_version(),
        "machine": {
            **(machine or {}),
            "environment": {key: os.environ[key] for key in ENVIRONMENT if key in os.environ},
        },
    }


def described(parameters: Mapping[str, Any], code: Sequence[Path | str], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of :func:`provenance` that does not depend on where the job runs."""
    document = {
        "script": Path(code[0]).name,
        "approxgrad": __version__,
        "config": {name: value for name, value in parameters.items() if name not in NOT_CONFIGURATION},
        "code": code_digest(code),
        "inputs": {name: input_digest(paths) for name, paths in inputs.items() if paths},
        "libraries": {name: number for name, number in parameters["versions"].items() if name != "code"},
    }
    # As it will be read back: tuples as lists; keys of mappings, infinities and NaN as text.
    same: dict[str, Any] = json.loads(json.dumps(document), parse_constant=str)
    return same


def joined_provenance(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document of a result whose parts were made under their own conditions, or raise a ProvenanceError."""
    first = documents[0]
    for key in first.keys() - set(CONDITIONS):
        if any(document[key] != first[key] for document in documents):
            raise ProvenanceError(f"provenance: {key} differs between parts of one result")
    return {key: _joined([document[key] for document in documents]) for key in first}


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Return what a parquet or safetensors file of a study came from, or raise a ProvenanceError."""
    try:
        document = json.loads(_metadata(Path(path))[METADATA_KEY.decode()])
        found: dict[str, Any] = document["provenance"]
    except (OSError, SealError, pa.ArrowException, SafetensorError) as error:
        raise ProvenanceError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    except (KeyError, json.JSONDecodeError):
        raise ProvenanceError(f"{path}: does not say what it came from") from None
    return found


def _joined(values: Sequence[Any]) -> Any:
    """Return the common value, or the different ones in one text; mappings entry by entry."""
    if all(value == values[0] for value in values):
        return values[0]
    if isinstance(values[0], Mapping):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: _joined([value.get(name, "none") for value in values]) for name in names}
    return ", ".join(dict.fromkeys(map(str, values)))


def _metadata(path: Path) -> dict[str, str | bytes]:
    if path.suffix == ".safetensors":
        check_weights(path)
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    ParquetSeal(path)
    metadata = pq.read_schema(path).metadata or {}
    return {name.decode(): value for name, value in metadata.items()}

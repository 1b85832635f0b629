"""Tables of measured spectra: a row for each direction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from approxgrad.gradients.directional.spectrum import Spectrum
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table, write_table


def write_spectrum(path: Path | str, spectrum: Spectrum, metadata: Mapping[str, Any]) -> None:
    """Write a spectrum, a row for each direction."""
    write_table(path, pa.table({"energy": pa.array(spectrum.energies.numpy())}), metadata)


def read_spectrum(path: Path | str) -> Spectrum:
    """Return a spectrum of :func:`write_spectrum`; a TableError if the file is none."""
    table, document = read_table(path)
    try:
        energies = torch.from_numpy(np.array(table["energy"].to_numpy(), np.float64))
        shape = tuple(map(int, document["feature_shape"]))
        found = Spectrum(energies, document["basis"], (shape,), document["pilots"], document["model_evaluations"])
    except (KeyError, TypeError, ValueError, pa.ArrowInvalid):
        raise TableError(f"{path}: is not a spectrum") from None
    if len(energies) != np.prod(shape) or not bool(torch.isfinite(energies).all()):
        raise TableError(f"{path}: has {len(energies)} energies, expected a finite one for each feature of {shape}")
    return found

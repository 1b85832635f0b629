"""Attributions that follow from a shared gradient: nothing is evaluated for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from approxgrad.gradients.precisions import HALVES
from approxgrad.gradients.source import Source
from approxgrad.methods.method import method_of
from approxgrad.storage.attributions import Attributions, read_attributions


def derive_cell(path: Path | str, entry: Mapping[str, Any]) -> Attributions:
    """Return the attributions of a method that is a function of input and gradient.

    They have the same numbers as if the method had been given the gradient source: arithmetic is in the precision of
    the gradients. `path` is a file of the method ``gradient``, `entry` has the name of the method as ``attribution``,
    and its options. Raises a TableError if the file cannot be read.
    """
    method = method_of(entry)
    shared = read_attributions(path)
    dtype = shared.metadata["dtype"]
    inputs, gradient = (_in_precision(values, dtype) for values in (shared.inputs, shared.attribution))
    maps = _array(method.from_gradient(inputs, gradient))
    metadata = {**shared.metadata, "method": dict(entry), "signed": method.signed}
    if "predicted" in metadata:
        metadata["predicted"] = {name: own for name, own in metadata["predicted"].items() if name == method.name}
    if shared.output is not None:
        ratios = rounding_ratios(shared.output, _array(method.factor(inputs, 0 * inputs)), maps)
        metadata["rounding_scale"] = float(np.median(ratios)) if len(ratios) else None
    return replace(shared, attribution=maps, metadata=metadata, output=None)


def _in_precision(values: NDArray[np.floating[Any]], dtype: str) -> Any:
    """Return an array of a precision, or a tensor where numpy has no arithmetic of torch's."""
    if dtype not in HALVES:
        return values.astype(dtype)
    import torch

    return torch.from_numpy(values.copy()).to(getattr(torch, dtype))


def _array(values: Any) -> NDArray[np.floating[Any]]:
    return values if isinstance(values, np.ndarray) else np.asarray(values.float().numpy())


def source_columns(source: Source, setting: float | None, evaluations: int) -> dict[str, Any]:
    """Return :data:`approxgrad.storage.attributions.SOURCE_COLUMNS` of a source with the setting that was used."""
    return {
        "family": source.family,
        "setting": setting,
        "setting_name": source.kind.setting_name,
        "chosen": source.chosen,
        "dtype": source.dtype,
        "evaluations": evaluations,
    }


def rounding_ratios(
    outputs: NDArray[np.floating[Any]], factors: NDArray[np.floating[Any]], maps: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the steps at which an error of |f| in every difference is as large as the attribution.

    With outputs f of shape (N,), the factors w that an attribution multiplies the gradient with, and the exact maps
    ``w f'``, both of shape (N, d), these are ``|f| |w| / |w f'|`` in units of the inputs, one for each map that is not
    zero. Their median is the ``rounding_scale`` of a cell.
    """
    norms = np.linalg.norm(maps.astype(float), axis=1)
    errors = np.abs(outputs.astype(float)) * np.linalg.norm(factors.astype(float), axis=1)
    return np.asarray(errors[norms > 0] / norms[norms > 0])


def rounding_step(source: Source, setting: float | None, spread: Any, increments: NDArray[np.float64]) -> float | None:
    """Return the step by which errors of outputs are divided in an attribution; None where that is not known.

    Parameters
    ----------
    source : Source
        What differences are made with.
    setting : float or None
        Its step.
    spread : Tensor or None
        Standard deviations of the features, if steps are multiples of them: then it is the smallest step.
    increments : ndarray
        For steps that are the increments of paths, those of each row, of shape (N, d). With w = n times the increments,
        n errors of |f| in each of d features are those of steps ``|w| / (n sqrt(d))``, the root mean square of the
        increments; the median over the rows.
    """
    if setting is None or source.is_exact or source.kind.is_budget:
        return None
    if source.kind.along_path:
        steps = np.sqrt(np.square(increments).mean(axis=1))
        return float(np.median(steps)) if len(steps) else None
    if source.kind.is_step:
        return setting
    return None if spread is None else float(setting * spread.min())

"""Shapley values of an ensemble of trees: an exact attribution, but another quantity than Integrated Gradients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from approxgrad.gradients.arrays import Given
from approxgrad.gradients.checks import broadcast_baselines, check_inputs
from approxgrad.gradients.targets import OutputSelector, Target, target_indices
from approxgrad.models.evaluating import explained
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.tree_ensembles import Array, Ensemble
from approxgrad.models.tree_model import TreeModel

ROUNDING = 1e-4
"""Largest gap between the sum of the values and the change of the output, over the sum of their sizes."""


def tree_shap(model: TreeModel, inputs: Any, background: Any, target: Target = None) -> Any:
    """Return interventional Shapley values of the trees (Lundberg et al., 2020, https://doi.org/10.1038/s42256-019-0138-9).

    The value of a feature is its mean contribution over all orders in which features change from a background row to
    the input, averaged over the rows; with a single row it is the Baseline Shapley value. Like Integrated Gradients
    from that row it sums to the change of the output, but it walks along the edges of a box and not along its diagonal:
    the two agree for sums of functions of one feature each, and differ where features interact.

    Parameters
    ----------
    model : TreeModel
        Its margins, logits, or what a forest predicts, are explained.
    inputs : Tensor, array or DataFrame
        Shape (N, d).
    background : number, Tensor, array, Series or DataFrame
        Rows that features change from, of shape (M, d) or (d,); a number stands for a row of it.
    target : Target
        The column of the outputs that is explained, for each input or for all; None if there is only one.

    Returns
    -------
    Tensor, array or DataFrame
        Shape (N, d), of the type of the inputs.

    Raises
    ------
    TypeError, ValueError
        If inputs, background or target do not fit.
    ModelError
        If shap is not installed, has no TreeSHAP for the model, or its values do not sum to the change of the output.

    Notes
    -----
    Computed by the library shap, from the trees and not from evaluations: time grows with rows, background rows, trees
    and leaves.
    """
    if not isinstance(model, TreeModel):
        raise TypeError(f"model: expected a TreeModel, got {type(model).__name__}")
    if model.transform is not None or (model.ensemble.boosted and model.output in ("probability", "prediction")):
        own = "transform" if model.transform is not None else "output"
        raise ModelError(
            f"{own}: TreeSHAP explains sums over trees: the margin or logits of boosted trees, what a forest predicts"
        )
    given = Given(model, inputs)
    check_inputs(given.inputs)
    rows = given.inputs.detach().cpu().numpy().astype(model.dtype)
    starts = given.baselines(background)
    count = len(starts) if isinstance(starts, torch.Tensor) and starts.ndim == 2 else 1
    like = given.inputs[:1].detach().expand(count, *given.inputs.shape[1:])
    data = broadcast_baselines(starts, like).cpu().numpy().astype(model.dtype)
    outputs = torch.from_numpy(np.asarray(model(rows), np.float64))
    indices = target_indices(given.target(target), len(rows))
    change = OutputSelector(indices)(outputs, torch.arange(len(rows))).numpy()
    column = np.zeros(len(rows), np.int64) if indices is None else indices[:, 0].cpu().numpy()
    values = _columns(model.ensemble, rows, data, model.output)
    own_values = values[np.arange(len(rows)), :, column]
    start = np.asarray(model(data), np.float64).reshape(count, -1).mean(axis=0)[column]
    _check_sum(own_values, change - start)
    return given.returned(torch.from_numpy(own_values).to(given.inputs))


def _columns(ensemble: Ensemble, rows: Array, background: Array, output: str) -> Array:
    """Return the values for all columns of the outputs: float64 of shape (N, d, K)."""
    with needing("trees"):
        import shap
    seen, starts = ensemble.seen(rows), ensemble.seen(background)
    # All rows of the background are taken, where shap would draw some.
    masker = shap.maskers.Independent(starts, max_samples=len(starts))
    by_column: dict[int, list[Any]] = {}
    for table in ensemble.tables():
        if not np.isfinite(table.values).all():
            raise ModelError(
                "model: has leaves with more than one number or a linear model, which TreeSHAP does not take"
            )
        by_column.setdefault(table.column, []).append(table.for_shap())
    found = []
    for _, trees in sorted(by_column.items()):
        with warnings.catch_warnings(), explained("shap: cannot explain this model"):
            warnings.simplefilter("ignore")
            own = shap.TreeExplainer(
                {"trees": trees, "input_dtype": seen.dtype.type},
                masker,
                feature_perturbation="interventional",
                model_output="raw",
            )
            values = np.asarray(own.shap_values(seen, check_additivity=False), np.float64)
        found.append(values.reshape(*rows.shape, -1))
    margins = np.concatenate(found, axis=2)
    return ensemble.linear(margins.reshape(-1, margins.shape[2]), output).reshape(*rows.shape, -1)


def _check_sum(values: Array, change: Array) -> None:
    """Refuse values that do not sum to the change of the output, so that shap and the library do not read one model."""
    gap = np.abs(values.sum(axis=1) - change)
    allowed = ROUNDING * (np.abs(values).sum(axis=1) + np.abs(change)) + 1e-6
    if not (gap <= allowed).all():
        row = int((gap - allowed).argmax())
        raise ModelError(
            f"shap: the values of row {row} sum to {values[row].sum():g} where the output changes by {change[row]:g}; "
            "this release of shap does not understand the model"
        )

"""Shapley values of an ensemble of trees: an exact attribution, but another quantity than Integrated Gradients."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from approxgrad.gradients.evaluating.arrays import Given, behind, numbers
from approxgrad.gradients.evaluating.checks import check_inputs, is_number
from approxgrad.gradients.evaluating.targets import OutputSelector, Target, target_indices
from approxgrad.models.evaluating import explained
from approxgrad.models.kind import ModelError
from approxgrad.models.libraries import needing
from approxgrad.models.opening import opened
from approxgrad.models.tree_ensembles import Array, Ensemble
from approxgrad.models.tree_model import TreeModel
from approxgrad.models.tree_tables import Table

ROUNDING = 1e-5
"""Largest gap between the sum of the values and the change of the output, over the sizes of values and outputs."""


MOST_NODES = 2**15 - 1
"""Nodes of a tree that shap can number."""


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
        Shape (N, d), or rows of another shape with d numbers.
    background : number, Tensor, array, Series or DataFrame
        Rows that features change from, of shape (M, d) or (d,); a number stands for a row of it.
    target : Target
        The column of the outputs that is explained, for each input or for all; None if there is only one.

    Returns
    -------
    Tensor, array or DataFrame
        Of the shape and type of the inputs.

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
    own = behind(model)
    if not isinstance(own, TreeModel):
        raise TypeError(f"model: expected a TreeModel, got {type(own).__name__}")
    model = own
    if model.transform is not None or (model.ensemble.boosted and model.output in ("probability", "prediction")):
        own = "transform" if model.transform is not None else "output"
        raise ModelError(
            f"{own}: TreeSHAP explains sums over trees: the margin or logits of boosted trees, what a forest predicts"
        )
    given = Given(model, inputs)
    check_inputs(given.inputs)
    rows = _flat(given.inputs, model)
    starts = _background(background, inputs, rows, model)
    outputs = torch.from_numpy(np.asarray(model(rows), np.float64))
    indices = target_indices(given.target(target), len(rows))
    explained_outputs = OutputSelector(indices)(outputs, torch.arange(len(rows))).numpy()
    column = np.zeros(len(rows), np.int64) if indices is None else indices[:, 0].cpu().numpy()
    values = _columns(model.ensemble, rows, starts, model.output)[np.arange(len(rows)), :, column]
    mean = np.asarray(model(starts), np.float64).mean(axis=0)
    _check_sum(values, explained_outputs, mean[column])
    return given.returned(torch.from_numpy(values).reshape(given.inputs.shape).to(given.inputs))


class ShapleyValues:
    """:func:`tree_shap` with the baselines of a path, in the place of a gradient source."""

    along_path = True

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Refuse to be a gradient, by a ValueError."""
        raise ValueError("gradient: Shapley values are attributions, so they take the place of Integrated Gradients")

    def path_attributions(
        self, model: Any, inputs: torch.Tensor, baselines: torch.Tensor, target: Target, n_steps: int
    ) -> torch.Tensor:
        """Return the values of inputs (N, ...) from their baselines; the number of steps does not matter.

        Raises a ModelError as :func:`tree_shap`, or if the model is not an ensemble of trees.
        """
        own = opened(model) or behind(model)
        if not isinstance(own, TreeModel):
            raise ModelError("model: has no trees, of which TreeSHAP could be computed")
        indices = target_indices(target, len(inputs))
        starts, number = baselines.flatten(1).unique(dim=0, return_inverse=True)
        found = torch.empty_like(inputs)
        for place, start in enumerate(starts):
            rows = number == place
            found[rows] = tree_shap(own, inputs[rows], start, None if indices is None else indices[rows])
        return found


def _flat(inputs: torch.Tensor, model: TreeModel) -> Array:
    return inputs.detach().cpu().double().numpy().reshape(len(inputs), -1).astype(model.dtype)


def _background(background: Any, inputs: Any, rows: Array, model: TreeModel) -> Array:
    """Return the background as rows (M, d) in the model's precision; a frame or series in the order of the inputs."""
    if hasattr(background, "to_frame"):
        background = background.to_frame().T
    if hasattr(background, "columns"):
        if hasattr(inputs, "columns"):
            missing = [name for name in inputs.columns if name not in background.columns]
            if missing or len(background.columns) != len(inputs.columns):
                what = f"{missing[0]!r} is missing" if missing else "there are more of them"
                raise ValueError(f"background: columns are not those of the inputs: {what}")
            background = background[list(inputs.columns)]
        model.check_columns(list(background.columns))
    elif isinstance(background, torch.Tensor):
        background = background.detach().cpu().double().numpy()
    elif is_number(background):
        background = np.full(rows.shape[1], float(background))
    values = numbers(background if hasattr(background, "columns") else np.asarray(background), "background")
    starts = values.reshape(-1, rows.shape[1]) if values.size and values.size % rows.shape[1] == 0 else values
    if starts.ndim != 2 or starts.shape[1] != rows.shape[1]:
        raise ValueError(f"background: got shape {values.shape}, expected rows of {rows.shape[1]} features")
    if not np.isfinite(starts).all():
        raise ValueError("background: expected finite values")
    return starts.astype(model.dtype)


def _columns(ensemble: Ensemble, rows: Array, background: Array, output: str) -> Array:
    """Return the values for all columns of the outputs: float64 of shape (N, d, K)."""
    with needing("trees"):
        import shap
    tables = ensemble.tables()
    for table in tables:
        if not np.isfinite(table.values).all():
            raise ModelError("model: has leaves with several numbers or a linear model, which TreeSHAP does not take")
        if len(table.left) > MOST_NODES:
            raise ModelError(f"model: has a tree of {len(table.left):,} nodes, shap takes at most {MOST_NODES:,}")
    tables, (seen, starts) = _ranked(tables, ensemble.seen(rows), ensemble.seen(background))
    # All rows of the background are taken, where shap would draw some.
    masker = shap.maskers.Independent(starts, max_samples=len(starts))
    by_column: dict[int, list[Any]] = {}
    for table in tables:
        by_column.setdefault(table.column, []).append(table.for_shap())
    found = []
    for _, trees in sorted(by_column.items()):
        with warnings.catch_warnings(), explained("shap: cannot explain this model"):
            warnings.simplefilter("ignore")
            own = shap.TreeExplainer(
                {"trees": trees}, masker, feature_perturbation="interventional", model_output="raw"
            )
            values = np.asarray(own.shap_values(seen, check_additivity=False), np.float64)
        found.append(values.reshape(*rows.shape, -1))
    margins = np.concatenate(found, axis=2)
    return ensemble.linear(margins.reshape(-1, margins.shape[2]), output).reshape(*rows.shape, -1)


def _ranked(tables: list[Table], *rows: Array) -> tuple[list[Table], list[Array]]:
    """Return trees and rows that compare alike, with small integers in place of thresholds and features.

    shap rounds thresholds to float32, so that rows beside a threshold would be on its other side. It rounds the values
    of leaves as well; without the constant of a tree, on which nothing depends, they keep more digits.
    """
    feature, threshold = (
        np.concatenate([getattr(table, name)[table.inner] for table in tables]) for name in ("feature", "threshold")
    )
    ranks, ranked_rows = np.zeros(len(feature)), [np.zeros(own.shape) for own in rows]
    order = np.argsort(feature, kind="stable")
    used, starts = np.unique(feature[order], return_index=True)
    for number, places in zip(used, np.split(order, starts)[1:], strict=True):
        own = np.unique(threshold[places])
        ranks[places] = np.searchsorted(own, threshold[places])
        for values, found in zip(rows, ranked_rows, strict=True):
            found[:, number] = np.searchsorted(own, values[:, number])
    ranked, place = [], 0
    for table in tables:
        nodes = np.zeros(table.left.shape)
        nodes[table.inner] = ranks[place : place + table.inner.sum()]
        place += table.inner.sum()
        constant = table.values[~table.inner].mean(axis=0)
        ranked.append(replace(table, threshold=nodes, values=table.values - constant))
    return ranked, ranked_rows


def _check_sum(values: Array, outputs: Array, starts: Array) -> None:
    """Refuse values that do not sum to the change of the output: then shap and the library do not read one model."""
    gap = np.abs(values.sum(axis=1) - (outputs - starts))
    allowed = ROUNDING * (np.abs(values).sum(axis=1) + np.abs(outputs) + np.abs(starts))
    if not (gap <= allowed).all():
        row = int((gap - allowed).argmax())
        raise ModelError(
            f"shap: the values of row {row} sum to {values[row].sum():g}, but the output changes by "
            f"{outputs[row] - starts[row]:g}; this release of shap does not understand the model"
        )

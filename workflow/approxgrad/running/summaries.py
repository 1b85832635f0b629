"""The key numbers of finished jobs, for their lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from approxgrad.evaluation.truths import TRUTHS

FEWEST_ROWS = 3
"""With fewer test rows even a good model may miss all."""


def attribution_summary(samples: int, metadata: Mapping[str, Any], seconds: float, exact: bool = False) -> str:
    """Return the key numbers of an attribution: samples, model evaluations and their rate, and lost steps.

    Evaluations for an `exact` gradient are forward and backward passes.
    """
    count = metadata["model_evaluations"]
    unit = "forward and backward passes" if exact else "evaluations"
    rate = [f"{count / seconds:,.0f}/s"] if seconds else []
    cost = [f"{count:,} {unit}", *rate] if count or metadata["setting_name"] else []
    return ", ".join([f"{samples:,} samples", *cost, *_lost_steps(metadata)])


def gathering_summary(shards: int, metadata: Mapping[str, Any]) -> str:
    """Return the key numbers of an attribution that was put together from shards."""
    return ", ".join([f"{shards} shards", f"{metadata['model_evaluations']:,} evaluations", *_lost_steps(metadata)])


def training_summary(curves: Any, remark: str = "", test_loss: float = 0.0) -> str:
    """Return the key numbers of a training; the `remark` says why it stopped early, if it had to."""
    best = curves[curves["best"] & (curves["split"] == "validation")]
    measures = dict(zip(best["metric"], best["value"], strict=True))
    epochs = curves["epoch"].max()
    parts = [f"{epochs} epoch{'s' if epochs > 1 else ''}"]
    parts += [f"stopped because {remark}, the best epoch is kept"] if remark else []
    parts.append(f"validation {measures_summary(measures)}")
    if not math.isfinite(test_loss):
        parts.append(f"the test loss is {test_loss} because outputs for some test rows are not finite")
    return ", ".join(parts)


def measures_summary(measures: Mapping[str, float]) -> str:
    """Return the main measure of a model: accuracy or R2."""
    return next(
        f"{label} {measures[name]:.3f}" for name, label in (("accuracy", "accuracy"), ("r2", "R2")) if name in measures
    )


def foreign_summary(measures: Mapping[str, float], rows: int, classes: int) -> str:
    """Return the main measure of a model that was not trained here, on the test rows, and what a bad one may mean.

    Parameters
    ----------
    measures : mapping
        The measures by name.
    rows : int
        Number of test rows.
    classes : int
        Number of classes; 0 for a regression.
    """
    summary = f"test {measures_summary(measures)}"
    if rows < FEWEST_ROWS:
        return summary
    if classes and measures["accuracy"] <= 1 / classes:
        return f"{summary}: no better than chance; are classes and normalisation those of its training?"
    if not classes and measures["r2"] < 0:
        return f"{summary}: worse than a constant; is the scale of the data that of its training?"
    return summary


def evaluation_summary(table: Any) -> str:
    """Return the smallest median relative error in the metric table of a method, and the source that has it."""
    errors: dict[str, list[float]] = {}
    columns = (table[name].to_pylist() for name in ("gradient", "reference", "relative_error"))
    for gradient, reference, error in zip(*columns, strict=True):
        if reference not in TRUTHS and error is not None:
            errors.setdefault(gradient, []).append(error)
    if not errors:
        return "no relative error is defined"
    smallest, gradient = min((median(values), name) for name, values in errors.items())
    return f"median relative error {smallest:.2g} ({gradient}" + (", the smallest)" if len(errors) > 1 else ")")


def _lost_steps(metadata: Mapping[str, Any]) -> list[str]:
    """Say how many derivatives are meaningless because x + h is x there; nothing if there are none."""
    lost = metadata["lost_steps"]
    return [f"{lost:,} derivatives lost to rounding"] if lost else []

"""What to reduce in a study that takes long: where its time goes, and which settings it is in proportion to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from approxgrad.planning.durations import duration
from approxgrad.planning.evaluations import GRADIENT, PILOTS

if TYPE_CHECKING:
    from approxgrad.study.study import Study

LONG_SECONDS = 30 * 60
"""From which time on a plan says what to reduce."""

MOST, SMALLEST_SHARE = 3, 0.1
"""How many parts of a study are named, and the share of the time that one must take."""

MANY_FEATURES = 500

DENSE = (
    "A difference for each of many features costs most here; gradients along `directions` cost what you allow "
    "(docs/budget.md)."
)


def reductions(study: Study, jobs: pd.DataFrame) -> list[str]:
    """Return lines that name the parts of a study which take most of the time that is left, and what shortens them.

    The `jobs` are those of :func:`approxgrad.planning.job_table.job_table`; jobs of unknown time are left out.
    """
    left = jobs[jobs["left"] & jobs["seconds"].notna()]
    if left.empty:
        return []
    total = float(left["seconds"].sum())
    parts = left.groupby(_parts(left), sort=False)
    largest = parts["seconds"].sum().sort_values(ascending=False, kind="stable")
    lines, dense = [], False
    for part, seconds in largest[largest >= SMALLEST_SHARE * total].head(MOST).items():
        own = left.loc[parts.groups[part]]
        levers = _levers(study, own)
        lines.append(f"  {part}: {duration(float(seconds))} of {duration(total)}; in proportion to {', '.join(levers)}")
        dense = dense or _is_dense(study, own)
    return ["It takes long. Most of the time goes to:", *lines, *([DENSE] if dense else [])]


def _parts(jobs: pd.DataFrame) -> pd.Series[str]:
    """Return for each job the part of a study that it belongs to: a method, a training or another rule."""

    def part(row: Any) -> str:
        if isinstance(row["task"], str):
            named = {GRADIENT: "gradients", PILOTS: "pilots"}.get(row["task"], row["task"])
            work = "steps chosen for " if row["chooses"] else "faithfulness of " if row["judges"] else ""
            return f"{work}{named} of {row['model']} on {row['dataset']}"
        keys = dict(own.split("=", 1) for own in row["path"].split("/") if "=" in own)
        return " ".join([row["rule"], *(f"{keys['model']} on {keys['dataset']}" if "model" in keys else "",)]).strip()

    return jobs.apply(part, axis=1)


def _levers(study: Study, jobs: pd.DataFrame) -> list[str]:
    """Return the settings of a configuration that the time of some jobs is in proportion to."""
    first = jobs.iloc[0]
    if not isinstance(first["task"], str):
        keys = dict(own.split("=", 1) for own in first["path"].split("/") if "=" in own)
        model = study.model(keys["model"]) if "model" in keys else None
        training = getattr(model, "training", None)
        if first["rule"] == "train_model" and training is not None:
            return [f"epochs ({training.epochs})", "rows of training"]
        return [f"their number ({len(jobs):,} jobs)"]
    rows = int(jobs["samples"].max())
    if first["judges"]:
        own = study.config.faithfulness
        moves = [] if own is None or own.sensitivity is None else [f"sensitivity.moves ({own.sensitivity.moves:,})"]
        return [f"samples of faithfulness ({rows:,})", *moves]
    levers = [f"samples ({rows:,})"]
    if steps := _steps(study, first["task"]):
        levers.append(f"n_steps ({steps})")
    sources = len(set(jobs["whole"])) if jobs["forward"].sum() else 0
    return levers + ([f"settings of gradients ({sources:,} with the exact one)"] if sources > 1 else [])


def _steps(study: Study, task: str) -> int:
    """Return the points of the path of a method; 0 for what has no path."""
    return getattr(study.method(task), "n_steps", 0) if task in study.config.methods else 0


def _is_dense(study: Study, jobs: pd.DataFrame) -> bool:
    """Return whether jobs evaluate a model many times for one gradient."""
    if jobs["judges"].eq(True).any():
        return False
    gradients = jobs["samples"] * [max(1, _steps(study, task)) for task in jobs["task"]]
    count = (jobs["forward"] / gradients).max()
    return bool(not math.isnan(count) and count >= MANY_FEATURES)

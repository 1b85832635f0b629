"""Settings that are chosen at run time: each once, for all cells that differentiate at the same points."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from approxgrad.descriptions import plain
from approxgrad.gradients.source import Source
from approxgrad.methods.method import Method, PathMethod
from approxgrad.study.grid import Cell

STEPS = "results/steps/dataset={dataset}/model={model}/points={points}/gradient={gradient}/part-0.parquet"
"""Path of one choice; its folders are the key columns of the table that all files form."""

CHOICE_ROWS = 64
"""Most test rows that a step is chosen with: the first of those that are attributed."""


@dataclass(frozen=True)
class Choice:
    """A step that is chosen for a model, for the points at which it is differentiated.

    Attributes
    ----------
    dataset, model : str
        Names of the study.
    points : str
        ``inputs``, or the path to them such as ``path-zero-50``.
    gradient : Source
        Scheme and precision.
    samples : int
        Test rows that it is chosen with.
    path_options : mapping
        ``baseline`` and ``n_steps`` of a path; empty for the inputs themselves.
    """

    dataset: str
    model: str
    points: str
    gradient: Source
    samples: int
    path_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def keys(self) -> dict[str, str]:
        """The names that stand in paths."""
        return {"dataset": self.dataset, "model": self.model, "points": self.points, "gradient": self.gradient.name}

    @property
    def needs_training_rows(self) -> bool:
        """Whether the path begins at the mean of the training rows, or steps are multiples of their spread."""
        return self.path_options.get("baseline") == "mean" or self.gradient.kind.needs_spread

    @property
    def path(self) -> str:
        """Path of the table with the step."""
        return STEPS.format(**self.keys)


def cell_choice(cell: Cell, method: Method) -> Choice | None:
    """Return the choice that a cell takes its step from; None if its step is not chosen.

    Only the points matter at which a method differentiates, so that methods share a choice.
    """
    if not cell.gradient.chosen:
        return None
    options = path_options(method)
    return Choice(cell.dataset, cell.model, _points(options), cell.gradient, min(CHOICE_ROWS, cell.samples), options)


def step_choices(cells: Iterable[tuple[Cell, Method]]) -> dict[str, Choice]:
    """Return the choices of a study by path, each with the rows of that of its cells that has the most."""
    found: dict[str, Choice] = {}
    for cell, method in cells:
        choice = cell_choice(cell, method)
        if choice is not None and found.setdefault(choice.path, choice).samples < choice.samples:
            found[choice.path] = choice
    return found


def path_options(method: Method) -> dict[str, Any]:
    """Return baseline and length of a method's path, written in one way whatever the configuration writes."""
    if not isinstance(method, PathMethod):
        return {}
    baseline = plain(method.baseline)
    return {"baseline": "zero" if baseline == 0 else baseline, "n_steps": method.n_steps}


def _points(options: Mapping[str, Any]) -> str:
    """Return the name of the points in paths; that of a long baseline is a digest."""
    if not options:
        return "inputs"
    baseline = options["baseline"]
    if isinstance(baseline, list):
        baseline = hashlib.sha256(json.dumps(baseline).encode()).hexdigest()[:16]
    return f"path-{baseline}-{options['n_steps']}"

"""How often the jobs of a study evaluate a model, as far as that is known before they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from approxgrad.evaluation.files import FAITHFULNESS
from approxgrad.storage.splits import read_mean_input
from approxgrad.storage.table_file import TableFile
from approxgrad.study.judged import evaluations_of_map, judged_cells, moved_cells
from approxgrad.study.shards import Shard, shard_blocks

if TYPE_CHECKING:
    from approxgrad.methods.method import Method
    from approxgrad.study.choices import Choice
    from approxgrad.study.grid import Cell
    from approxgrad.study.study import Study

GRADIENT = "gradient"  # stands in the place of a method for gradients that several methods share
PILOTS = "pilots"  # and for those at training rows, by which directions are ordered


@dataclass(frozen=True)
class Inputs:
    """What is known of a data set before it is prepared; None where only its files tell."""

    shape: tuple[int, ...] | None = None  # of one input
    training_rows: int | None = None
    mean_values: int | None = None  # distinct values of the mean training input, the baseline of some methods
    test_mean_values: int | None = None  # the same of the mean test input
    outputs: int | None = None  # of a model

    @property
    def features(self) -> int | None:
        """Number of features."""
        return None if self.shape is None else prod(self.shape)


@dataclass(frozen=True)
class Evaluation:
    """A job that attributes, computes a shared gradient, chooses a setting, or asks how faithful maps are."""

    path: str  # the file that it writes
    whole: str  # the file in which its shards are gathered
    dataset: str
    model: str
    task: str  # a method, GRADIENT, or the points at which a setting is chosen
    chooses: bool  # whether it chooses a setting
    samples: int  # test rows of the whole
    forward: int | None  # evaluations of the model; None if not known yet
    exact: int | None  # forward passes with a backward pass
    judges: bool = False  # whether it asks how faithful the maps of the method are


def known_inputs(study: Study, dataset: str) -> Inputs:
    """Return what the prepared data tell of a data set or, without them, its configuration."""
    kind = study.dataset(dataset)
    test, train = (Path("data", dataset, f"{part}.parquet") for part in ("test", "train"))
    shape, rows = kind.feature_shape, kind.training_rows
    values, outputs = None if shape is None else prod(shape), kind.outputs
    test_values = values
    if test.exists():
        document = TableFile(test).metadata
        shape, outputs = tuple(document["feature_shape"]), len(document["classes"]) or 1
        test_values = len(np.unique(read_mean_input(test)))
    if train.exists():
        rows = TableFile(train).rows
        values = len(np.unique(read_mean_input(train)))
    return Inputs(shape, rows, values, test_values, outputs)


def evaluations(study: Study, inputs: Mapping[str, Inputs]) -> list[Evaluation]:
    """Return the jobs that evaluate models: shared gradients, attributions, choices of settings, and faithfulness.

    An attribution that is derived from a shared gradient counts 0 evaluations, a choice the most that it may take.
    """
    evaluating = {path for cell in study.evaluating for path in cell.jobs}
    shared = [(GRADIENT, cell) for cell in study.gradients.values()]
    found = []
    for task, cell in shared + [(cell.method, cell) for cell in study.cells]:
        method, known = study.cell_method(cell), inputs[cell.dataset]
        for path, shard in cell.jobs.items():
            count = _evaluations(method, cell, known, shard) if path in evaluating else 0
            counts = (0, count) if cell.gradient.is_exact else (count, 0)
            found.append(Evaluation(path, cell.path, cell.dataset, cell.model, task, False, cell.samples, *counts))
    for path, pilots in study.spectra.items():
        features = inputs[pilots.dataset].features
        count = None if features is None else pilots.evaluations(features)
        found.append(Evaluation(path, path, pilots.dataset, pilots.model, PILOTS, False, pilots.samples, count, 0))
    for path, choice in study.choices.items():
        count = _most_evaluations(choice, inputs[choice.dataset].features)
        keys = choice.dataset, choice.model, choice.points
        found.append(Evaluation(path, path, *keys, True, choice.samples, count, 0))
    return [*found, *_judging(study, inputs)]


def _judging(study: Study, inputs: Mapping[str, Inputs]) -> Iterator[Evaluation]:
    """Yield the jobs that ask a model about maps, and those that compute maps again at moved inputs."""
    asked = study.config.faithfulness
    if asked is None:
        return
    for names in study.comparisons:
        rows = [min(asked.samples, cell.samples) for cell in judged_cells(study, names).values()]
        path = FAITHFULNESS.format(dataset=names[0], model=names[1], method=names[2])
        count = sum(rows) * evaluations_of_map(asked, study.method(names[2]))
        yield Evaluation(path, path, *names, False, max(rows), count, 0, judges=True)
    for path, cell in moved_cells(study).items():
        samples, moves = min(asked.samples, cell.samples), 0 if asked.sensitivity is None else asked.sensitivity.moves
        each = _per_sample(study.method(cell.method), cell, inputs[cell.dataset])
        maps = None if each is None else samples * moves * each[1]
        forward, exact = (0, maps) if cell.gradient.is_exact else (maps, 0)
        keys = cell.dataset, cell.model, cell.method
        yield Evaluation(path, path, *keys, False, samples, forward, exact, judges=True)


def _evaluations(method: Method, cell: Cell, inputs: Inputs, shard: Shard) -> int | None:
    each = _per_sample(method, cell, inputs)
    if each is None:
        return None
    # Shards are cut by a cost that does not depend on the values of the baseline.
    blocks = shard_blocks(cell.samples, each[0], shard)
    return sum(block.stop - block.start for block in blocks) * each[1]


def _per_sample(method: Method, cell: Cell, inputs: Inputs) -> tuple[int, int] | None:
    """Return the evaluations for a map, for a baseline of one value and for its own; None if not known yet."""
    shape = (1,) if cell.gradient.is_exact else inputs.shape  # the cost of an exact gradient does not depend on it
    values = _baseline_values(getattr(method, "baseline", "zero"), inputs)
    if shape is None or values is None:
        return None
    return method.evaluations(cell.gradient, shape), method.evaluations(cell.gradient, shape, values)


def _baseline_values(baseline: Any, inputs: Inputs) -> int | None:
    """Return how many distinct float32 values a baseline has."""
    if baseline == "mean":
        return inputs.mean_values
    if baseline == "test_mean":
        return inputs.test_mean_values
    return len(np.unique(np.asarray(baseline, np.float32))) if isinstance(baseline, tuple) else 1


def _most_evaluations(choice: Choice, features: int | None) -> int | None:
    # Imports torch, which only plans of studies with such choices need.
    import torch

    from approxgrad.steps.search import most_evaluations

    if features is None:
        return None
    points = choice.samples * choice.path_options.get("n_steps", 1)
    own = choice.gradient
    return most_evaluations(getattr(torch, own.dtype), own.kind.choice["scheme"], features, points)

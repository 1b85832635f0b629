"""How often the jobs of a study evaluate a model, as far as that is known before they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from approxgrad.datasets.kinds import kind
from approxgrad.methods.cost import evaluations
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import read_mean_input
from approxgrad.study.choices import Choice
from approxgrad.study.grid import Cell
from approxgrad.study.shards import WHOLE, Shard, sample_evaluations, shard_blocks
from approxgrad.study.study import Study

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """What is known of a data set before it is prepared: None where only its files tell.

    Attributes
    ----------
    shape : tuple of int or None
        Shape of one input.
    training_rows : int or None
        Rows to train on.
    mean_values : int or None
        Distinct values of the mean input, the baseline of some methods.
    """

    shape: Shape | None = None
    training_rows: int | None = None
    mean_values: int | None = None

    @property
    def features(self) -> int | None:
        """Number of features."""
        return None if self.shape is None else int(np.prod(self.shape))


def known_inputs(study: Study, dataset: str) -> Inputs:
    """Return what the prepared data tell of a data set or, without them, its configuration."""
    options = study.config["datasets"][dataset]
    test, train = (Path("data", dataset, f"{part}.parquet") for part in ("test", "train"))
    shape, rows = kind(options).feature_shape(options), kind(options).training_rows(options)
    values = None if shape is None else int(np.prod(shape))
    if test.exists():
        shape = tuple(TableFile(test).metadata["feature_shape"])
    if train.exists():
        rows = TableFile(train).rows
        values = len(np.unique(read_mean_input(train)))
    return Inputs(shape, rows, values)


def cell_evaluations(study: Study, cell: Cell, inputs: Inputs, shard: Shard = WHOLE) -> int | None:
    """Return the model evaluations of one attribution job, of all samples or a shard, or None if not known yet."""
    method = study.config["methods"][cell.method]
    features, values = inputs.features, _baseline_values(method.get("baseline", "zero"), inputs)
    if cell.gradient.is_exact:
        features, values = 1, 1  # on which the cost of an exact attribution does not depend
    if features is None or values is None:
        return None
    blocks = shard_blocks(cell.samples, sample_evaluations(method, cell.gradient.scheme, features), shard)
    return sum(block.stop - block.start for block in blocks) * evaluations(
        method["attribution"],
        cell.gradient.scheme,
        features,
        n_steps=method.get("n_steps", 1),
        baseline_values=values,
    )


def choice_evaluations(choice: Choice, inputs: Inputs) -> int | None:
    """Return the most model evaluations that choosing a step takes, or None if not known yet."""
    # Only plans of studies with such choices need them, and torch with them.
    import torch

    from approxgrad.steps.search import most_evaluations

    if inputs.features is None:
        return None
    points = choice.samples * choice.path_options.get("n_steps", 1)
    dtype = getattr(torch, choice.gradient.dtype)
    return most_evaluations(dtype, choice.gradient.scheme, inputs.features, points)


def _baseline_values(baseline: Any, inputs: Inputs) -> int | None:
    """Return how many distinct values a baseline has, as :func:`approxgrad.study.subjects.baseline_values` makes it."""
    if baseline == "mean":
        return inputs.mean_values
    return len(np.unique(np.asarray(baseline, np.float32))) if isinstance(baseline, list) else 1

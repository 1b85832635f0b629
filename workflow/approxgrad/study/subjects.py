"""What a job evaluates: a model in some precision, at drawn test rows, perhaps along paths from a baseline to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad import __version__
from approxgrad.datasets.class_names import check_outputs
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.prepared import PreparedModel
from approxgrad.gradients.evaluating.targets import target_indices
from approxgrad.methods.attribution import prepared_model
from approxgrad.models.device import set_up_torch
from approxgrad.models.opening import open_model
from approxgrad.seeds import draw_samples
from approxgrad.storage.splits import Split, read_input_spread, read_mean_input, read_split

MEBIBYTE = 2**20

LOOKED_AT = 8
"""Test rows, the first that are drawn, among which are those that a model is looked at with."""


@dataclass(frozen=True)
class Subject:
    """A model and the test rows that it is evaluated at.

    Attributes
    ----------
    network : callable
        The model, in the precision.
    split : Split
        All test rows.
    sample_seed : int
        Decides which of them are drawn.
    device : torch.device
        Where the model runs.
    dtype : str
        ``float32`` or ``float64``; stored inputs are float32.
    check_rows : bool
        Whether to check that the model's rows are independent, repeatable and not random.
    """

    network: Model
    split: Split
    sample_seed: int
    device: torch.device
    dtype: str
    check_rows: bool = True

    @property
    def features(self) -> int:
        """Number of features."""
        return int(np.prod(self.split.feature_shape))

    def rows(self, samples: int) -> NDArray[np.int64]:
        """Return the numbers of so many test rows, in the order in which they are drawn."""
        return draw_samples(len(self.split.target), samples, self.sample_seed)

    def points(self, part: Split) -> torch.Tensor:
        """Return the normalised features of some rows, where the model is and in its precision."""
        return torch.from_numpy(part.model_inputs()).to(self.device, getattr(torch, self.dtype))

    def prepared(self, model: Model, source: Any) -> PreparedModel:
        """Return a model as a gradient source evaluates it, looked at with test rows.

        The same rows are taken whichever share of the samples a job has, so that results do not depend on shards.

        Raises a ValueError if the model fails, or its rows are not independent and repeatable.
        """
        part = self.split.rows(self.rows(min(LOOKED_AT, len(self.split.target))))
        points = self.points(part)
        indices = target_indices(explained_target(part), len(points), self.device)
        return prepared_model(source, model, points, indices, check_rows=self.check_rows)


def read_subject(
    model: Mapping[str, Any],
    weights: Path | str | None,
    test: Path | str,
    sample_seed: int,
    device: torch.device,
    dtype: str,
    *,
    check_rows: bool = True,
) -> Subject:
    """Return a model and its test rows; a ValueError if either cannot be read.

    `model` has its ``kind`` and what else :func:`approxgrad.models.opening.open_model` needs, `weights` is None for
    kinds without a file; the other arguments are those of :class:`Subject`.
    """
    split = read_split(test)
    options = dict(model)
    kind = options.pop("kind")
    check_outputs(options.get("outputs"), split.classes)
    network = open_model(kind, options, weights, split.feature_shape, split.outputs, device, getattr(torch, dtype))
    return Subject(network, split, sample_seed, device, dtype, check_rows)


def job_options(snakemake: Any) -> dict[str, Any]:
    """Return what jobs that evaluate a model are given alike, by the names of :func:`.cells.attribute_cell`.

    torch is set up for the job.
    """
    inputs, parameters = snakemake.input, snakemake.params
    evaluation = dict(parameters.evaluation)
    device = set_up_torch(parameters.device, evaluation.pop("threads"))
    return {
        "model": parameters.model,
        "weights": inputs.get("weights") or None,
        "test": inputs.test,
        "training": inputs.get("training") or None,
        "gradient": parameters.gradient,
        "sample_seed": parameters.sample_seed,
        "device": device,
        **evaluation,
    }


def conditions(device: torch.device) -> dict[str, Any]:
    """Return where a job computes, as entries of the metadata of its result."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"approxgrad": __version__, "torch": torch.__version__, "numpy": np.__version__},
    }


def explained_target(part: Split, rows: slice = slice(None)) -> torch.Tensor | None:
    """Return the explained output of some rows: their class, or none for a model with one output."""
    return torch.from_numpy(np.array(part.target[rows])) if part.classes else None


def feature_spread(training: Path | str | None, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the standard deviation of each feature over the training rows, float64 of the shape of an input.

    A feature that is constant there takes the median of the others: its derivative is not 0 for most models.

    Raises a ValueError if all features are constant.
    """
    if training is None:
        raise ValueError("step_unit: spread needs the training split")
    spread = read_input_spread(training).reshape(shape)
    if not (spread > 0).any():
        raise ValueError(f"step_unit: all features of {training} are constant, so they have no spread; leave it out")
    return torch.from_numpy(np.where(spread > 0, spread, np.median(spread[spread > 0])))


def baseline_values(
    baseline: str | float | list[float],
    training: Path | str | None,
    shape: tuple[int, ...],
    test: Path | str | None = None,
) -> NDArray[np.float32]:
    """Return a baseline in normalised features: a single number, or one for every feature.

    Parameters
    ----------
    baseline : str, float or list of float
        ``zero``, ``mean`` (of the training features), ``test_mean``, a number, or one number for each feature.
    training : path or None
        The training split, for ``mean``.
    shape : tuple of int
        Shape of one input.
    test : path, optional
        The test split, for ``test_mean``.

    Raises
    ------
    ValueError
        If a list does not have one number for each feature.
    """
    means = {"mean": ("training", training), "test_mean": ("test", test)}
    if isinstance(baseline, str) and baseline in means:
        part, path = means[baseline]
        if path is None:
            raise ValueError(f"baseline: {baseline} needs the {part} split")
        return read_mean_input(path)
    values = np.asarray(0 if baseline == "zero" else baseline, np.float32)
    if values.ndim == 0:
        return values.reshape((1,) * len(shape))
    if values.size != np.prod(shape):
        raise ValueError(f"baseline: got {values.size} numbers, expected {int(np.prod(shape))}, one for each feature")
    return values.reshape(shape)

"""One cell of a study, or a shard of it: attribute drawn test rows with one model, method and gradient source."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad import __version__
from approxgrad.gradients.checks import check_repeatable
from approxgrad.gradients.exact import ExactGradient
from approxgrad.gradients.finite_differences import FiniteDifference
from approxgrad.methods.attribution import attribute
from approxgrad.methods.cost import evaluations
from approxgrad.methods.path_ends import explained_outputs, path_ends
from approxgrad.models.architectures import load_model
from approxgrad.models.compilation import CompiledModel
from approxgrad.progress import CountedModel, progress_bar
from approxgrad.seeds import draw_samples
from approxgrad.steps.choice import StepChoice, choose_step
from approxgrad.storage.tables import Attributions, Split, read_mean_input, read_split
from approxgrad.study.shards import WHOLE, Shard, merged, sample_evaluations, shard_blocks
from approxgrad.study.sources import AUTO

MEBIBYTE = 2**20

REPEATED_ROWS = 8
"""Drawn test rows that the model is evaluated with twice, to see that it has no randomness."""

CHOICE_ROWS = 64
"""Most test rows that a step is chosen with: the first of those that are attributed."""


def attribute_cell(
    *,
    weights: Path | str,
    test: Path | str,
    training: Path | str | None,
    method: dict[str, Any],
    scheme: str,
    step: float | Literal["auto"] | None,
    dtype: str,
    samples: int,
    sample_seed: int,
    memory_mib: int | None,
    device: torch.device,
    compile_model: bool = False,
    shard: Shard | None = None,
) -> tuple[Attributions, float]:
    """Return the attributions of one cell, and the seconds that they took.

    Parameters
    ----------
    weights, test : path
        The trained model and the test split.
    training : path or None
        The training split, needed for the baseline ``mean``.
    method : dict
        ``attribution``, and for the path methods ``baseline`` and ``n_steps``.
    scheme : str
        ``exact`` or a finite-difference scheme.
    step : float, "auto" or None
        Step of the finite difference; ``auto`` for :func:`approxgrad.steps.choice.choose_step`.
    dtype : str
        Precision of model, inputs and attribution: ``float32`` or ``float64``. The stored inputs are float32.
    samples, sample_seed : int
        How many test rows are drawn, and with which seed.
    memory_mib : int or None
        Memory that the attribution may occupy besides model, inputs and result.
    device : torch.device
        Where the model runs.
    compile_model : bool
        Whether finite differences evaluate an :class:`approxgrad.CompiledModel`; exact gradients never do.
    shard : pair of int, optional
        Number of a shard, from 1 on, and the number of shards, for its samples only. Its metadata hold
        ``rounding_ratios`` instead of their median, for :func:`approxgrad.study.shards.gather`.

    Raises
    ------
    ValueError
        If there are too few test rows, or a table or model cannot be read.
    """
    split = read_split(test)
    features = int(np.prod(split.feature_shape))
    blocks = shard_blocks(samples, sample_evaluations(method, scheme, features), shard or WHOLE)
    first, last = (blocks[0].start, blocks[-1].stop) if blocks else (0, 0)
    rows = draw_samples(len(split.target), samples, sample_seed)[first:last]
    part = split.rows(rows)
    inputs = part.model_inputs()
    options: dict[str, Any] = {}
    baseline = np.zeros(1, np.float32)
    if "n_steps" in method:
        baseline = baseline_values(method["baseline"], training, part.feature_shape)
        options = {"baselines": torch.from_numpy(baseline).to(device), "n_steps": method["n_steps"]}
    precision: torch.dtype = getattr(torch, dtype)
    network = load_model(weights, device).to(precision)
    check_repeatable(network, torch.from_numpy(inputs[:REPEATED_ROWS]).to(device, precision))
    choice = None
    if step == AUTO:
        choice = _chosen_step(network, split, scheme, options, samples, sample_seed, device, precision)
        step = choice.step
    budget = None if memory_mib is None else memory_mib * MEBIBYTE
    source = ExactGradient() if step is None else FiniteDifference(step, scheme, memory_budget=budget)
    compiled = compile_model and isinstance(source, FiniteDifference)
    per_sample = evaluations(
        method["attribution"],
        scheme,
        features,
        n_steps=options.get("n_steps", 1),
        baseline_values=len(np.unique(baseline)),
    )
    done = _Results(np.empty((len(rows), features), dtype))
    if options:
        done.output, done.baseline_output = np.empty(len(rows)), np.empty(len(rows))
    with progress_bar(len(rows) * per_sample, f"{method['attribution']}, {source!r}", "evaluation") as bar:
        model = CountedModel(CompiledModel(network) if compiled else network, bar)
        for block in blocks:
            own = slice(block.start - first, block.stop - first)
            points = torch.from_numpy(inputs[own]).to(device, precision)
            _attribute_block(
                done, own, network, model, points, _target(part, own), method["attribution"], source, options
            )
    metadata = {
        "feature_shape": list(part.feature_shape),
        "normalisation": {"mean": list(part.mean), "std": list(part.std)},
        "method": method,
        "scheme": scheme,
        "step": step,
        "dtype": dtype,
        "compiled": compiled,
        "rounding_ratios": done.ratios,
        "step_choice": None if choice is None else asdict(choice),
        "model_evaluations": model.evaluations,
        "batch_size": min(done.batch_sizes, default=None),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "versions": {"approxgrad": __version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    attributions = Attributions(
        sample=rows,
        attribution=done.maps,
        inputs=inputs.reshape(len(rows), features),
        target=part.target if part.classes else None,
        truth=part.effects,
        metadata=merged([metadata]) if shard is None else metadata,
        output=done.output,
        baseline_output=done.baseline_output,
    )
    return attributions, done.seconds


@dataclass
class _Results:
    """What the blocks of a cell fill, row by row, and what they add to."""

    maps: NDArray[np.floating[Any]]
    output: NDArray[np.float64] | None = None
    baseline_output: NDArray[np.float64] | None = None
    ratios: list[float] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0


def _attribute_block(
    done: _Results,
    rows: slice,
    network: torch.nn.Module,
    model: CountedModel,
    points: torch.Tensor,
    target: torch.Tensor | None,
    method: str,
    source: ExactGradient | FiniteDifference,
    path: dict[str, Any],
) -> None:
    """Attribute the samples of one block, by themselves; `model` counts the evaluations of the network."""
    start = time.perf_counter()
    maps = attribute(model, points, target=target, method=method, gradient=source, **path).flatten(1).cpu().numpy()
    done.seconds += time.perf_counter() - start
    done.maps[rows] = maps
    done.batch_sizes.append(source.used_batch_size or 1)
    # Not among the evaluations of the attribution, which does not need them.
    if done.output is not None and done.baseline_output is not None:
        done.output[rows], done.baseline_output[rows] = path_ends(network, points, path["baselines"], target)
    if isinstance(source, ExactGradient):
        outputs = explained_outputs(network, points, target) if done.output is None else done.output[rows]
        factors = torch.ones_like(points) if method == "saliency" else points - path.get("baselines", 0)
        done.ratios += rounding_ratios(outputs, factors.flatten(1).cpu().numpy(), maps).tolist()


def rounding_ratios(
    outputs: NDArray[np.floating[Any]], factors: NDArray[np.floating[Any]], maps: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Return the steps at which an error of |f| in every difference is as large as the attribution.

    Parameters
    ----------
    outputs : ndarray
        Explained outputs f, of shape (N,).
    factors : ndarray
        What an attribution multiplies the gradient with, w of shape (N, d).
    maps : ndarray
        Exact attributions ``w f'`` of shape (N, d).

    Returns
    -------
    ndarray
        ``|f| |w| / |w f'|`` in units of the inputs, one for each map that is not zero. Their median is the
        ``rounding_scale`` of a cell.
    """
    norms = np.linalg.norm(maps.astype(float), axis=1)
    errors = np.abs(outputs.astype(float)) * np.linalg.norm(factors.astype(float), axis=1)
    return np.asarray(errors[norms > 0] / norms[norms > 0])


def _chosen_step(
    network: torch.nn.Module,
    split: Split,
    scheme: str,
    path: dict[str, Any],
    samples: int,
    sample_seed: int,
    device: torch.device,
    precision: torch.dtype,
) -> StepChoice:
    """Choose a step for the inputs, or for the path to them; the cost is not the attribution's."""
    part = split.rows(draw_samples(len(split.target), min(CHOICE_ROWS, samples), sample_seed))
    inputs = torch.from_numpy(part.model_inputs()).to(device, precision)
    return choose_step(network, inputs, _target(part, slice(None)), scheme, **path)


def _target(part: Split, rows: slice) -> torch.Tensor | None:
    """Return the explained output of some rows: their class, or none for a model with one output."""
    return torch.from_numpy(np.array(part.target[rows])) if part.classes else None


def baseline_values(
    baseline: str | float | list[float], training: Path | str | None, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return a baseline in normalised features: a single number, or one for every feature.

    Parameters
    ----------
    baseline : str, float or list of float
        ``zero``, ``mean`` (of the training features), a number, or one number for each feature.
    training : path or None
        The training split, for ``mean``.
    shape : tuple of int
        Shape of one input.

    Raises
    ------
    ValueError
        If a list does not have one number for each feature.
    """
    if baseline == "mean":
        if training is None:
            raise ValueError("baseline: mean needs the training split")
        return read_mean_input(training)
    values = np.asarray(0 if baseline == "zero" else baseline, np.float32)
    if values.ndim == 0:
        return values.reshape((1,) * len(shape))
    if values.size != np.prod(shape):
        raise ValueError(f"baseline: got {values.size} numbers, expected {int(np.prod(shape))}, one for each feature")
    return values.reshape(shape)

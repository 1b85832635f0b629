"""One cell of a study, or a shard of it: attribute drawn test rows with one model, method and gradient source."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from approxgrad import __version__
from approxgrad.gradients.batching import memory_budget
from approxgrad.gradients.exact import ExactGradient
from approxgrad.gradients.finite_differences import FiniteDifference
from approxgrad.methods.attribution import attribute
from approxgrad.methods.cost import evaluations
from approxgrad.methods.path_ends import explained_outputs, path_ends
from approxgrad.models.compilation import CompiledModel
from approxgrad.progress import CountedModel, progress_bar
from approxgrad.seeds import draw_samples
from approxgrad.storage.step_tables import read_choice
from approxgrad.storage.tables import Attributions, read_split
from approxgrad.study.shards import WHOLE, Shard, merged, sample_evaluations, shard_blocks
from approxgrad.study.sources import AUTO
from approxgrad.study.subjects import (
    explained_target,
    gradient_source,
    loaded_network,
    path_arguments,
    prepared_network,
)


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
    choice: Path | str | None = None,
    batch_size: int | None = None,
    check_rows: bool = True,
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
        Step of the finite difference; ``auto`` for the one that stands in `choice`.
    dtype : str
        Precision of model, inputs and attribution: ``float32`` or ``float64``. The stored inputs are float32.
    samples, sample_seed : int
        How many test rows are drawn, and with which seed.
    memory_mib : int or None
        Memory that the attribution may occupy besides model, inputs and result.
    device : torch.device
        Where the model runs.
    choice : path, optional
        Table with the chosen step, needed for ``auto``: :func:`approxgrad.study.chosen_steps.choose_model_step`.
    batch_size : int, optional
        Rows for each evaluation of the model; by default as many as fit into the memory.
    check_rows : bool
        Whether it is checked that the model's rows are independent, repeatable and not random.
    compile_model : bool
        Whether finite differences evaluate an :class:`approxgrad.CompiledModel`; exact gradients never do.
    shard : pair of int, optional
        Number of a shard, from 1 on, and the number of shards, for its samples only. Its metadata hold
        ``rounding_ratios`` instead of their median, for :func:`approxgrad.study.shards.gather`.

    Raises
    ------
    ValueError
        If there are too few test rows, or a table or model cannot be read, or the model's rows are not independent
        and repeatable.
    """
    split = read_split(test)
    features = int(np.prod(split.feature_shape))
    blocks = shard_blocks(samples, sample_evaluations(method, scheme, features), shard or WHOLE)
    first, last = (blocks[0].start, blocks[-1].stop) if blocks else (0, 0)
    rows = draw_samples(len(split.target), samples, sample_seed)[first:last]
    part = split.rows(rows)
    inputs = part.model_inputs()
    options = path_arguments(method, training, part.feature_shape, device)
    precision: torch.dtype = getattr(torch, dtype)
    network = loaded_network(weights, device, dtype)
    chosen, used_step = (None, step) if not isinstance(step, str) else _chosen_step(choice, scheme)
    source = gradient_source(used_step, scheme, batch_size, memory_mib)
    compiled = compile_model and isinstance(source, FiniteDifference)
    evaluated = CompiledModel(network) if compiled else network
    ready = prepared_network(evaluated, source, split, sample_seed, device, dtype, check_rows)
    ends = batch_size or ready.rows_at_once(device, memory_budget(device))
    per_sample = evaluations(
        method["attribution"],
        scheme,
        features,
        n_steps=options.get("n_steps", 1),
        baseline_values=len(options["baselines"].unique()) if options else 1,
    )
    done = _Results(np.empty((len(rows), features), dtype))
    if options:
        done.output, done.baseline_output = np.empty(len(rows)), np.empty(len(rows))
    with progress_bar(len(rows) * per_sample, f"{method['attribution']}, {source!r}", "evaluation") as bar:
        model = CountedModel(ready, bar)
        for block in blocks:
            own = slice(block.start - first, block.stop - first)
            points = torch.from_numpy(inputs[own]).to(device, precision)
            _attribute_block(
                done,
                own,
                network,
                model,
                points,
                explained_target(part, own),
                method["attribution"],
                source,
                options,
                ends,
            )
    metadata = {
        "feature_shape": list(part.feature_shape),
        "normalisation": {"mean": list(part.mean), "std": list(part.std)},
        "method": method,
        "scheme": scheme,
        "step": used_step,
        "dtype": dtype,
        "compiled": compiled,
        "rounding_ratios": done.ratios,
        "step_choice": chosen,
        "model_evaluations": model.evaluations,
        "check_evaluations": source.check_evaluations,
        "lost_steps": source.lost_steps if isinstance(source, FiniteDifference) else 0,
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


def _chosen_step(choice: Path | str | None, scheme: str) -> tuple[dict[str, Any], float]:
    """Return what a step was chosen from, and the step."""
    if choice is None:
        raise ValueError(f"step: {AUTO} needs the table of a chosen step")
    chosen = read_choice(choice, scheme)
    return chosen, chosen["step"]


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
    size: int,
) -> None:
    """Attribute the samples of one block, by themselves; `model` counts the evaluations of the network."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        # Counted, recorded with the result, and told in the summary.
        warnings.filterwarnings("ignore", "step: lost", UserWarning)
        found = attribute(model, points, target=target, method=method, gradient=source, **path)
    done.seconds += time.perf_counter() - start
    done.maps[rows] = maps = found.flatten(1).cpu().numpy()
    done.batch_sizes.append(source.used_batch_size or 1)
    # Not among the evaluations of the attribution, which does not need them.
    if done.output is not None and done.baseline_output is not None:
        ends = path_ends(network, points, path["baselines"], target, size)
        done.output[rows], done.baseline_output[rows] = ends
    if isinstance(source, ExactGradient):
        outputs = explained_outputs(network, points, target, size) if done.output is None else done.output[rows]
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

"""Three ways to the same forward differences: the element loop, captum's FeatureAblation and the engine."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from captum.attr import FeatureAblation
from torch import Tensor, nn

from approxgrad import FiniteDifference
from approxgrad.gradients.checks import Model
from approxgrad.gradients.layout import KEPT_BYTES, MMAP_THRESHOLD, TRIM_THRESHOLD
from bench.subjects import STEP, TARGET, Subject, some_features
from bench.timing import Work, interleaved, rates, synchronise

PERTURBATIONS = (16, 64, 256, 1024)
LOOP, ABLATION, TUNED, ENGINE = "element loop", "FeatureAblation", "FeatureAblation, same layout", "approxgrad"
COMPILED = "approxgrad, compiled"

Differentiate = Callable[[Model, Tensor, Tensor], Tensor]
"""Model, points of shape (N, ...) and K feature numbers to derivatives of shape (N, K)."""


def element_loop(model: nn.Module, points: Tensor, features: Tensor) -> Tensor:
    """Differentiate as the original study does: two evaluations of one image for every feature."""
    derivatives = torch.empty(len(points), len(features))
    with torch.no_grad():
        for row, point in enumerate(points):
            for column, feature in enumerate(features.tolist()):
                shifted = point.clone()
                shifted.view(-1)[feature] += STEP
                difference = model(shifted[None])[0, TARGET] - model(point[None])[0, TARGET]
                derivatives[row, column] = difference.item() / STEP
    return derivatives


def feature_ablation(perturbations: int, model: nn.Module, points: Tensor, features: Tensor) -> Tensor:
    """Differentiate with captum: a feature is "ablated" to its value plus the step.

    Features that are not asked for form one group, which is ablated too.
    """
    groups = torch.full((points[0].numel(),), len(features), device=points.device)
    groups[features] = torch.arange(len(features), device=points.device)
    differences = FeatureAblation(model).attribute(
        points,
        baselines=points + STEP,
        target=TARGET,
        feature_mask=groups.reshape(1, *points.shape[1:]),
        perturbations_per_eval=perturbations,
    )
    return differences.reshape(len(points), -1)[:, features] / -STEP


def engine(model: Model, points: Tensor, features: Tensor) -> Tensor:
    """Differentiate with this package, its defaults untouched."""
    return FiniteDifference(STEP).partial_derivatives(model, (points,), features, TARGET)


def set_allocator(own: bool) -> None:
    """Let glibc keep freed memory as the engine does, or as it does by itself once it has seen large blocks.

    Memory that was kept is given back, or else the next way would get it.
    """
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, KEPT_BYTES if own else 32 * 2**20)
    library.mallopt(TRIM_THRESHOLD, KEPT_BYTES if own else 64 * 2**20)
    library.malloc_trim(0)


def compare(
    subject: Subject, path_points: int, sizes: dict[str, int], compiled: bool, repeats: int, seconds: float
) -> pd.DataFrame:
    """Time the peers on Saliency (one point) or the points of Integrated Gradients.

    Parameters
    ----------
    subject : Subject
        Model and image.
    path_points : int
        1 for Saliency, else the points on the path from zero to the image.
    sizes : dict
        Derivatives in one unit of work: keys ``loop`` and ``batched``.
    compiled : bool
        Whether the engine is timed with the compiled model too.
    repeats, seconds
        As in :func:`bench.timing.interleaved`.

    Returns
    -------
    DataFrame
        One row for each peer: ``model``, ``method``, ``peer``, ``perturbations`` (FeatureAblation's best setting),
        ``median``, ``min`` and ``max`` (seconds for one image, all features and points), and ``error``, the largest
        difference from the engine's derivatives, relative to the largest derivative. "Same layout" is FeatureAblation
        with the weights in channels-last order and the allocator's setting, which a user does not get by default.
    """
    device = subject.images.device
    scale = torch.arange(1, path_points + 1, device=device).reshape(-1, 1, 1, 1) / path_points
    points = subject.images * scale
    few = some_features(subject, sizes["loop"])
    many = some_features(subject, max(1, sizes["batched"] // path_points))
    best = _best_setting(subject, points, many)
    tuned_model = copy.deepcopy(subject.model).to(memory_format=torch.channels_last)
    ablation = partial(feature_ablation, best)
    ways: dict[str, tuple[Differentiate, Model, Tensor, Tensor, bool]] = {
        LOOP: (element_loop, subject.model, points[-1:], few, False),
        ABLATION: (ablation, subject.model, points, many, False),
        TUNED: (ablation, tuned_model, points, many, True),
        ENGINE: (engine, subject.model, points, many, True),
    }
    if compiled:
        ways[COMPILED] = (engine, subject.compiled, points, many, True)

    def work(way: str) -> int:
        differentiate, model, at, features, _ = ways[way]
        differentiate(model, at, features)
        return len(at) * _evaluations(way, len(features), subject.features)

    runs: dict[str, Work] = {way: partial(work, way) for way in ways}
    table = rates(interleaved(runs, repeats, seconds, device, lambda way: set_allocator(ways[way][-1])))
    whole = table["way"].map(lambda way: path_points * _evaluations(way, subject.features, subject.features))
    exact = engine(subject.model, points, few).float()
    return pd.DataFrame(
        {
            "model": subject.name,
            "method": "saliency" if path_points == 1 else "integrated_gradients",
            "peer": table["way"],
            "perturbations": [best if way in (ABLATION, TUNED) else None for way in ways],
            "median": whole / table["median"],
            "min": whole / table["max"],
            "max": whole / table["min"],
            "error": [
                float((way[0](way[1], points, few).to(exact) - exact).abs().max() / exact.abs().max())
                for way in ways.values()
            ],
        }
    )


def _evaluations(way: str, features: int, all_features: int) -> int:
    """Return the evaluations for the derivatives along some features of one point."""
    if way == LOOP:
        return 2 * features
    rest = int(way in (ABLATION, TUNED) and features < all_features)
    return features + 1 + rest


def _best_setting(subject: Subject, points: Tensor, features: Tensor) -> int:
    """Return the perturbations per evaluation with which FeatureAblation is fastest here."""

    def work(perturbations: int) -> int:
        feature_ablation(perturbations, subject.model, points, features)
        return len(points) * len(features)

    settings = [p for p in PERTURBATIONS if p <= len(features)] or [len(features)]
    ways: dict[str, Work] = {str(setting): partial(work, setting) for setting in settings}
    table = rates(interleaved(ways, 2, 0, points.device, lambda _: set_allocator(own=False)))
    synchronise(points.device)
    return int(table.loc[table["median"].idxmax(), "way"])

"""Three ways to the same forward differences: the element loop, captum's FeatureAblation and the engine."""

from __future__ import annotations

import copy
import ctypes
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from captum.attr import FeatureAblation
from torch import Tensor, nn

from approxgrad import FiniteDifference
from approxgrad.gradients.evaluating.acceleration import KEPT_BYTES, MMAP_THRESHOLD, TRIM_THRESHOLD
from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.checks import Model
from approxgrad.gradients.evaluating.prepared import PreparedModel
from approxgrad.gradients.evaluating.targets import target_indices
from approxgrad.models.device import set_up_torch
from bench.subjects import STEP, TARGET, Subject, some_features, subject
from bench.timing import Work, interleaved_in_turn, interleaved_processes, rates, synchronise

PERTURBATIONS = {"cpu": (16, 64, 256, 1024), "cuda": (64, 256, 1024, 3072)}
LOOP, ABLATION, TUNED, ENGINE = "element loop", "FeatureAblation", "FeatureAblation, same layout", "approxgrad"
COMPILED = "approxgrad, compiled"


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
    """Differentiate with captum: a feature is "ablated" to its value plus the step; all others form one group."""
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


def looked_at(model: Model, points: Tensor, check_rows: bool = True) -> PreparedModel:
    """Return a model as this package evaluates it, once for all derivatives of an attribution."""
    indices = target_indices(TARGET, len(points), points.device)
    return FiniteDifference(STEP).prepare(model, (points,), (), indices, check_rows=check_rows)


def engine(model: Model, points: Tensor, features: Tensor) -> Tensor:
    """Differentiate with this package, its defaults untouched."""
    return FiniteDifference(STEP).partial_derivatives(model, (points,), features, TARGET)


def chosen_batch(ready: PreparedModel, points: Tensor) -> int:
    """Return the batch size that this package chooses."""
    return ready.rows_at_once(points.device, memory_budget(points.device))


def looks(own: Subject, repeats: int) -> pd.DataFrame:
    """Time what an attribution does to a model before it differentiates: evaluations, and seconds with their range."""
    rows = []
    for check in (True, False):
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            ready = looked_at(own.model, own.images, check)
            synchronise(own.images.device)
            seconds.append(time.perf_counter() - start)
        measured = {"median": np.median(seconds[1:]), "min": min(seconds[1:]), "max": max(seconds[1:])}
        rows.append({"model": own.name, "check_rows": check, "evaluations": ready.evaluations, **measured})
    return pd.DataFrame(rows)


def set_allocator(own: bool) -> None:
    """Let glibc keep freed memory as the engine does, or as it does by itself once it has seen large blocks."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(MMAP_THRESHOLD, KEPT_BYTES if own else 32 * 2**20)
    mallopt(TRIM_THRESHOLD, KEPT_BYTES if own else 64 * 2**20)


@dataclass(frozen=True)
class Peer:
    """One way of differentiating an image, as its process is told of it.

    `name`, `side` and `device` are those of :func:`bench.subjects.subject`. Each of the `path_points` (1 for Saliency)
    is differentiated along so many evenly spread features (`derivatives`). `perturbations` sets FeatureAblation.
    """

    way: str
    name: str
    side: int
    device: torch.device
    threads: int
    path_points: int
    derivatives: int
    perturbations: int | None = None

    def prepared(self, own: Subject) -> Subject:
        """Return the model as this way takes it."""
        if self.way in (ENGINE, COMPILED):
            model = own.compiled if self.way == COMPILED else own.model
            return replace(own, model=looked_at(model, path(own, self.path_points)))
        if self.way != TUNED:
            return own
        return replace(own, model=copy.deepcopy(own.model).to(memory_format=torch.channels_last))

    def differentiate(self, own: Subject, features: Tensor) -> Tensor:
        """Return the derivatives of all points along some features; the element loop takes the last point only."""
        points = path(own, self.path_points)
        if self.way == LOOP:
            return element_loop(own.model, points[-1:], features)
        if self.perturbations is not None:
            return feature_ablation(self.perturbations, own.model, points, features)
        return engine(own.model, points, features)

    def evaluations(self, features: int, all_features: int) -> int:
        """Return the evaluations for the derivatives of one point along some of its features."""
        if self.way == LOOP:
            return 2 * features
        return features + 1 + int(self.perturbations is not None and features < all_features)

    def make(self) -> Work:
        """Return what is timed: it differentiates, and says how many evaluations that takes."""
        set_up_torch(self.device.type, self.threads)
        set_allocator(own=self.way in (TUNED, ENGINE, COMPILED))
        own = self.prepared(subject(self.name, self.side, self.device))
        features = some_features(own, self.derivatives)
        points = 1 if self.way == LOOP else self.path_points

        def work() -> int:
            self.differentiate(own, features)
            return points * self.evaluations(len(features), own.features)

        return work


def path(own: Subject, points: int) -> Tensor:
    """Return the points on the path from zero to the image; the last one is the image."""
    return own.images * (torch.arange(1, points + 1, device=own.images.device).reshape(-1, 1, 1, 1) / points)


def compare(
    own: Subject,
    path_points: int,
    sizes: dict[str, int],
    compiled: bool,
    threads: int,
    repeats: int,
    seconds: float,
    *,
    processes: bool = True,
) -> pd.DataFrame:
    """Time the peers on Saliency (one point) or the points of Integrated Gradients, in turns.

    `sizes` are the derivatives in one unit of work, of the element ``loop`` and of what is ``batched``; if `compiled`,
    the engine is timed with the compiled model too. With `processes`, each peer has a process of its own.

    Returns
    -------
    DataFrame
        One row for each peer: ``model``, ``method``, ``peer``, ``perturbations`` (FeatureAblation's best setting),
        ``median``, ``min`` and ``max`` (seconds for one image, all features and points), and ``error``, the largest
        difference from the engine's derivatives, relative to the largest derivative. "Same layout" is FeatureAblation
        with channels-last weights and the allocator's setting, which a user does not get by default.
    """
    device = own.images.device
    many = max(1, sizes["batched"] // path_points)
    turns = interleaved_processes if processes else interleaved_in_turn

    def peer(way: str, derivatives: int = many, perturbations: int | None = None) -> Peer:
        return Peer(way, own.name, own.images.shape[-1], device, threads, path_points, derivatives, perturbations)

    best, *others = [setting for setting in PERTURBATIONS[device.type] if setting <= many] or [many]
    if others:
        tried = {str(setting): peer(ABLATION, perturbations=setting).make for setting in (best, *others)}
        trial = rates(turns(tried, 2, 0, device))
        best = int(trial.loc[trial["median"].idxmax(), "way"])
    peers = [
        peer(LOOP, sizes["loop"]),
        peer(ABLATION, perturbations=best),
        peer(TUNED, perturbations=best),
        peer(ENGINE),
    ]
    if compiled:
        peers.append(peer(COMPILED))
    table = rates(turns({each.way: each.make for each in peers}, repeats, seconds, device))
    whole = path_points * np.array([each.evaluations(own.features, own.features) for each in peers])
    few = some_features(own, sizes["loop"])
    exact = engine(own.model, path(own, path_points), few).float()
    found = [each.differentiate(each.prepared(own), few).to(exact) for each in peers]
    return pd.DataFrame(
        {
            "model": own.name,
            "method": "saliency" if path_points == 1 else "integrated_gradients",
            "peer": table["way"],
            "perturbations": [each.perturbations for each in peers],
            "median": whole / table["median"],
            "min": whole / table["max"],
            "max": whole / table["min"],
            # The element loop has the last point only.
            "error": [float((ours - exact[-len(ours) :]).abs().max() / exact.abs().max()) for ours in found],
        }
    )

"""Writes the table of torchvision's image classification models in propagation.md: `python docs/propagation.py`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.propagation.double import UntraceableError
from approxgrad.gradients.propagation.network import Network, unit_moves
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator
from approxgrad.gradients.propagation.tracing import Graph

PAGE = Path(__file__).with_suffix(".md")
START, END = "<!-- torchvision: start -->", "<!-- torchvision: end -->"
STEPS = (1.0, 1e-4)
FEATURES = 4
SIDE, FIXED_SIDE, LARGE_SIDE = 64, 224, 224
FIXED = ("vit_", "maxvit")  # models for images of one size
LARGEST = 150_000_000
"""Parameters of the largest models that are tried; larger ones repeat the layers of these."""


def names() -> list[str]:
    """Return the names of the models."""
    return models.list_models(module=models)


def network(name: str, side: int) -> nn.Module:
    """Return an untrained model whose batch norms hold the statistics of random images."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    made: nn.Module = models.get_model(name, weights=None, **options)
    norms = [layer for layer in made.eval().modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.train()
        layer.momentum = None
        layer.reset_running_stats()
    for layer in made.modules():
        # The last layer of untrained vision transformers is zero.
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight)
    if norms:
        with torch.no_grad():
            made(torch.randn(8, 3, side, side))
    return made.eval()


def tried(name: str) -> dict[str, Any]:
    """Return what propagation makes of a model: rules, operations saved, errors against two float64 evaluations."""
    side = FIXED_SIDE if name.startswith(FIXED) else 75 if name == "inception_v3" else SIDE
    size = models.get_model_weights(name).DEFAULT.meta["num_params"]
    found: dict[str, Any] = {"model": name, "side": side, "parameters": size}
    if size > LARGEST:
        return found | {"declined": f"not tried: {size // 1_000_000} million parameters"}
    module = network(name, side)
    row = torch.randn(1, 3, side, side)
    with evaluation():
        try:
            graph = Graph(module, row)
        except UntraceableError as error:
            return found | {"declined": str(error)}
        plan = Plan(Network(graph, row.dtype))
        errors, dense = [], []
        for step in STEPS:
            features = torch.randperm(row.numel())[:FEATURES]
            moves = torch.full((FEATURES,), step, dtype=torch.float64)
            propagator = Propagator(plan, row, 1)
            changes = torch.zeros(FEATURES, *propagator.output.shape, dtype=torch.float64)
            for places, change in propagator.changes(features, moves):
                changes[places] = change.double()
            points = row.double() + unit_moves(row.shape, features, moves, torch.float64)
            expected = torch.stack([graph.evaluated(point) for point in points]) - propagator.output
            errors.append(float((changes - expected).norm() / expected.norm()))
            evaluated = torch.stack([module(point.float()) for point in points]).double() - module(row).double()
            dense.append(float((evaluated - expected).norm() / expected.norm()))
        bound, large = plan.bound, None
        if side == SIDE:
            large = Plan(Network(Graph(module, torch.randn(1, 3, LARGE_SIDE, LARGE_SIDE)), row.dtype)).bound
    return found | {
        "bound": bound,
        "bound_large": large if large is not None else bound if side == LARGE_SIDE else math.nan,
        "windows": 0 if plan.windows is None else len(plan.windows.forms),
        "operations": len(plan.network.rules),
        "without_rule": sorted(set(plan.network.without_rule)),
        "errors": errors,
        "dense_errors": dense,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [
        f"| model | image | operations saved | at {LARGE_SIDE} x {LARGE_SIDE} | on windows | without a rule |"
        f" error, h = {STEPS[0]:g} | h = {STEPS[1]:g} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "declined" in row:
            lines.append(f"| {row['model']} | {row['side']} | {row['declined']} | | | | | |")
            continue
        lost = ", ".join(row["without_rule"]) or "none"
        errors = " | ".join(f"{own:.1e}" for own in row["errors"])
        share = f"{row['windows']} of {row['operations']}"
        large = "" if math.isnan(row["bound_large"]) else f"{row['bound_large']:.2f}"
        lines.append(f"| {row['model']} | {row['side']} | {row['bound']:.2f} | {large} | {share} | {lost} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    """Try all models, or those that are named, and write the table."""
    rows = []
    for name in sys.argv[1:] or names():
        rows.append(tried(name))
        print(json.dumps(rows[-1]), flush=True)
    text = PAGE.read_text()
    head, _, rest = text.partition(START)
    PAGE.write_text(f"{head}{START}\n{table(rows)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()

"""Propagated differences beside dense ones: ``python -m bench.propagation`` adds to docs/performance/propagation.csv.

Cases that are in the file are not measured again, so that a long benchmark can be stopped and taken up. The page
docs/performance.md gets its table from the file.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import Occlusion
from torch import Tensor, nn
from torchvision import models

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.evaluating.batching import memory_budget
from approxgrad.gradients.evaluating.evaluation import evaluation
from approxgrad.gradients.propagation.following import Evaluation, Following
from approxgrad.gradients.propagation.memory import blocks
from approxgrad.gradients.propagation.plan import Plan
from approxgrad.gradients.propagation.run import Propagator, perturbed
from approxgrad.methods.occlusion import occlusion
from approxgrad.models.kind import MODELS
from approxgrad.storage.files import write_atomically
from bench.sections import write_between

STEP, TARGET = 0.01, 3
TABLE = Path("performance", "propagation.csv")
BATCHES = (16, 64, 256, 1024)
"""Batches of dense evaluations beside the one that the engine chooses, which is the first."""
CAPTUM = (1, 16, 64, 256)
"""Perturbations that captum evaluates at once."""
WHOLE, PART, OCCLUDED, PATH, AUTO = "whole image", "part of the positions", "occlusion", "path", "auto"
DENSE_SECONDS = 1.0
"""CPU time of one turn of dense evaluations."""


@dataclass(frozen=True)
class Case:
    """What is measured: a model, the side of its images, how, the asked ratio, and options of the way."""

    model: str
    side: int
    way: str
    asked: float
    window: int = 1
    stride: int = 1
    points: int = 50

    @property
    def name(self) -> str:
        """What tells it from others."""
        words = {
            WHOLE: "Saliency",
            PART: "Saliency",
            PATH: f"Integrated Gradients, {self.points} points",
            AUTO: "Saliency, auto",
            OCCLUDED: f"occlusion, {self.window} x {self.window}, stride {self.stride}",
        }
        return f"{self.model}, {self.side} x {self.side}, {words[self.way]}"


CASES = [
    Case("cnn", 32, WHOLE, 12),
    Case("cnn", 32, PATH, 12),
    Case("cnn", 32, OCCLUDED, 5, window=5),
    Case("resnet18", 32, PART, 1.15),
    Case("mobilenet_v2", 32, PART, 1.1),
    Case("vgg11", 32, PART, 1.25),
    Case("vgg16", 32, PART, 1.4),
    Case("resnet18, small stem", 32, PART, 1.6),
    Case("resnet50, small stem", 32, PART, 1.5),
    Case("mobilenet_v3_large", 224, AUTO, 0.97),
    Case("efficientnet_b0", 224, AUTO, 0.97),
    Case("vit_b_16", 224, AUTO, 0.97),
    Case("convnext_tiny", 224, AUTO, 0.97),
    Case("resnet18", 224, OCCLUDED, 2, window=16, stride=16),
    Case("resnet18", 224, PART, 2),
    Case("mobilenet_v2", 224, PART, 2),
    Case("vgg11_bn", 224, PART, 12),
    Case("resnet50", 224, PART, 2),
    Case("vgg16_bn", 224, PART, 8),
    Case("vgg16", 224, OCCLUDED, 5, window=16, stride=16),
]


def network(case: Case) -> nn.Module:
    """Return an untrained model in evaluation mode: speed does not depend on the weights."""
    torch.manual_seed(0)
    name, _, small = case.model.partition(", ")
    if name == "cnn" or small:
        options = {"stem": "cifar"} if small else {}
        made: nn.Module = MODELS[name](**options).build((3, case.side, case.side), 10)
    else:
        made = models.get_model(name, weights=None, num_classes=10)
    return made.eval()


def measured(case: Case, repeats: int) -> dict[str, Any]:
    """Return the ratios of dense to propagated CPU times of a case, and what belongs to them."""
    model, images = network(case), torch.randn(1, 3, case.side, case.side)
    with evaluation():
        ways = {WHOLE: _whole, PATH: _whole, PART: _part, OCCLUDED: _occluded, AUTO: _auto}[case.way](
            case, model, images
        )
        peer, propagated, found = ways
        times = [(_seconds(peer), _seconds(propagated)) for _ in range(repeats)]
    ratios = [found["scale"] * dense[0] / other[0] for dense, other in times]
    wall = [found["scale"] * dense[1] / other[1] for dense, other in times]
    low, middle, high = np.quantile(ratios, [0, 0.5, 1])
    return {
        "case": case.name,
        "asked": case.asked,
        "ratio": middle,
        "lowest": low,
        "highest": high,
        "wall_ratio": float(np.median(wall)),
        "bound": found["bound"],
        "share_of_bound": np.nan if case.way == AUTO else middle / found["bound"],  # such cases stay dense
        "peer": found["peer"],
        "measured_on": found["measured_on"],
        "turns": repeats,
    }


Ways = tuple[Callable[[], Any], Callable[[], Any], dict[str, Any]]


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Return CPU time and wall time."""
    start = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def _dense(model: nn.Module, images: Tensor) -> tuple[Callable[[int], Callable[[], Any]], int, str]:
    """Return what evaluates some features densely, the fastest batch size and its name."""
    features = images[0].numel()

    def work(size: int | None, count: int) -> Callable[[], Any]:
        source = FiniteDifference(STEP, batch_size=size, check_rows=False)
        ready = source.prepare(model, (images,), (), torch.tensor([[TARGET]]), check_rows=False)
        own = torch.arange(count) * features // count
        return lambda: source.partial_derivatives(ready, (images,), own, TARGET)

    trial = work(None, 8)
    trial()
    each = _seconds(trial)[0] / 9
    rates = {}
    for size in (None, *BATCHES):
        count = min(features, 2 * (size or 64))
        if each * count > 8 * DENSE_SECONDS:
            continue
        own = work(size, count)
        own()
        rates[size] = (_seconds(own)[0] / (count + 1), count)
    best = min(rates, key=lambda size: rates[size][0], default=None)
    count = min(features, max(rates.get(best, (each, 8))[1], int(DENSE_SECONDS / rates.get(best, (each, 8))[0])))
    name = "the batch that the engine chooses" if best is None else f"batches of {best}"
    return lambda number: work(best, number), count, f"dense, {name}"


def _whole(case: Case, model: nn.Module, images: Tensor) -> Ways:
    """Time whole calls of propagation, again with a source that knows the model, beside dense evaluations."""
    path = {"method": "integrated_gradients", "n_steps": case.points} if case.way == PATH else {}
    make, count, name = _dense(model, images)
    dense = make(count)
    evaluations = case.points * (images[0].numel() + 1) if path else images[0].numel() + 1
    source = FiniteDifference(STEP, evaluation="propagated")

    def call() -> None:
        attribute(model, images, target=TARGET, gradient=source, **path)

    call()
    return (
        dense,
        call,
        {
            "scale": evaluations / (count + 1),
            "bound": source.saved_operations,
            "peer": name,
            "measured_on": f"whole calls; {count} dense evaluations, counted up",
        },
    )


def _auto(case: Case, model: nn.Module, images: Tensor) -> Ways:
    """Time sources that choose their evaluation, counted up to an image with one look at it, and dense ones."""
    features = images[0].numel()

    def made(evaluation: Evaluation) -> tuple[FiniteDifference, Callable[[int], None]]:
        source = FiniteDifference(STEP, evaluation=evaluation, check_rows=False)
        ready = source.prepare(model, (images,), (), torch.tensor([[TARGET]]), check_rows=False)

        def work(count: int) -> None:
            own = torch.arange(count) * features // count
            source.partial_derivatives(ready, (images,), own, TARGET)

        return source, work

    (_, dense), (source, chosen) = made("dense"), made("auto")
    dense(8)
    count = max(8, int(2 * DENSE_SECONDS / (_seconds(partial(dense, 8))[0] / 9)))
    made("auto")[1](8)  # imports what looks need
    first, later = (_seconds(partial(chosen, 8))[0] for _ in range(2))
    each, look = _seconds(partial(chosen, count))[0] / count, first - later
    found = {
        "scale": each * features / (each * features + look),
        "bound": source.saved_operations,
        "peer": "dense, the batch that the engine chooses",
        "measured_on": f"{count:,} of {features:,} features, and a first look of {look:.1f} s",
    }
    return partial(dense, count), partial(chosen, count), found


def _part(case: Case, model: nn.Module, images: Tensor) -> Ways:
    """Time the base and some blocks of positions, counted up to an image."""
    make, count, name = _dense(model, images)
    source = Following()
    plan = _plan(source, model, images)
    chosen = torch.cat(list(_chosen(plan))) if plan.windows is not None else torch.arange(64)
    moves = torch.full((len(chosen),), STEP, dtype=torch.float64)
    features, budget = images[0].numel(), memory_budget(images.device)
    dense = make(count)
    propagator = Propagator(plan, images, budget)

    def propagated() -> None:
        for _ in propagator.changes(chosen, moves):
            pass

    propagated()
    base = min(_seconds(lambda: Propagator(plan, images, budget))[0] for _ in range(2))
    each = min(_seconds(propagated)[0] for _ in range(2)) / len(chosen)
    # The base is made once for all features.
    share = each * features / (each * features + base)
    return (
        dense,
        propagated,
        {
            "scale": len(chosen) / (count + 1) * share,
            "bound": plan.bound,
            "peer": name,
            "measured_on": f"{len(chosen):,} of {features:,} features, in blocks at both borders and in the middle",
        },
    )


def _plan(source: Following, model: nn.Module, images: Tensor) -> Plan:
    """Return how differences are propagated, checked."""
    plan = source.plan(source.stream(model, images, TARGET), "propagated")
    assert plan is not None
    return plan


def _chosen(plan: Plan) -> Iterator[Tensor]:
    """Yield the features of the first, the middle and the last block, which hold borders and corners."""
    every = list(blocks(plan, memory_budget(torch.device("cpu"))))
    for place in sorted({0, len(every) // 2, len(every) - 1}):
        own = perturbed(every[place], plan).flatten()
        yield own[own >= 0]


def _occluded(case: Case, model: nn.Module, images: Tensor) -> Ways:
    """Time whole calls of occlusion, against captum's at its best number of perturbations."""
    boxes = {"window": case.window, "stride": case.stride}
    by_captum = Occlusion(model)

    def peer(count: int) -> Callable[[], Any]:
        shapes = (3, case.window, case.window)
        options = {"sliding_window_shapes": shapes, "strides": (3, case.stride, case.stride), "target": TARGET}
        return lambda: by_captum.attribute(images, perturbations_per_eval=count, show_progress=False, **options)

    rates = {}
    for count in CAPTUM:
        rates[count] = _seconds(peer(count))[0]
    best = min(rates, key=rates.__getitem__)
    source = Following()

    def call() -> None:
        occlusion(model, images, **boxes, target=TARGET, evaluation="propagated", source=source)

    call()
    return (
        peer(best),
        call,
        {
            "scale": 1.0,
            "bound": source.saved_operations,
            "peer": f"captum, {best} perturbations",
            "measured_on": "whole calls",
        },
    )


def section(table: pd.DataFrame) -> str:
    """Return the table of the page."""
    lines = [
        "| case | asked | ratio of CPU times (range) | wall | bound | share | peer | measured on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        share = "" if np.isnan(row.share_of_bound) else f"{row.share_of_bound:.0%}"
        lines.append(
            f"| {row.case} | {row.asked:g} | {row.ratio:.2f} ({row.lowest:.2f} to {row.highest:.2f}) "
            f"| {row.wall_ratio:.2f} | {row.bound:.2f} | {share} | {row.peer} | {row.measured_on} |"
        )
    return "\n".join(lines)


def write_section(page: Path, table: Path) -> None:
    """Put the table where a page has a place for it."""
    if table.is_file():
        write_between(page, "propagation", section(pd.read_csv(table)))


def main() -> None:
    """Measure what is not in the table yet."""
    parser = argparse.ArgumentParser(prog="python -m bench.propagation", description=__doc__)
    parser.add_argument("words", nargs="*", help="only cases whose name contains one of these")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the results (default: docs)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of both ways (default: 5)")
    parser.add_argument("--again", action="store_true", help="measure cases again that are in the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    known = pd.read_csv(path) if path.is_file() else pd.DataFrame({"case": []})
    for case in CASES:
        named = not arguments.words or any(word in case.name for word in arguments.words)
        if not named or (case.name in set(known["case"]) and not arguments.again):
            continue
        print(f"{case.name} ...", flush=True)
        row = pd.DataFrame([measured(case, arguments.repeats)])
        known = pd.concat([known[known["case"] != case.name], row], ignore_index=True)
        order = {own.name: place for place, own in enumerate(CASES)}
        known = known.sort_values("case", key=lambda names: names.map(order), ignore_index=True)
        write_atomically(path, partial(known.to_csv, index=False, float_format="%.4g"))
        print(row.to_string(index=False), flush=True)
        gc.collect()
    page = arguments.output / "performance.md"
    if page.is_file():
        write_section(page, path)


if __name__ == "__main__":
    main()

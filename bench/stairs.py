"""Steps across stairs: ``python -m bench.stairs`` compares those that are chosen for rounded and quantised networks."""

from __future__ import annotations

import argparse
import copy
import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.ao import quantization

from approxgrad import ExactGradient, FiniteDifference, attribute, choose_step

RATIO, HONEST = 2.0, 3.0
"""Largest allowed ratios: of the error to the smallest of the grid, and of the predicted error to the real one."""

GRID = tuple(float(step) for step in np.geomspace(1e-4, 8, 36))
SAMPLES = 20
PATHS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"baselines": 0.0, "n_steps": 10},
}
QUANTA = (1e-4, 1e-3, 1e-2, 0.05, 0.25)


def trained(kind: str, seed: int, inputs: Tensor, labels: Tensor) -> nn.Module:
    """Return a network of rectifiers that was trained on the digits."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    if kind == "cnn":
        layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)]
    network = nn.Sequential(*layers)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    return network.eval()


def quantised(network: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the network in static int8, calibrated with some inputs."""
    whole = nn.Sequential(quantization.QuantStub(), copy.deepcopy(network), quantization.DeQuantStub()).eval()
    torch.backends.quantized.engine = "x86"
    whole.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(whole)
    prepared(inputs)
    converted = quantization.convert(prepared)
    return lambda batch: converted(batch)


def staircases(network: nn.Module, inputs: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the models whose steps are chosen."""
    found: dict[str, Callable[[Tensor], Tensor]] = {
        f"multiples of {quantum:g}": lambda batch, quantum=quantum: torch.round(network(batch) / quantum) * quantum
        for quantum in QUANTA
    }
    found["static int8"] = quantised(network, inputs)
    half = copy.deepcopy(network).bfloat16()
    found["bfloat16"] = lambda batch: half(batch.bfloat16()).float()
    return found


def measure(
    network: nn.Module, model: Callable[[Tensor], Tensor], rows: Tensor, target: Tensor, method: str, scheme: str
) -> dict[str, object]:
    """Return the error at the chosen step, the smallest of the grid, and the predicted and real root mean squares."""
    path = PATHS[method]
    exact = attribute(network, rows, target=target, method=method, **path).flatten(1)

    def off(step: float) -> Tensor:
        source = FiniteDifference(step, scheme)
        return attribute(model, rows, target=target, method=method, gradient=source, **path).flatten(1) - exact

    def error(step: float) -> float:
        return float((off(step).norm(dim=1) / exact.norm(dim=1)).median())

    choice = choose_step(model, rows, target, scheme, **path)
    if path:
        real = float(off(choice.step).norm() / rows.norm())
    else:
        found = FiniteDifference(choice.step, scheme)(model, rows, target)[0]
        real = float((found - ExactGradient()(network, rows, target)[0]).square().mean().sqrt())
    errors = {step: error(step) for step in GRID}
    best = min(errors, key=errors.__getitem__)
    chosen = error(choice.step)
    return {
        "quantum": choice.quantum,
        "regime": choice.regime,
        "best_step": best,
        "best_error": errors[best],
        "auto_step": choice.step,
        "auto_error": chosen,
        "ratio": chosen / errors[best],
        "honesty": choice.error / real,
        "evaluations": choice.evaluations,
    }


def main() -> None:
    """Measure, print the table and say whether the limits were kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.stairs", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the networks (default: 0)")
    parser.add_argument("--output", type=Path, help="also write the table as CSV")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # torch announces the end of eager quantisation with every model
    # Not with deterministic algorithms, of which torch has none for quantised layers.
    torch.set_num_threads(1)
    digits = load_digits()
    labels = torch.tensor(digits.target)
    results = []
    for seed, kind in product(arguments.seeds, ("mlp", "cnn")):
        inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
        inputs = inputs.reshape(-1, 1, 8, 8) if kind == "cnn" else inputs
        network = trained(kind, seed, inputs[::2], labels[::2])
        models = staircases(network, inputs[:200])
        first = 100 * seed
        rows, target = inputs[first : first + SAMPLES], labels[first : first + SAMPLES]
        for (name, model), method, scheme in product(models.items(), PATHS, ("forward", "central")):
            case = {"seed": seed, "network": kind, "model": name, "method": method, "scheme": scheme}
            results.append(case | measure(network, model, rows, target, method, scheme))
            print("  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in results[-1].values()), flush=True)
    table = pd.DataFrame(results)
    if arguments.output:
        table.to_csv(arguments.output, index=False, float_format="%.4g")
    honest = table["honesty"].between(1 / HONEST, HONEST)
    bad = table[(table["ratio"] > RATIO) | ~honest | (table["regime"] != "staircase")]
    print(f"\nlargest ratio {table['ratio'].max():.2f}; predicted over real error from {table['honesty'].min():.2f}")
    print(f"to {table['honesty'].max():.2f}; over a limit: {len(bad)} of {len(table)} cases")
    if len(bad):
        print(bad.to_string(index=False))
        sys.exit(1)


if __name__ == "__main__":
    main()

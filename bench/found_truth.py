"""Attributions of tables whose true effects are known, and how they agree with these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from approxgrad import FiniteDifference, attribute
from approxgrad.datasets.synthetic import effects, slopes
from approxgrad.evaluation.metrics import pearson
from approxgrad.evaluation.paired import sign_test
from approxgrad.evaluation.uncertainty import Bootstrap, intervals
from approxgrad.methods.method import METHODS, TrueEffects
from approxgrad.models.model_files import build_model
from approxgrad.models.training import train
from approxgrad.models.weights import fit_weights, read_weights
from approxgrad.seeds import derive_seed
from approxgrad.storage.array_files import load_arrays
from approxgrad.storage.splits import Split

Array = NDArray[np.float64]

DATA, WEIGHTS = "nonlinear.npz", "nonlinear_mlp.safetensors"
PARTS = {"training": ("X_train", "y_train"), "validation": ("X_val", "y_val"), "test": ("X_test", "y_test")}
STEPS = (0.01, 0.1, 0.5, 1.0, 2.0, 3.0)
ARCHITECTURE: dict[str, Any] = {"architecture": "mlp", "hidden": [256, 128, 64], "dropout": 0.4}
OPTIONS = {
    "epochs": 300,
    "batch_size": 32,
    "learning_rate": 0.01,
    "decay": {"factor": 0.2, "every": 50},
    "patience": 50,
}
"""How the thesis trains."""

PATHS = ("integrated_gradients", "integrated_gradients_published")
LEVEL = 0.95


class Table:
    """The rows of the thesis' nonlinear data set, as it published them."""

    def __init__(self, folder: Path) -> None:
        arrays = load_arrays(folder / DATA, [name for both in PARTS.values() for name in both])
        self.parts = {
            part: Split(arrays[x], arrays[y].astype(np.float32), feature_shape=(12,)) for part, (x, y) in PARTS.items()
        }
        self.test = self.parts["test"].features

    def truths(self, method: str) -> dict[str, Array]:
        """Return the true effects, and what a method would give if the model were the truth."""
        start = self.test.mean(axis=0, keepdims=True)
        own, at_start = effects(self.test, "nonlinear"), effects(start, "nonlinear")
        known = TrueEffects(own, slopes(self.test, "nonlinear"), at_start)
        return {"effects": own, "matched": METHODS[method]().true_attribution(self.test, known)}

    def explained(self, model: nn.Module) -> float:
        """Return the share of the targets' variance that a model explains."""
        target = self.parts["test"].target
        with torch.no_grad():
            found = model(self.inputs).numpy()[:, 0]
        return float(1 - ((found - target) ** 2).mean() / target.var())

    @property
    def inputs(self) -> Tensor:
        """The test rows."""
        return torch.from_numpy(self.parts["test"].model_inputs())


def published_model(folder: Path) -> nn.Module:
    """Return the network with the weights of the thesis."""
    model = build_model((12,), 1, **ARCHITECTURE).eval()
    fit_weights(model, read_weights(folder / WEIGHTS)[0], WEIGHTS)
    return model


def trained_model(table: Table, seed: int) -> nn.Module:
    """Return a network that is trained as the thesis does."""
    torch.manual_seed(derive_seed(seed, "found", "truth"))
    model = build_model((12,), 1, **ARCHITECTURE)
    train(model, table.parts["training"], table.parts["validation"], OPTIONS, torch.device("cpu"))
    return model.eval()


def agreements(table: Table, model: nn.Module, method: str) -> dict[float | None, dict[str, Array]]:
    """Return Pearson's correlation with each truth, for every test row, by step; None stands for exact gradients."""
    options: dict[str, Any] = {"baselines": table.inputs.mean(dim=0)} if method in PATHS else {}
    truths, found = table.truths(method), {}
    for step in (None, *STEPS):
        source: Any = "exact" if step is None else FiniteDifference(step, nominal=True)
        own = attribute(model, table.inputs, target=0, method=method, gradient=source, **options)
        maps = np.asarray(own.double().numpy())
        found[step] = {name: pearson(maps, truth) for name, truth in truths.items()}
    return found


def rows(table: Table, model: nn.Module, names: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Yield the mean agreement of each method, step and truth, and by how much it exceeds that of exact gradients."""
    bootstrap, explained = Bootstrap(seed, LEVEL), table.explained(model)
    for method in ("saliency", "input_x_gradient", *PATHS):
        found = agreements(table, model, method)
        for truth in ("effects", "matched"):
            for step in found:
                values, gains = found[step][truth], found[step][truth] - found[None][truth]
                means = intervals([values, gains], bootstrap)[["mean", "mean_low", "mean_high"]].to_numpy()
                better, worse = (gains > 0).sum(), (gains < 0).sum()
                yield {
                    **names,
                    "method": method,
                    "truth": truth,
                    "step": step,
                    **dict(zip(("pearson", "low", "high"), means[0], strict=True)),
                    **dict(zip(("gain", "gain_low", "gain_high"), means[1], strict=True)),
                    "p_value": float(sign_test(np.array([better]), np.array([worse]))[0]),
                    "n": int(np.isfinite(values).sum()),
                    "explained": explained,
                }


def measure(folder: Path, trainings: int, seed: int, path: Path) -> None:
    """Write the table of the published network and of others that are trained alike."""
    table = Table(folder)
    found = [*rows(table, published_model(folder), {"network": "published"}, seed)]
    for number in range(trainings):
        found += rows(table, trained_model(table, seed + number), {"network": f"training {number + 1}"}, seed)
        print(f"training {number + 1} of {trainings}", flush=True)
    pd.DataFrame(found).to_csv(path, index=False, float_format="%.4g")

"""Draws docs/rounding.svg and .png, and writes their numbers: error against step of dense and propagated differences.

The CNN of the default study learns scikit-learn's digits; `python docs/rounding.py` takes a minute.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.datasets.digits import Digits
from approxgrad.figures.style import BLUE, GREEN, ORANGE, applied_style, save, save_numbers
from approxgrad.models.model_files import build_model
from approxgrad.models.training import tensors, train

PLACE = Path(__file__).with_suffix("")
STEPS = 10.0 ** (np.arange(-40, 3) / 4)  # 1e-10 to 3
IMAGES = 20
WAYS = {
    "dense, float32": (torch.float32, "dense", ORANGE, "o"),
    "dense, float64": (torch.float64, "dense", GREEN, "s"),
    "propagated, float32": (torch.float32, "propagated", BLUE, "^"),
}


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the network, and test images with their classes."""
    torch.manual_seed(0)
    training, validation, test = Digits().prepare(0).values()
    network = build_model(architecture="cnn", input_shape=(1, 8, 8), outputs=10)
    options = {"epochs": 10, "batch_size": 64, "learning_rate": 0.001}
    train(network, training, validation, options, torch.device("cpu"))
    images, classes = tensors(test.rows(np.arange(IMAGES)), torch.device("cpu"))
    return network.eval(), images, classes


def numbers() -> pd.DataFrame:
    """Return quartiles, over the images, of the relative error of the gradient by way and step."""
    network, images, classes = trained()
    precise = copy.deepcopy(network).double()
    (exact,) = ExactGradient()(precise, images.double(), classes)
    rows = []
    for way, (dtype, evaluation, _, _) in WAYS.items():
        own = precise if dtype == torch.float64 else network
        for step in STEPS:
            source = FiniteDifference(float(step), evaluation=evaluation)  # type: ignore[arg-type]
            try:
                (found,) = source(own, images.to(dtype), classes)
            except ValueError:
                continue  # x + h is x in every feature.
            errors = (found.double() - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
            low, middle, high = np.quantile(errors.numpy(), [0.25, 0.5, 0.75])
            rows.append((way, step, low, middle, high, len(errors)))
    return pd.DataFrame(rows, columns=["way", "step", "lower_quartile", "median", "upper_quartile", "n"])


@applied_style()
def drawn(table: pd.DataFrame) -> Figure:
    """Return the picture."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    for way, (_, _, colour, marker) in WAYS.items():
        own = table[table["way"] == way]
        axes.plot(own["step"], own["median"], color=colour, marker=marker, markersize=2.5, linewidth=1.2, label=way)
        axes.fill_between(
            own["step"], own["lower_quartile"], own["upper_quartile"], color=colour, alpha=0.15, linewidth=0
        )
    axes.set(xscale="log", yscale="log", ylim=(1e-11, 30), xlabel="step h", ylabel="relative L2 error of the gradient")
    axes.grid(which="major")
    axes.legend()
    figure.suptitle(f"Forward differences of a CNN on digits, n = {IMAGES}", fontsize=8)
    return figure


def main() -> None:
    """Measure and draw."""
    torch.set_num_threads(1)
    table = numbers()
    save(drawn(table), PLACE.with_suffix(".svg"), PLACE.with_suffix(".png"))
    save_numbers(table, PLACE.with_suffix(".csv"))


if __name__ == "__main__":
    main()

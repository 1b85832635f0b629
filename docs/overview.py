"""Draws the picture on the front page, from the models of the default study: `python docs/overview.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from approxgrad import FiniteDifference, attribute
from approxgrad.figures import style
from approxgrad.models.model_files import load_model
from approxgrad.storage.splits import read_split

PICTURE = Path(__file__).with_suffix(".svg")
WEIGHTS = "results/models/dataset=digits/model=cnn/weights.safetensors"
TEST = "data/digits/test.parquet"
IMAGES = 50
SHOWN = 3  # The image whose maps are drawn.
STEPS = np.logspace(-6, 0.5, 27)
MAPPED = (1e-6, 1e-5, 1e-2, 3.0)
CURVES = {
    "forward (float32)": (style.BLUE, {"scheme": "forward"}),
    "central (float32)": (style.VERMILLION, {"scheme": "central"}),
    "forward, propagated (float32)": (style.GREEN, {"scheme": "forward", "evaluation": "propagated"}),
}
"""The propagated difference has no rounding to speak of, so what it shows is truncation."""


def saliency(model: torch.nn.Module, images: Tensor, labels: Tensor, step: float, **options: str) -> Tensor:
    """Return approximated saliency maps."""
    return attribute(model, images, target=labels, gradient=FiniteDifference(step, **options))


def errors(found: Tensor, exact: Tensor) -> np.ndarray:
    """Return the relative errors of maps, one for each image."""
    return ((found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).numpy()


@style.applied_style()
def main() -> None:
    """Compute the curves and maps and draw them."""
    split = read_split(TEST)
    images, labels = torch.tensor(split.model_inputs()[:IMAGES]), torch.tensor(split.target[:IMAGES])
    model = load_model(WEIGHTS, torch.device("cpu"))
    exact = attribute(model, images, target=labels)

    figure = style.new_figure(2 * style.COLUMN_WIDTH, 3.8)
    upper, lower = figure.subfigures(2, 1, height_ratios=(2, 1))
    axes = upper.subplots()
    for label, (colour, options) in CURVES.items():
        found = [errors(saliency(model, images, labels, step, **options), exact) for step in STEPS]
        low, middle, high = np.quantile(found, (0.25, 0.5, 0.75), axis=1)
        axes.loglog(STEPS, middle, color=colour, label=label)
        axes.fill_between(STEPS, low, high, color=colour, alpha=0.15, linewidth=0)
    for step in MAPPED:
        axes.axvline(step, color=style.LINE_GREY, linewidth=0.6, linestyle=":", zorder=0)
    axes.set(xlabel="step h", ylabel="relative L2 error", xlim=(STEPS[0], 1.05 * STEPS[-1]))
    axes.grid(visible=True)
    words = {"color": style.NOTE_GREY, "ha": "center", "transform": axes.get_xaxis_transform()}
    axes.text(3e-5, 0.45, "rounding rules: outputs cancel", **words)
    axes.text(0.1, 0.45, "truncation rules: the step crosses bends", **words)
    axes.legend(loc="upper center", ncols=len(CURVES))
    axes.set_title(f"Saliency of a small CNN on digits: approximated against exact ({IMAGES} images, quartiles)")

    image, label = images[SHOWN : SHOWN + 1], labels[SHOWN : SHOWN + 1]
    maps = {f"forward, h = {style.setting_label(step)}": saliency(model, image, label, step) for step in MAPPED}
    panels = {"image": image, "exact": exact[SHOWN : SHOWN + 1], **maps}
    limit = float(exact[SHOWN].max())
    for place, (title, values) in zip(lower.subplots(1, len(panels)), panels.items(), strict=True):
        options = {"cmap": "gray_r"} if title == "image" else {"cmap": "magma", "vmin": 0, "vmax": limit}
        place.imshow(values[0, 0], **options)
        place.set_axis_off()
        place.set_title(title)
    style.save(figure, PICTURE, PICTURE.with_suffix(".png"))


if __name__ == "__main__":
    main()

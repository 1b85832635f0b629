"""Tables that figures are drawn from, and what tests read off a figure."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from approxgrad.storage.tables import Attributions

STEPS = [1.0, 1e-5, 0.5, 0.01, 5e-5, 1e-4]
NUMERIC_ORDER = ["1e-5", "5e-5", "0.0001", "0.01", "0.5", "1"]
CELL = {"dataset": "digits", "model": "cnn", "method": "saliency"}
IMAGES = {"dataset": "digits", "model": "cnn"}


def metric_rows(scheme, step, reference="exact", samples=50, seed=0, **changed):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            **CELL,
            "gradient": scheme if np.isnan(step) else f"{scheme}-h{step}",
            "scheme": scheme,
            "step": step,
            "reference": reference,
            "sample": rng.permutation(samples),
            "pearson": rng.uniform(-1, 1, samples),
            "cosine": rng.uniform(-1, 1, samples),
            "mean_squared_error": 10 ** rng.uniform(-6, 2, samples),
        }
    )
    return rows.assign(**changed)


def metric_table(reference="exact", schemes=("forward",), **options):
    parts = [metric_rows(s, h, reference, seed=i, **options) for s in schemes for i, h in enumerate(STEPS)]
    if reference == "truth":
        parts.insert(3, metric_rows("exact", np.nan, "truth", seed=99, **options))
    return pd.concat(parts, ignore_index=True)


def tick_labels(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def first_lines(axes):
    return [label.split("\n")[0] for label in tick_labels(axes)]


def drawn_text(figure):
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]
    return " ".join(" ".join(texts).split())


NORMALISATION = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}


def attributions(
    samples,
    scheme="forward",
    step=0.1,
    shape=(3, 2, 2),
    normalisation=NORMALISATION,
    seed=0,
    method="integrated_gradients",
):
    """Every sample has values of its own, whatever its position."""
    size = int(np.prod(shape))
    maps = [np.random.default_rng([seed, number]).normal(size=size) for number in samples]
    inputs = [np.random.default_rng([77, number]).normal(size=size) for number in samples]
    return Attributions(
        sample=np.array(samples),
        attribution=np.array(maps, np.float32),
        inputs=np.array(inputs, np.float32),
        target=np.array(samples) % 10,
        truth=None,
        metadata={
            "scheme": scheme,
            "step": step,
            "feature_shape": list(shape),
            "normalisation": normalisation,
            "method": {"attribution": method},
        },
    )


def exact(samples, **options):
    return attributions(samples, "exact", None, **options)


def curve_table(other="accuracy", epochs=5, best=3):
    rows = [
        {"epoch": epoch, "split": split, "metric": metric, "value": start / epoch, "best": epoch == best}
        for epoch in range(epochs, 0, -1)
        for split, start in [("train", 1.0), ("validation", 2.0)]
        for metric in ["loss", other]
    ]
    return pd.DataFrame(rows)

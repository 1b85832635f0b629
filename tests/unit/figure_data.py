"""Tables that figures are drawn from, and what tests read off a figure."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd

from approxgrad.figures.style import complete_looks
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Exact, Source, SourceKind, exact_source
from approxgrad.storage.attributions import Attributions

STEPS = [1.0, 1e-5, 0.5, 0.01, 5e-5, 1e-4]
NUMERIC_ORDER = ["1e-5", "5e-5", "0.0001", "0.01", "0.5", "1"]
CELL = {"dataset": "digits", "model": "cnn", "method": "saliency"}
IMAGES = {"dataset": "digits", "model": "cnn"}
METHODS = {
    "saliency": "Saliency",
    "input_x_gradient": "Gradient × Input",
    "integrated_gradients": "Integrated Gradients",
    "integrated_gradients_published": "Integrated Gradients (published variant)",
}


class Directions(SourceKind):
    """A source whose setting is a number of evaluations and not a step."""

    name = "directions"
    setting_name = "evaluations"
    setting_label = "evaluations per gradient"
    symbol = "n"

    def cost(self, setting, features):
        return setting


def source_of(family, setting, dtype="float32"):
    """Return a source of a study."""
    if family == "exact":
        return exact_source(dtype)
    kind = Directions() if family == "directions" else Difference(family, (setting,))
    return Source(kind, setting, dtype)


def described(family, setting=None, dtype="float32", used=None, features=12):
    """Return what tables and metadata hold of a source; `used` is the setting that was chosen."""
    setting = None if setting is not None and setting != "auto" and np.isnan(setting) else setting
    source = source_of(family, setting, dtype)
    return {
        "gradient": source.name,
        "family": family,
        "setting": used if source.chosen else setting,
        "setting_name": source.kind.setting_name,
        "chosen": source.chosen,
        "dtype": dtype,
        "evaluations": source.evaluations(features),
    }


def looks(kind):
    """Return the looks of a family as a study gives them."""
    return {
        "label": kind.label,
        "setting_name": kind.setting_name,
        "setting_label": kind.setting_label,
        "symbol": kind.symbol,
        "colour": kind.colours.get(kind.family, ""),
        "marker": kind.markers.get(kind.family, ""),
        "exact": kind.exact,
        "settings": [1.0],
    }


def families():
    """Return the looks of the families of a study."""
    kinds = [Exact(), *(Difference(name, (1.0,)) for name in ("forward", "backward", "central")), Directions()]
    return complete_looks({kind.family: looks(kind) for kind in kinds})


def parameters(dataset="digits", model="CNN", method="Saliency", **others):
    """Return the parameters of a figure."""
    labels = {"dataset": dataset, "model": model, "method": method}
    return {"labels": labels, "families": families(), "against": "exact gradients", **others}


def metric_rows(family, setting, reference="exact", samples=50, seed=0, **changed):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            **CELL,
            **described(family, setting),
            "reference": reference,
            "sample": rng.permutation(samples),
            "pearson": rng.uniform(-1, 1, samples),
            "cosine": rng.uniform(-1, 1, samples),
            "mean_squared_error": 10 ** rng.uniform(-6, 2, samples),
            "relative_error": rng.uniform(0.1, 1, samples),
        }
    )
    return rows.assign(**changed)


def metric_table(reference="exact", families=("forward",), **options):
    parts = [metric_rows(f, h, reference, seed=i, **options) for f in families for i, h in enumerate(STEPS)]
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
    family="forward",
    setting=0.1,
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
            **described(family, setting),
            "signed": method != "saliency",
            "feature_shape": list(shape),
            "normalisation": normalisation,
            "method": {"attribution": method},
        },
    )


def exact(samples, **options):
    return attributions(samples, "exact", None, **options)


def curve_table(other="accuracy", epochs=5, best=3):
    rows = [
        {**IMAGES, "epoch": epoch, "split": split, "metric": metric, "value": start / epoch, "best": epoch == best}
        for epoch in range(epochs, 0, -1)
        for split, start in [("train", 1.0), ("validation", 2.0)]
        for metric in ["loss", other]
    ]
    return pd.DataFrame(rows)


def assert_all_inside(figure):
    """Fail if anything is drawn outside a figure."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= box.x0 <= box.x1 <= width
    assert 0 <= box.y0 <= box.y1 <= height

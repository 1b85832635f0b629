"""Small tables of a study and the story that is told from them."""

from __future__ import annotations

import re

import pandas as pd

from approxgrad.report.findings import Facts
from approxgrad.report.pages import sections_html
from approxgrad.report.story import tell

CNN = ("digits", "cnn", "saliency")
MLP = ("synthetic_linear", "mlp", "saliency")
IG = ("digits", "cnn", "integrated_gradients")
OTHER = ("digits", "cnn", "other")
REFERENCES = {"other": "integrated_gradients"}
MODELS = [("digits", "cnn", "accuracy", 0.975, 450), ("synthetic_linear", "mlp", "r2", 0.93, 300)]
LABELS = {
    "dataset": {"digits": "digits", "synthetic_linear": "synthetic linear"},
    "model": {"cnn": "CNN", "mlp": "MLP"},
    "method": {
        "saliency": "Saliency",
        "integrated_gradients": "Integrated Gradients",
        "other": "Integrated Gradients (published variant)",
    },
}
STEP = {"setting_name": "step", "symbol": "h", "exact": False}
FAMILIES = {
    "exact": {"label": "exact", "setting_name": "", "symbol": "", "exact": True},
    "forward": {"label": "forward differences", **STEP},
    "central": {"label": "central differences", **STEP},
    "spreads": {"label": "central differences, steps in spreads", **STEP},
    "directions": {"label": "random directions", "setting_name": "evaluations", "symbol": "n", "exact": False},
    "shapley": {"label": "TreeSHAP (another quantity)", "setting_name": "", "symbol": "", "exact": False},
}


TITLE = "The truth, where it is known"


def rows(names, settings, reference="exact", metric="pearson", family="forward", **columns):
    """Summary rows of one curve: `settings` maps a setting (None: exact gradients) to its median."""
    frame = pd.DataFrame({"setting": list(settings), "median": list(settings.values())}).astype(float)
    frame["family"] = ["exact" if setting is None else family for setting in settings]
    frame["gradient"] = ["exact" if setting is None else f"{family}-h{setting}" for setting in settings]
    frame["setting_name"] = [FAMILIES[name]["setting_name"] for name in frame["family"]]
    keys = dict(zip(("dataset", "model", "method"), names, strict=True)) | {"chosen": False, "dtype": "float32"}
    return frame.assign(**keys, reference=reference, metric=metric, **{"n": 50, "undefined": 0} | columns)


def facts(*tables, models=MODELS, **more):
    measures = pd.DataFrame(models, columns=["dataset", "model", "metric", "value", "n"])
    described = {"labels": LABELS, "families": dict.fromkeys(LABELS["dataset"], FAMILIES), "references": REFERENCES}
    return Facts(pd.concat(tables, ignore_index=True), measures, **described, **more)


def text(told, sections=tell):
    """What a reader reads, with plain spaces."""
    html = sections_html(sections(told))
    return " ".join(re.sub("<[^>]+>", " ", html).replace("\N{NO-BREAK SPACE}", " ").split())


def table(told, title="Agreement with the reference"):
    """The rows of a table of the story, as mappings."""
    (section,) = [section for section in tell(told) if section.title == title]
    return [dict(zip(section.table.header, row, strict=True)) for row in section.table.rows]

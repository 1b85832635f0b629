"""Sources with a budget in a run: pilots once, evaluations as planned, and nothing again when a budget is added."""

import re

import pandas as pd
import pytest
import yaml

from approxgrad.gradients.directional.spectrum_tables import read_spectrum
from approxgrad.storage.attributions import attribution_file

pytestmark = pytest.mark.workflow

MODEL = "dataset=synthetic_linear, model=mlp"
SPECTRUM = "results/spectra/dataset=synthetic_linear/model=mlp/gradient=cosine-pilots2/part-0.parquet"
FIGURES = "results/figures/dataset=synthetic_linear/model=mlp/method={}/budget.csv"
COSTLY = ("prepare_data", "train_model", "measure_spectrum", "differentiate", "attribute")


def added(tiny, budgets):
    """The tiny study with a source of directions and one of the published estimates."""
    experiments = yaml.safe_load(tiny.overlays[0].read_text())["experiments"]
    few = {"datasets": ["synthetic_linear"], "models": ["mlp"], "samples": 6, "methods": ["saliency"]}
    path = few | {"samples": 5, "methods": ["integrated_gradients"]}
    return {
        "gradients": {
            "few": {"directions": "cosine", "budgets": budgets, "pilots": 2},
            "sets": {"sampling": "gefa", "budgets": [6]},
        },
        "experiments": [*experiments, few | {"gradients": ["few"]}, path | {"gradients": ["few", "sets"]}],
    }


def test_budgets_from_plan_to_table(tiny, tiny_copy):
    place = tiny_copy
    overlay = place.overlay(added(tiny, [5, 200]))
    said = place.run("plan", overlays=[overlay], cores=1).stdout
    # Two pilots of 12 features and one evaluation more.
    assert re.search(r"^synthetic_linear +mlp +pilots +1 +1 +2 +26 ", said, re.MULTILINE)
    targets = ["metrics", *(FIGURES.format(method) for method in ("saliency", "integrated_gradients"))]
    outcome = place.run(*targets, overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert outcome.jobs["measure_spectrum"] == 1
    assert read_spectrum(place.directory / SPECTRUM).pilots == 2

    # Budgets above the cost of all directions are not spent on one gradient; on a path they pay for more points.
    spent = {("gradients", "n5"): 5, ("gradients", "n200"): 13, ("attributions", "n200"): 15 * 13}
    for (folder, name), evaluations in spent.items():
        pattern = f"results/{folder}/*/*/*/gradient=cosine-pilots2-{name}/part-0.parquet"
        files = [attribution_file(path, ["attribution"]) for path in place.directory.glob(pattern)]
        (metadata,) = [file.metadata for file in files if "integrated" in str(file.path) or folder == "gradients"]
        assert metadata["evaluations"] == evaluations
        assert metadata["model_evaluations"] == evaluations * (6 if folder == "gradients" else 5)
        assert metadata["provenance"]["inputs"].keys() == {"weights", "test", "spectrum"}

    numbers = pd.read_csv(place.directory / FIGURES.format("integrated_gradients"))
    assert set(numbers["family"]) == {"cosine-pilots2", "gefa", "forward"}
    best = pd.read_csv(place.directory / "results/summary/best_sources.csv")
    assert set(best["method"]) == {"saliency", "integrated_gradients"}
    assert (best["evaluations"] <= best["budget"]).all()

    # One budget more: its own attributions, and no new pilots.
    more = place.plan("attributions", overlays=[place.overlay(added(tiny, [5, 9, 200]), "more.yaml")])
    assert dict(more.wildcards) == {
        ("differentiate", f"{MODEL}, samples=6, gradient=cosine-pilots2-n9"): 1,
        ("derive", f"{MODEL}, method=saliency, gradient=cosine-pilots2-n9"): 1,
        ("attribute", f"{MODEL}, method=integrated_gradients, gradient=cosine-pilots2-n9"): 1,
    }
    # Other weights have another spectrum.
    changed = place.plan(
        "attributions", overlays=[overlay, place.overlay({"models": {"mlp": {"hidden": [9]}}}, "o.yaml")]
    )
    assert changed.jobs["measure_spectrum"] == 1
    assert not place.plan("attributions", overlays=[overlay]).jobs

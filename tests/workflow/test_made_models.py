"""Models whose file a study makes from training rows and another model, compared with the exact gradient of a twin."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from running import TINY, Place

pytestmark = pytest.mark.workflow

EXTENSION = '''
"""A network whose outputs are rounded to a grid, in units of the mean target."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from approxgrad.descriptions import Number, Text, option
from approxgrad.models.kind import MODELS, ModelKind


@MODELS.add
@dataclass(frozen=True, kw_only=True)
class Rounded(ModelKind):
    """A network of the study with rounded outputs."""

    name: ClassVar[str] = "rounded"
    label: ClassVar[str] = "rounded network"
    differentiable: ClassVar[bool] = False
    makes: ClassVar[str] = "model.npz"
    needs_training_rows: ClassVar[bool] = True

    rounded: Annotated[Text, option("The network.")]
    grid: Annotated[Number, option("Distance of two outputs.", gt=0)]

    @property
    def source_model(self) -> str:
        return self.rounded

    @property
    def reference_model(self) -> str:
        return self.twin or self.rounded

    def make(self, path: Any, shape: Any, outputs: int, *, train: Any, source: Any, seed: int) -> dict[str, Any]:
        size = float(np.abs(train.target).mean())
        with path.open("wb") as file:
            np.savez(file, weights=np.frombuffer(source.read_bytes(), np.uint8), size=size)
        return {"size": size}

    def open(self, shape: Any, outputs: int, device: Any, dtype: Any, file: Any = None) -> Any:
        import tempfile
        from pathlib import Path

        from approxgrad.models.model_files import load_model

        made = np.load(file)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            path.write_bytes(made["weights"].tobytes())
            network = load_model(path, device)
        quantum = self.grid * float(made["size"])
        return lambda rows: (network(rows) / quantum).round() * quantum
'''
FACTORY = """
from torch import nn

def build(input_shape, outputs):
    return nn.Sequential(nn.Linear(*input_shape, 5), nn.ReLU(), nn.Linear(5, outputs))
"""
STUDY = {
    "extensions": ["my_models.py"],
    "models": {
        "coarse": {"rounded": "mlp", "grid": 0.01},
        "own": {"factory": "own_networks:build", "weights": {"file": "own.pt"}},
        "own_half": {"exported": {"of": "own", "as": "bfloat16"}},
        "own_int8": {"exported": {"of": "own", "as": "int8-static"}},
    },
    "gradients": {"forward": {"difference": "forward", "steps": [0.5, 1]}},
    "experiments": [
        {
            "datasets": ["synthetic_linear"],
            "models": ["coarse", "own_half", "own_int8"],
            "methods": ["saliency"],
            "gradients": ["forward"],
            "samples": 4,
        }
    ],
    "verify": {"cells": 10},
}
KEY = ("synthetic_linear", "coarse", "saliency")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "my_models.py").write_text(EXTENSION)
    (folder / "own_networks.py").write_text(FACTORY)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 1))
    torch.save(network.state_dict(), folder / "own.pt")
    place = Place(folder, overlays=(TINY,))
    overlay = place.overlay(STUDY)
    place = Place(folder, overlays=(TINY, overlay))
    outcome = place.run()
    assert outcome.code == 0, outcome.text
    return place, outcome


def test_the_files_are_made_once_and_opened_by_all_jobs(place):
    place, outcome = place
    made = {"make_model_npz": 1, "make_model_onnx": 1, "make_model_safetensors": 1, "train_model": 1, "load_model": 1}
    assert {rule: outcome.jobs[rule] for rule in made} == made
    assert "measure_model" not in outcome.jobs
    assert not place.plan().jobs
    measures = place.directory / "results/test_metrics/dataset=synthetic_linear/model=coarse/part-0.parquet"
    assert b'"made": {"size": ' in pq.read_schema(measures).metadata[b"approxgrad"]
    models = pd.read_csv(place.directory / "results/summary/models.csv")
    assert models.groupby("model")["kind"].first().to_dict() == {
        "coarse": "rounded network",
        "mlp": "MLP",
        "own": "own network",
        "own_half": "own exported as bfloat16",
        "own_int8": "own exported as int8-static",
    }
    # Neither rounding changes much of what the network predicts.
    losses = models[models["metric"] == "loss"].set_index("model")["value"]
    assert losses["own_half"] == pytest.approx(losses["own"], rel=0.05)
    assert losses["own_int8"] == pytest.approx(losses["own"], rel=0.05)


def test_maps_are_compared_with_the_exact_ones_of_the_twin(place):
    place, _ = place
    results = place.directory / "results"
    maps = pd.read_parquet(results / "attributions")
    approximated = {
        (model, f"forward-h{step}"): 4 for model in ("coarse", "own_half", "own_int8") for step in ("0.5", "1")
    }
    counted = maps.groupby(["model", "gradient"], observed=True).size().to_dict()
    assert counted == approximated | {("mlp", "exact"): 4, ("own", "exact"): 4}
    metrics = pd.read_parquet(results / "metrics")
    assert set(metrics["reference"]) == {"exact of mlp", "exact of own", "truth", "matched truth"}
    assert set(metrics["gradient"]) == {"forward-h0.5", "forward-h1"}
    table = maps.set_index(["model", "gradient", "sample"])["attribution"].map(lambda values: values.astype(float))
    for model, twin in (("coarse", "mlp"), ("own_half", "own"), ("own_int8", "own")):
        rows = metrics[(metrics["reference"] == f"exact of {twin}") & (metrics["model"] == model)]
        assert len(rows) == 8
        for row in rows.itertuples():
            exact = table[twin, "exact", row.sample]
            error = np.linalg.norm(table[model, row.gradient, row.sample] - exact) / np.linalg.norm(exact)
            assert row.relative_error == pytest.approx(error)
            assert error > 1e-4
    # The rounding of a twin says nothing about that of the model.
    recommended = pd.read_parquet(results / "summary/recommended_steps.parquet")
    assert recommended["textbook_step"].isna().all()


def test_figures_name_the_twin_and_one_shows_all_that_share_it(place):
    place, _ = place
    figures = place.directory / "results/figures/dataset=synthetic_linear"
    for picture in ("model=coarse/method=saliency/boxplots.svg", "model=coarse/anatomy.svg"):
        words = " ".join(re.findall("<text[^>]*>(.*?)</text>", (figures / picture).read_text()))
        assert "of its twin MLP" in words
    (shared,) = figures.rglob("twins.csv")
    assert shared == figures / "model=own/method=saliency/twins.csv"
    assert set(pd.read_csv(shared)["model"]) == {"own_half", "own_int8"}
    assert "own exported as int8-static" in shared.with_suffix(".svg").read_text()


def test_verify_plan_tidy_and_report_know_the_models(place):
    place, _ = place
    outcome = place.run("verify")
    assert outcome.code == 0, outcome.text
    assert "8 cell(s)" in outcome.text
    plan = place.run("plan", "--forceall").text
    assert "cannot be timed" not in plan
    # 4 samples, 2 steps, 12 features, for three models.
    assert f"{3 * 4 * 2 * 13:,} model evaluations" in plan
    assert "0 " in place.run("tidy").text
    assert not place.plan().jobs
    assert place.run("--report", "report.zip").code == 0


def test_a_change_of_the_source_makes_the_file_again(place):
    place, _ = place
    overlay = place.overlay({"models": {"mlp": {"training": {"epochs": 3}}}}, "longer.yaml")
    jobs = place.plan(overlays=[overlay]).jobs
    assert jobs["train_model"] == jobs["make_model_npz"] == 1
    assert jobs["differentiate"] == 3
    path = place.directory / "own_networks.py"
    path.write_text(path.read_text() + "# changed\n")
    jobs = place.plan().jobs
    assert {rule: jobs.get(rule) for rule in ("load_model", "make_model_onnx", "make_model_safetensors")} == {
        "load_model": 1,
        "make_model_onnx": 1,
        "make_model_safetensors": 1,
    }
    assert "make_model_npz" not in jobs

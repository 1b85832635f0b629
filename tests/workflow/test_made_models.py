"""Models whose file a study makes from training rows and another model, compared with the exact gradient of a twin."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

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
STUDY = {
    "extensions": ["my_models.py"],
    "models": {"coarse": {"rounded": "mlp", "grid": 0.01}},
    "gradients": {"forward": {"difference": "forward", "steps": [0.5, 1]}},
    "experiments": [
        {
            "datasets": ["synthetic_linear"],
            "models": ["coarse"],
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
    place = Place(folder, overlays=(TINY,))
    overlay = place.overlay(STUDY)
    place = Place(folder, overlays=(TINY, overlay))
    outcome = place.run()
    assert outcome.code == 0, outcome.text
    return place, outcome


def test_the_file_is_made_once_and_opened_by_all_jobs(place):
    place, outcome = place
    assert outcome.jobs["make_model_npz"] == outcome.jobs["train_model"] == 1
    assert "measure_model" not in outcome.jobs
    assert not place.plan().jobs
    measures = place.directory / "results/test_metrics/dataset=synthetic_linear/model=coarse/part-0.parquet"
    assert b'"made": {"size": ' in pq.read_schema(measures).metadata[b"approxgrad"]


def test_maps_are_compared_with_the_exact_ones_of_the_twin(place):
    place, _ = place
    results = place.directory / "results"
    maps = pd.read_parquet(results / "attributions")
    assert maps.groupby(["model", "gradient"], observed=True).size().to_dict() == {
        ("coarse", "forward-h0.5"): 4,
        ("coarse", "forward-h1"): 4,
        ("mlp", "exact"): 4,
    }
    metrics = pd.read_parquet(results / "metrics")
    assert set(metrics["reference"]) == {"exact of mlp", "truth"}
    assert set(metrics["gradient"]) == {"forward-h0.5", "forward-h1"}
    exact = maps[maps["model"] == "mlp"].set_index("sample")["attribution"]
    own = maps[maps["model"] == "coarse"].set_index(["gradient", "sample"])["attribution"]
    compared = metrics[metrics["reference"] == "exact of mlp"].set_index(["gradient", "sample"])["relative_error"]
    for (gradient, sample), error in compared.items():
        difference = own[gradient, sample].astype(float) - exact[sample].astype(float)
        assert error == pytest.approx(np.linalg.norm(difference) / np.linalg.norm(exact[sample].astype(float)))
    assert (compared > 1e-3).all()
    figure = results / "figures/dataset=synthetic_linear/model=coarse"
    for picture in ("method=saliency/boxplots.svg", "anatomy.svg"):
        words = " ".join(re.findall("<!-- (.*?) -->", (figure / picture).read_text()))
        assert "of its twin MLP" in words
    # The rounding of the twin says nothing about that of the model.
    recommended = pd.read_parquet(results / "summary/recommended_steps.parquet")
    assert recommended["textbook_step"].isna().all()


def test_verify_plan_and_report_know_the_model(place):
    place, _ = place
    outcome = place.run("verify")
    assert outcome.code == 0, outcome.text
    assert "3 cell(s)" in outcome.text
    text = place.run("plan").text
    assert "cannot be timed" not in text
    # 4 samples, 2 steps, 12 features.
    assert f"{4 * 2 * 13:,} model evaluations" in place.run("plan", "--forceall").text
    assert place.run("--report", "report.zip").code == 0


def test_a_change_of_the_source_makes_the_file_again(place):
    place, _ = place
    overlay = place.overlay({"models": {"mlp": {"training": {"epochs": 3}}}}, "longer.yaml")
    jobs = place.plan(overlays=[overlay]).jobs
    assert jobs["train_model"] == jobs["make_model_npz"] == 1
    assert jobs["differentiate"] == 3

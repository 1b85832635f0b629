"""A model in an ONNX file: measured, attributed, and what reruns when the file of its weights changes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from onnx import TensorProto, helper

from onnx_models import kept_outside, made, port
from running import TINY, Place

pytestmark = pytest.mark.workflow

SCALE = np.linspace(-1, 1, 12, dtype=np.float32)[:, None]
WORK = {"prepare_data": 1, "differentiate": 2, "derive": 2, "tabulate_models": 1, "attributions": 1, "models": 1}
EPS = float(np.finfo(np.float32).eps)


def predict(features, weights=SCALE):
    return np.tanh(np.asarray(features, float)) @ weights.astype(float)


def write(folder, weights=SCALE):
    nodes = [helper.make_node("Tanh", ["x"], ["t"]), helper.make_node("MatMul", ["t", "w"], ["y"])]
    model = made(nodes, [port("x", ["N", 12])], [port("y", ["N", 1], TensorProto.FLOAT)], {"w": weights})
    return kept_outside(model, folder / "own.onnx", "own.onnx.data")


@pytest.fixture
def place(tmp_path):
    write(tmp_path)
    return Place(tmp_path, overlays=(TINY,))


def overlay(place, **options):
    cells = {"datasets": ["synthetic_linear"], "models": ["own"], "methods": ["saliency"], "gradients": ["central"]}
    study = {
        "models": {"own": {"onnx": "own.onnx"} | options},
        "gradients": {"central": {"difference": "central", "steps": [0.01, 0.1]}},
        "experiments": [cells | {"samples": 3, "reference": "central-h0.01"}],
    }
    return place.overlay(study)


def test_an_onnx_file_is_measured_and_attributed_and_its_weights_are_watched(place):
    own = overlay(place)
    outcome = place.run("attributions", "models", overlays=[own])
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == WORK | {"measure_model": 1}
    test = pd.read_parquet(place.directory / "data/synthetic_linear/test.parquet")
    features = np.stack(test["features"])
    measures = pd.read_parquet(place.directory / "results/summary/models.parquet").set_index("metric")
    expected = np.square(predict(features)[:, 0] - test["target"]).mean()
    assert measures.loc["loss", "value"] == pytest.approx(expected, rel=1e-5)  # float32
    for row in pd.read_parquet(place.directory / "results/attributions").itertuples():
        above, below = (np.tanh(features[row.sample].astype(float) + way * row.setting) for way in (1, -1))
        slopes = np.abs((above - below) * SCALE[:, 0]) / (2 * row.setting)
        # Roundings of outputs of size 12 in float32, over the step.
        assert np.abs(row.attribution - slopes).max() < 2 * 12 * EPS / row.setting
    assert place.plan("attributions", "models", overlays=[own]).jobs == {}

    # The file itself stays the same.
    before = (place.directory / "own.onnx").read_bytes()
    write(place.directory, 2 * SCALE)
    assert (place.directory / "own.onnx").read_bytes() == before
    plan = place.plan("attributions", "models", overlays=[own])
    assert {rule: count for rule, count in plan.jobs.items() if rule not in ("attributions", "models")} == {
        "measure_model": 1,
        "differentiate": 2,
        "derive": 2,
        "tabulate_models": 1,
    }
    (place.directory / "own.onnx.data").unlink()
    missing = place.run("attributions", overlays=[own])
    assert missing.code != 0
    line = f"models.own.onnx: own.onnx.data: no such file in {place.directory}"
    assert [text for text in missing.stderr.splitlines() if line in text], missing.text
    assert "Traceback" not in missing.text


def test_a_model_that_does_not_fit_is_one_line(place):
    outcome = place.run("models", overlays=[overlay(place, output="z")])
    assert outcome.code != 0
    line = "approxgrad: measure_model dataset=synthetic_linear, model=own: output: got 'z', the model's outputs are y"
    assert [text for text in outcome.stderr.splitlines() if text.startswith(line)], outcome.text
    assert "Traceback" not in outcome.text

"""Models that are not trained here, and users' own architectures."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from running import TINY, Place

pytestmark = pytest.mark.workflow

FACTORY = """
from torch import nn

def build(input_shape, outputs, width):
    return nn.Sequential(nn.Linear(*input_shape, width), nn.ReLU(), nn.Linear(width, outputs))
"""
MODEL = {"factory": "own_networks:build", "options": {"width": 5}, "weights": {"file": "own.pt"}}
CELLS = {"datasets": ["synthetic_linear"], "models": ["own"], "methods": ["saliency"]}
STUDY = {
    "gradients": {"forward": {"difference": "forward", "steps": [0.1]}},
    "experiments": [CELLS | {"gradients": ["forward"], "samples": 3}],
}
WORK = {"prepare_data": 1, "differentiate": 2, "derive": 2, "tabulate_models": 1, "attributions": 1, "models": 1}
FUNCTION = """
import numpy as np

def predict(x):
    return np.tanh(x).sum(axis=1)
"""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path, overlays=(TINY,))
    (tmp_path / "own_networks.py").write_text(FACTORY)
    return place


def weights(path, width=5, outputs=1):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, width), nn.ReLU(), nn.Linear(width, outputs))
    torch.save(network.state_dict(), path)
    return network


def test_own_network_with_own_weights_is_measured_and_attributed(place):
    network = weights(place.directory / "own.pt")
    overlay = place.overlay(STUDY | {"models": {"own": MODEL}})
    outcome = place.run("attributions", "models", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == WORK | {"load_model": 1}
    measures = pd.read_parquet(place.directory / "results/test_metrics").set_index("metric")
    test = pd.read_parquet(place.directory / "data/synthetic_linear/test.parquet")
    features, target = (torch.from_numpy(np.stack(test[name])) for name in ("features", "target"))
    expected = (network(features).squeeze(1) - target).square().mean().item()
    assert measures.loc["loss", "value"] == pytest.approx(expected, rel=1e-5)  # float32 means of 20 squares
    assert measures.loc["loss", "n"] == len(test)

    (place.directory / "own_networks.py").write_text(FACTORY + "\n# changed\n")
    assert place.plan("attributions", overlays=[overlay]).jobs["load_model"] == 1


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: weights(path, outputs=3), "2.weight has shape (3, 5), expected (1, 5)"),
        (lambda path: weights(path, width=4), "0.weight has shape (4, 12), expected (5, 12)"),
        (lambda path: path.write_text("nothing"), "is neither safetensors nor a state dictionary"),
    ],
    ids=["other classes", "other width", "no weights"],
)
def test_weights_that_do_not_fit_are_one_clear_line(place, write, words):
    write(place.directory / "own.pt")
    overlay = place.overlay(STUDY | {"models": {"own": MODEL}})
    outcome = place.run("models", overlays=[overlay])
    assert outcome.code != 0
    assert [line for line in outcome.text.splitlines() if line.startswith("approxgrad: load_model") and words in line]
    assert "Traceback" not in outcome.text
    assert not (place.directory / "results/models/dataset=synthetic_linear/model=own/weights.safetensors").exists()


def test_a_model_is_either_trained_or_loaded(place):
    overlay = place.overlay(STUDY | {"models": {"own": {"architecture": "mlp"}}})
    outcome = place.run("models", overlays=[overlay])
    assert outcome.code != 0
    assert "models.own.training: is missing, expected either training or weights" in outcome.stderr


def test_a_function_without_a_gradient_is_measured_and_attributed(place):
    (place.directory / "own_functions.py").write_text(FUNCTION)
    steps = {"central": {"difference": "central", "steps": [0.01, 0.1]}}
    cells = CELLS | {"gradients": ["central"], "samples": 3, "reference": "central-h0.01"}
    model = {"function": "own_functions:predict"}
    overlay = place.overlay({"models": {"own": model}, "gradients": steps, "experiments": [cells]})
    outcome = place.run("attributions", "models", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert outcome.jobs == WORK | {"measure_model": 1}
    test = pd.read_parquet(place.directory / "data/synthetic_linear/test.parquet")
    features = np.stack(test["features"])
    errors = np.tanh(features).sum(axis=1) - test["target"]
    measures = pd.read_parquet(place.directory / "results/summary/models.parquet").set_index("metric")
    assert measures.loc["loss", "value"] == pytest.approx(np.square(errors).mean(), rel=1e-5)  # float32
    found = pd.read_parquet(place.directory / "results/attributions")
    for row in found.itertuples():
        above, below = (np.tanh(features[row.sample].astype(float) + way * row.setting) for way in (1, -1))
        expected = np.abs(above - below) / (2 * row.setting)
        # A rounding of outputs of size 12 in float32, over the step.
        assert np.abs(row.attribution - expected).max() < 12 * np.finfo(np.float32).eps / row.setting
    assert sorted(set(found["setting"])) == [0.01, 0.1]

    (place.directory / "own_functions.py").write_text(FUNCTION + "\n# changed\n")
    assert place.plan("attributions", "models", overlays=[overlay]).jobs["measure_model"] == 1

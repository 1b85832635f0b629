"""The numbers that the thesis published for its nonlinear data set and trained model, recomputed."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from approxgrad import ApproxAttribution, FiniteDifference, attribute
from approxgrad.evaluation.metrics import compare

SHARED = Path(os.environ.get("APPROXGRAD_SHARED") or Path(__file__).resolve().parents[4] / "shared")
PUBLISHED = SHARED / "published" / "synthetic"
pytestmark = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published model and data are not at {PUBLISHED} (set APPROXGRAD_SHARED)"
)

METRICS = ["pearson", "mean_squared_error", "cosine"]
TABLE = [  # method, step (None for exact gradients), mean and population standard deviation of the three metrics
    ("saliency", None, [-0.082577, 7.145787, 0.141732], [0.302066, 5.900829, 0.284952]),
    ("saliency", 0.01, [-0.079272, 7.183515, 0.143295], [0.304959, 6.022895, 0.284917]),
    ("saliency", 0.1, [-0.079957, 6.983813, 0.142292], [0.302703, 5.564533, 0.287786]),
    ("saliency", 1, [0.020836, 5.077515, 0.202997], [0.328963, 2.298306, 0.294128]),
    ("saliency", 3, [0.066927, 3.818702, 0.234806], [0.324327, 1.140704, 0.307809]),
    ("input_x_gradient", None, [0.470060, 5.213131, 0.428977], [0.252932, 4.227549, 0.246950]),
    ("input_x_gradient", 0.5, [0.481651, 4.640897, 0.453282], [0.240361, 3.368481, 0.236473]),
]


@pytest.fixture(scope="module")
def data():
    arrays = np.load(PUBLISHED / "nonlinear.npz")
    return torch.tensor(arrays["X_test"], dtype=torch.float32), arrays["true_effects"]


@pytest.fixture(scope="module")
def model():
    layers = []
    for inputs, outputs in ((12, 256), (256, 128), (128, 64)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.4)]
    network = nn.Sequential(*layers, nn.Linear(64, 1)).eval()
    weights = load_file(PUBLISHED / "nonlinear_mlp.safetensors")
    network.load_state_dict({name.removeprefix("network."): value for name, value in weights.items()})
    return network


def varies(values):
    return np.ptp(np.asarray(values), axis=1) > 0


CASES = [("attribute", *row) for row in TABLE] + [("original", *row) for row in TABLE if row[1] is not None]


@pytest.mark.parametrize(("interface", "method", "step", "mean", "deviation"), CASES)
def test_agreement_with_the_truth(model, data, interface, method, step, mean, deviation):
    inputs, truth = data
    exact = attribute(model, inputs, target=0, method=method)
    if interface == "attribute":
        source = "exact" if step is None else FiniteDifference(step)
        attribution = attribute(model, inputs, target=0, method=method, gradient=source)
    else:
        name = {"saliency": "grad_approx", "input_x_gradient": "grad_x_i_approx"}[method]
        attribution = getattr(ApproxAttribution(model), name)(h=step, X=list(inputs)).view(inputs.shape)
    counted = varies(truth) & varies(exact) & varies(attribution)
    assert counted.sum() == 299
    metrics = compare(attribution.numpy(), truth)
    values = np.array([metrics[name][counted] for name in METRICS])
    np.testing.assert_allclose(values.mean(axis=1), mean, rtol=0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=1), deviation, rtol=0, atol=1e-4)


def distance(attribution, reference):
    return float((attribution - reference).norm() / reference.norm())


def test_only_the_correct_variant_of_integrated_gradients_converges(model, data):
    inputs, _ = data
    exact = attribute(model, inputs, target=0, method="integrated_gradients")
    far = attribute(model, inputs, target=0, method="integrated_gradients", gradient=FiniteDifference(0.5))
    near = attribute(model, inputs, target=0, method="integrated_gradients", gradient=FiniteDifference(1e-3))
    assert distance(near, exact) < 0.01 < distance(far, exact)
    # The limit to the two digits that are published: it does not move with the step.
    for step in (1e-2, 1e-3):
        published = ApproxAttribution(model).int_grad_approx(h=step, X=inputs).view(inputs.shape)
        assert distance(published, exact) == pytest.approx(0.62, abs=0.005)

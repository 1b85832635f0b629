"""Steps that are the increments of a path."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from sklearn.ensemble import GradientBoostingRegressor

from approxgrad import DirectionalDifference, FiniteDifference, attribute
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.stencils import SCHEMES
from problems import CURVATURES, RecordingModel, linear, points, quadratic, quadratic_gradient, softplus_mlp

BASELINE = 0.25


def integrated(model, x, scheme="forward", n_steps=4, baselines=0.0, *, target=None, **arguments):
    source = FiniteDifference("path", scheme, **arguments)
    options = {"method": "integrated_gradients", "baselines": baselines, "n_steps": n_steps}
    return attribute(model, x, target=target, gradient=source, **options)


def one_feature_at_a_time(function, x, begin, n_steps, scheme):
    """The definition, point by point, in float64."""
    found = np.zeros(x.shape)
    for step in range(n_steps):
        left, right = (begin + (step + ahead) / n_steps * (x - begin) for ahead in (0, 1))
        for feature in range(x.shape[1]):
            bases = {"forward": [left], "backward": [right], "central": [left, right]}[scheme]
            for base in bases:
                before, behind = base.copy(), base.copy()
                before[:, feature], behind[:, feature] = left[:, feature], right[:, feature]
                found[:, feature] += (function(behind) - function(before)) / len(bases)
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attributions_are_the_sums_of_the_definition(scheme):
    model, x = softplus_mlp(), points(5, 4)
    found = integrated(model, x, scheme, 6, BASELINE, target=1)

    def function(rows):
        return model(torch.from_numpy(rows)).detach().numpy()[:, 1]

    expected = one_feature_at_a_time(function, x.numpy(), np.full_like(x.numpy(), BASELINE), 6, scheme)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_steps", [1, 3, 50])
def test_sums_of_functions_of_single_features_are_attributed_exactly_with_any_steps(n_steps, scheme):
    x = points(5, 3)
    exact = (x - BASELINE) * (quadratic_gradient(x) + quadratic_gradient(torch.full_like(x, BASELINE))) / 2
    found = integrated(quadratic, x, scheme, n_steps, BASELINE)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)
    assert float(CURVATURES.abs().min()) > 0


@pytest.mark.parametrize(("scheme", "order"), [("forward", 1), ("backward", 1), ("central", 2)])
def test_the_gap_in_completeness_falls_with_the_order_of_the_scheme(scheme, order):
    model, x = softplus_mlp(), points(6, 4)
    change = (model(x) - model(torch.zeros_like(x))).detach()[:, 0]
    gaps = [float((integrated(model, x, scheme, n, target=0).sum(dim=1) - change).norm()) for n in (10, 40)]
    assert 4**order / 1.3 < gaps[0] / gaps[1] < 4**order * 1.3


@pytest.mark.parametrize("n_steps", [1, 3])
def test_interactions_of_two_features_are_complete_with_the_central_scheme(n_steps):
    x = points(5, 4)

    def model(rows):
        return 3 * (rows[:, 0] > 0.3) * (rows[:, 1] > 0.2).double() + rows[:, 2] * rows[:, 3]

    found = integrated(model, x, "central", n_steps, -2.0)
    change = model(x) - model(torch.full_like(x, -2.0))
    torch.testing.assert_close(found.sum(dim=1), change, rtol=0, atol=1e-12)
    assert float((integrated(model, x, "forward", n_steps, -2.0).sum(dim=1) - change).abs().max()) > 0.1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_jump_counts_in_full_for_the_feature_that_crosses_it(scheme):
    x = torch.tensor([[1.0, 1.0, 0.2], [-1.0, 0.5, 1.0]]).double()

    def model(rows):
        return 5.0 * (rows[:, 0] > 0.33) - 2.0 * (rows[:, 2] > 0.61)

    found = integrated(model, x, scheme, 7)
    assert torch.equal(found, torch.tensor([[5.0, 0, 0], [0, 0, -2]]).double())


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_trees_are_explained_to_the_accuracy_of_their_gap(scheme):
    rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    target = rows[:, 0] + np.abs(rows[:, 1]) * rows[:, 2]
    trees = GradientBoostingRegressor(n_estimators=40, random_state=0).fit(rows, target)

    def model(x):
        return torch.from_numpy(trees.predict(x.numpy()))

    x, n_steps = torch.from_numpy(rows[:30]), 16
    found = integrated(model, x, scheme, n_steps).double()
    change = model(x) - model(torch.zeros_like(x))
    gap = float((found.sum(dim=1) - change).norm() / change.norm())
    fine = integrated(model, x, scheme, 256).double()
    pearson = [np.corrcoef(*pair)[0, 1] for pair in zip(found.numpy(), fine.numpy(), strict=True)]
    assert gap < {"forward": 0.15, "central": 0.01}[scheme]
    assert np.median(pearson) > 0.97
    # A step that is the same everywhere does worse, at every length and the same cost.
    for step in (0.1, 0.3, 1.0):
        source = FiniteDifference(step, scheme)
        options = {"method": "integrated_gradients", "n_steps": n_steps, "gradient": source}
        other = attribute(model, x, **options).double()
        assert float((other.sum(dim=1) - change).norm() / change.norm()) > gap


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("budget", [1, 20_000, None])
def test_the_cost_is_that_of_differences_along_the_path_whatever_the_memory(scheme, budget):
    x = points(5, 3)
    model, source = RecordingModel(quadratic), FiniteDifference("path", scheme, memory_budget=budget)
    found = attribute(model, x, method="integrated_gradients", gradient=source, n_steps=4)
    made = sum(map(len, model.batches)) - source.check_evaluations
    assert made == 5 * 4 * Difference(scheme, ("path",)).cost("path", 3)
    torch.testing.assert_close(found, integrated(quadratic, x, scheme), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_features_at_their_baseline_cost_nothing_and_get_0(scheme):
    x = points(4, 3)
    x[0, 1] = x[2] = 0
    model, source = RecordingModel(lambda x: quadratic(x) + 7), FiniteDifference("path", scheme)
    found = attribute(model, x, method="integrated_gradients", gradient=source, n_steps=2)
    made = sum(map(len, model.batches)) - source.check_evaluations
    assert made == 2 * (4 + int((x != 0).sum())) * len(SCHEMES[scheme].shifts)
    assert (found[x == 0] == 0).all()
    assert torch.equal(integrated(linear, torch.zeros(2, 3)), torch.zeros(2, 3))


def test_images_and_targets_of_their_own():
    weights = points(4, 12, seed=3)

    def model(x):
        return x.flatten(1) @ weights.T

    x, target = points(3, 3, 2, 2), torch.tensor([3, 0, 1])
    found = integrated(model, x, target=target)
    torch.testing.assert_close(found, x * weights[target].reshape(x.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["gradient", "saliency", "input_x_gradient", "integrated_gradients_published"])
def test_other_methods_say_what_the_step_is_for(method):
    with pytest.raises(ValueError, match=r"^step: path is for Integrated Gradients only, .* or a number as the step$"):
        attribute(linear, points(2, 3), method=method, gradient=FiniteDifference("path"))


@pytest.mark.parametrize("kind", [IntegratedGradients, Saliency])
def test_captums_own_methods_say_what_takes_their_place(kind):
    own = kind(linear)
    own.gradient_func = FiniteDifference("path", check_rows=False)
    with pytest.raises(ValueError, match=r"use approxgrad\.attribute with method='integrated_gradients', which takes"):
        own.attribute(points(2, 3).requires_grad_())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FiniteDifference("paths"), TypeError, "step: expected a positive number, got 'paths'"),
        (lambda: FiniteDifference("path", nominal=True), ValueError, "nominal: expected False with the step path"),
        (lambda: FiniteDifference("path", "sideways"), ValueError, "scheme: got 'sideways'"),
        (lambda: DirectionalDifference("path"), TypeError, "step: expected a positive number"),
    ],
)
def test_arguments_that_are_not_valid(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_outputs_that_are_not_finite_are_refused_with_their_place():
    def model(x):
        return torch.where(x[:, 1] > 0.9, torch.nan, x[:, 0])

    place = "a point of the path to input 0, in step 3 of 4 with feature 1 moved"
    with pytest.raises(ValueError, match=f"model: output is nan for {place}"):
        integrated(model, torch.tensor([[1.0, 0.95]]), check_rows=False)


def test_it_says_what_it_is():
    assert repr(FiniteDifference("path", "central")) == "FiniteDifference(step=path, scheme='central')"

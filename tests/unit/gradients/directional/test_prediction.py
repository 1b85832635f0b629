"""How much of a gradient is predicted to be caught, and what that decides."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from approxgrad import DirectionalDifference, FiniteDifference, attribute
from approxgrad.gradients.directional.prediction import correlation
from approxgrad.gradients.directional.spectrum import BASES
from linear_problems import linear, span, weights
from problems import exact_gradient, points, softplus_mlp

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")


@pytest.mark.parametrize("name", sorted(BASES))
def test_the_missed_energy_is_unbiased_and_as_uncertain_as_chi_squared(name):
    shape, probes, count = (3, 7, 5), 16, 150
    model, gradient = linear(shape)
    x, found, real = points(1, *shape), [], []
    for seed in range(count):
        source = DirectionalDifference(0.5, budget=40, basis=name, seed=seed, probes=probes, check_rows=False)
        estimate = source(model, x)[0].flatten().double()
        cosine = float(estimate @ gradient / estimate.norm() / gradient.norm())
        found.append(float(source.predicted.missed) / float(gradient.square().sum()))
        real.append(1 - cosine**2)
        assert float(source.predicted.lower) <= float(source.predicted.cosine) <= float(source.predicted.upper)
    ratio = np.array(found) / np.array(real)
    expected = math.sqrt(2 / probes)
    assert abs(ratio.mean() - 1) < 4 * expected / math.sqrt(count)
    assert expected / 1.3 < ratio.std() < expected * 1.3


@pytest.mark.parametrize("name", ["cosine", "pixels", "random"])
def test_the_predicted_interval_holds_the_real_cosine_nine_times_in_ten(name):
    shape, rows = (1, 12, 12), 300
    own = weights(rows, 144)

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    x, number = points(rows, *shape), torch.arange(rows)
    source = DirectionalDifference(0.5, budget=100, basis=name, check_rows=False)
    found = source(model, x, None, (number,))[0].flatten(1)
    cosine = (found * own).sum(dim=1) / found.norm(dim=1) / own.norm(dim=1)
    predicted = source.predicted
    held = ((predicted.lower <= cosine) & (cosine <= predicted.upper)).double().mean()
    # All rows have the same probes, so they are not quite independent.
    assert 0.83 < float(held) < 0.97


@pytest.mark.parametrize("budget", [9, 10, 100_000])
def test_a_budget_for_all_directions_leaves_nothing_to_predict(budget):
    model, x = softplus_mlp(8), points(3, 8)
    source = DirectionalDifference(1e-5, budget=budget, basis="cosine")
    found = source(model, x, 1)[0]
    assert source.predicted.evaluations.tolist() == [9] * 3
    assert source.predicted.cosine.tolist() == [1.0] * 3 == source.predicted.lower.tolist()
    plain = FiniteDifference(1e-5)(model, x, 1)[0]
    exact = exact_gradient(model, x, 1)
    assert float((found - exact).norm()) < 2 * float((plain - exact).norm()) < 1e-3


def test_a_quality_is_paid_for_and_no_more():
    shape = (1, 12, 12)
    smooth = span("cosine", shape, 40)
    rough = span("cosine", shape, 144)[40:]
    own = torch.stack([smooth.sum(dim=0), smooth.sum(dim=0) + 0.4 * rough.sum(dim=0)])

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=130, basis="cosine", quality=0.95, probes=16)
    arguments = (torch.arange(2),)
    found = source(model, points(2, *shape), None, arguments)[0].flatten(1)
    predicted = source.predicted
    assert predicted.evaluations[0] < predicted.evaluations[1] <= 130
    assert predicted.evaluations.tolist() == [1 + 16 + own for own in predicted.directions.tolist()]
    assert (predicted.cosine[0] >= 0.95) & (predicted.cosine[0] == pytest.approx(1, abs=1e-6))
    for row in range(2):
        rows = span("cosine", shape, int(predicted.directions[row]))
        torch.testing.assert_close(found[row], (rows @ own[row]) @ rows, rtol=0, atol=1e-10)
    median, lower, upper = predicted.of_map(lambda gradient: gradient)
    assert ((lower <= median) & (median <= upper)).all()


@pytest.mark.parametrize("budget", [150, 10_000])
def test_a_quality_ends_what_the_budget_would_pay_for(budget):
    """A gradient in the span of the first 40 directions is known after these, whatever the budget."""
    shape = (1, 12, 12)
    gradient = span("cosine", shape, 40).sum(dim=0)
    source = DirectionalDifference(0.5, budget=budget, basis="cosine", quality=0.99)
    source(lambda x: x.flatten(1) @ gradient, points(1, *shape))
    assert int(source.predicted.directions) <= 64 + 32
    impossible = DirectionalDifference(0.5, budget=budget, basis="pixels", quality=0.999999)
    impossible(lambda x: x.flatten(1) @ gradient, points(1, *shape))
    assert int(impossible.predicted.evaluations) <= budget
    assert float(impossible.predicted.cosine) == 1 or budget == 150


def test_inputs_that_take_all_directions_say_nothing_of_others():
    shape = (1, 12, 12)
    own = torch.stack([weights(144), span("cosine", shape, 8).sum(dim=0) + 0.3 * weights(144) / 12])

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=1000, basis="cosine", quality=0.9, probes=40)
    source(model, points(2, *shape), None, (torch.arange(2),))
    assert source.predicted.directions[0] == 144 > source.predicted.directions[1]
    assert source.predicted.cosine[0] == 1 > source.predicted.cosine[1]


def test_the_agreement_of_a_map_is_predicted_from_what_is_missed():
    """For the gradient itself the agreement is the cosine, as its mean is nearly zero."""
    rows = 100
    own = weights(rows, 144)

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=100, probes=30, check_rows=False)
    found = source(model, points(rows, 1, 12, 12), None, (torch.arange(rows),))[0].flatten(1)
    for function in (torch.abs, lambda gradient: gradient):
        real = correlation(function(found), function(own))
        median, lower, upper = source.predicted.of_map(function, draws=100)
        assert float((median - real).mean().abs()) < 0.05
        assert float(((lower <= real) & (real <= upper)).double().mean()) > 0.8


@pytest.mark.parametrize("weighted", [False, True])
def test_the_interval_of_a_map_holds_the_real_agreement_nine_times_in_ten(weighted):
    """The gradients are what the prediction takes them for, white noise, so nothing but chance is left to it."""
    rows, features = 1500, 100
    own = weights(rows, features)
    factors = points(features).pow(3) if weighted else torch.ones(features, dtype=torch.float64)
    held = []
    for seed in range(3):

        def model(x, number):
            return (x * own[number.long()]).sum(dim=1)

        source = DirectionalDifference(0.5, budget=60, probes=12, seed=seed, check_rows=False)
        found = source(model, points(rows, features), None, (torch.arange(rows),))[0]
        _, lower, upper = source.predicted.of_map(lambda gradient: factors * gradient, seed=seed)
        real = correlation(factors * found, factors * own)
        held.append(((lower <= real) & (real <= upper)).double().mean())
    assert 0.88 < float(sum(held) / len(held)) < 0.93, held


def test_maps_may_have_another_shape_than_the_gradient():
    model, _ = linear((2, 6, 6))
    source = DirectionalDifference(0.5, budget=40, basis="cosine")
    source(model, points(3, 2, 6, 6))
    pictures = source.predicted.of_map(lambda gradient: gradient.reshape(-1, 2, 6, 6).sum(dim=1))
    rows = source.predicted.of_map(lambda gradient: gradient.reshape(-1, 2, 36).sum(dim=1))
    for own, other in zip(pictures, rows, strict=True):
        assert own.shape == (3,)
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (torch.abs, {"draws": 0}, "draws: expected an integer of at least 1, got 0"),
        (torch.abs, {"draws": 2.5}, r"draws: expected an integer of at least 1, got 2\.5"),
        (torch.abs, {"seed": -1}, "seed: expected an integer of at least 0, got -1"),
        (lambda gradient: gradient.sum(dim=1), {}, r"function: expected maps of shape \(3, \.\.\.\), got shape \(3,\)"),
        (lambda gradient: gradient[:1], {}, r"function: expected maps of shape \(3, \.\.\.\), got shape \(1, 72\)"),
    ],
)
def test_maps_and_draws_that_are_not_valid(function, options, message):
    source = DirectionalDifference(0.5, budget=40, basis="cosine")
    source(linear((2, 6, 6))[0], points(3, 2, 6, 6))
    with pytest.raises(ValueError, match=message):
        source.predicted.of_map(function, **options)


def test_the_missing_part_is_expected_where_the_estimate_is_large():
    rows, side = 60, 24
    place = torch.linspace(-2, 2, side, dtype=torch.float64).square()
    bump = torch.exp(-3 * (place[:, None] + place)).flatten()
    own = weights(rows, side**2) * bump

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=200, basis="cosine", check_rows=False)
    found = source(model, points(rows, 1, side, side), None, (torch.arange(rows),))[0].flatten(1)
    real = correlation(found.abs(), own.abs())
    evenly = dataclasses.replace(source.predicted, _envelope=torch.ones_like)
    off, off_evenly = (float((one.of_map(abs)[0] - real).mean().abs()) for one in (source.predicted, evenly))
    assert off < off_evenly / 2
    # It is a guess, so the interval holds the other one as well.
    _, low, high = source.predicted.of_map(abs)
    _, low_evenly, high_evenly = evenly.of_map(abs)
    assert ((low <= low_evenly) & (high >= high_evenly)).all()
    assert ((low < low_evenly) | (high > high_evenly)).any()


def test_a_constant_function_has_no_gradient_and_no_cosine():
    source = DirectionalDifference(0.5, budget=30, basis="cosine", quality=0.9)
    found = source(lambda x: torch.full((len(x),), 0.1, dtype=torch.float64), points(2, 3, 4, 4))[0]
    assert torch.equal(found, torch.zeros(2, 3, 4, 4).double())
    assert source.predicted.cosine.isnan().all()
    assert source.predicted.evaluations.tolist() == [30, 30]


def test_a_budget_of_no_use_is_a_warning_that_names_what_helps():
    model, _ = linear((3, 32, 32))
    with pytest.warns(UserWarning, match=r"budget: 100 evaluations are of little use here.*cosine of 0\.\d+.*groups="):
        DirectionalDifference(budget=100)(model, points(2, 3, 32, 32))
    with pytest.warns(UserWarning, match="of little use"):
        attribute(
            model, points(2, 3, 32, 32), method="integrated_gradients", gradient=DirectionalDifference(budget=100)
        )

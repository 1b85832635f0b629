import math

import numpy as np
import pytest
import torch
from captum.attr import KernelShap as CaptumKernelShap
from captum.attr import Lime as CaptumLime

from approxgrad import attribute
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.published.path_estimates import GEEX, GEFA
from approxgrad.gradients.published.random_directions import SPSA, GaussianSmoothing
from approxgrad.gradients.published.surrogates import KernelShap, Lime
from problems import RecordingModel, linear, points, quadratic, quadratic_gradient, small_cnn, two_inputs

SOURCES = [SPSA, GaussianSmoothing]
PATHS = [GEEX, GEFA, KernelShap, Lime]
BASELINE = torch.tensor([[0.5, -1.0, 0.25]], dtype=torch.float64)


def path(source, model, x, baseline=0.0, target=None, **options):
    return attribute(
        model, x, target=target, method="integrated_gradients", gradient=source, baselines=baseline, **options
    )


def product(x):
    """x1 x2 x3 + x1: Shapley values from b = 0 are products over 3, and x1 for the first."""
    return x.prod(dim=1) + x[:, 0]


# What is estimated


@pytest.mark.parametrize("source", SOURCES)
def test_a_gradient_of_degree_two_is_estimated_without_bias(source):
    x = points(4, 3)
    found = source(40_000, 0.5)(quadratic, x)[0]
    exact = quadratic_gradient(x)
    # Each estimate is g + noise of size |g| sqrt(d + 1) at most; the mean of 20,000 has a standard error of .0141 |g|.
    assert ((found - exact).abs() < 5 * 0.0142 * exact.norm(dim=1, keepdim=True)).all()


def test_signs_that_make_all_quadrants_give_a_linear_function_exactly():
    """With two features of the four pairs of signs two are each other's opposite; their mean is exact."""
    weights = torch.tensor([2.0, -3.0], dtype=torch.float64)

    class All(SPSA):
        def drawn(self, generator, features):
            self.number = getattr(self, "number", -1) + 1
            return np.array([1.0, 1.0 - 2 * (self.number % 2)])

    found = All(4)(lambda x: x @ weights, torch.zeros(1, 2, dtype=torch.float64))[0]
    torch.testing.assert_close(found, weights[None], rtol=0, atol=1e-13)


def test_smoothing_estimates_the_gradient_of_the_smoothed_model():
    """Of a step function: the density of the Gaussian at the distance to the step, where differences give 0."""
    sigma, x = 0.5, torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    found = GaussianSmoothing(200_000, sigma)(lambda x: (x[:, 0] > 0).double(), x)[0]
    density = math.exp(-0.5 * (0.3 / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    torch.testing.assert_close(found, torch.tensor([[density, 0.0]], dtype=torch.float64), rtol=0, atol=0.02)


def test_gradients_along_a_path_are_taken_in_the_middle_of_its_parts():
    """Of x^3, with a single feature: a difference is 3 x^2 + h^2, whichever the sign."""
    x, start, step = torch.tensor([[2.0], [-1.0]], dtype=torch.float64), 0.5, 0.25
    found = path(SPSA(6, step), lambda x: (x**3).sum(dim=1), x, start)
    middles = [start + share * (x - start) for share in (1 / 6, 3 / 6, 5 / 6)]
    expected = (x - start) * sum(3 * own**2 + step**2 for own in middles) / 3
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_geex_estimates_integrated_gradients():
    x = points(3, 3)
    exact = path("exact", quadratic, x, BASELINE, n_steps=8)
    found = path(GEEX(60_000, 0.5), quadratic, x, BASELINE)
    assert ((found - exact).norm(dim=1) < 0.05 * exact.norm(dim=1).clamp(min=1)).all()


@pytest.mark.parametrize(("source", "budget"), [(GEFA, 20_000), (KernelShap, 800)])
def test_shapley_values(source, budget):
    x = points(3, 3)
    both = x.prod(dim=1, keepdim=True) / 3
    shapley = both + x * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    found = path(source(budget), product, x)
    torch.testing.assert_close(found, shapley, rtol=0, atol=0.05 * float(shapley.abs().max()))


def test_sets_with_their_control_variate_give_a_sum_exactly():
    """With equal contributions the control variate is the model itself."""
    x = torch.full((2, 6), 0.75, dtype=torch.float64)
    found = path(GEFA(20, seed=2), lambda x: x.sum(dim=1), x)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("source", "captum"), [(KernelShap, CaptumKernelShap), (Lime, CaptumLime)])
def test_surrogates_are_those_of_captum(source, captum):
    model, x = small_cnn(torch.float32), points(2, 2, 4, 4, dtype=torch.float32)
    found = path(source(60, seed=3), model, x, target=[2, 0])
    for row, target in enumerate([2, 0]):
        torch.manual_seed(3)
        expected = captum(model).attribute(x[row : row + 1], target=target, n_samples=60)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-4, atol=1e-5)


# What it costs, and on what it does not depend


@pytest.mark.parametrize("budget", [2, 3, 7, 20])
@pytest.mark.parametrize("source", SOURCES + PATHS)
def test_evaluations_are_counted_exactly(source, budget):
    model, x = RecordingModel(linear), points(3, 3)
    made = source(budget, check_rows=False, batch_size=4)
    path(made, model, x, check_rows=False) if source in PATHS else made(model, x)
    spent = budget if source in (KernelShap, Lime) else budget // 2 * 2
    assert len(model.rows) == 3 * spent


@pytest.mark.parametrize("source", SOURCES + PATHS)
def test_results_depend_on_the_seed_and_on_nothing_else(source):
    x = points(5, 2, 4, 4)
    model = small_cnn()

    def found(rows=slice(None), **options):
        made = source(30, **options)
        own = x[rows]
        return path(made, model, own, target=1) if source in PATHS else made(model, own, 1)[0]

    whole = found()
    for options in ({"batch_size": 1}, {"batch_size": 7}, {"memory_budget": 200_000}):
        torch.testing.assert_close(found(**options), whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found(slice(3, 4)), whole[3:4], rtol=1e-9, atol=1e-9)
    assert torch.equal(found(), whole)
    assert not torch.allclose(found(seed=1), whole)


def test_draws_leave_the_generators_of_others_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    path(Lime(10), linear, points(2, 3))
    assert torch.equal(torch.get_rng_state(), before)


# Shapes, steps and what is refused


@pytest.mark.parametrize("source", SOURCES)
def test_several_inputs_and_a_step_for_each_feature(source):
    x, y = points(3, 2), points(3, 1, 2, seed=1)
    steps = (torch.tensor([0.1, 2.0]), 0.5)
    first, second = source(60_000, steps)(two_inputs, (x, y))
    scale = 1 + first.abs().max()
    torch.testing.assert_close(first, 2 * x + y.flatten(1).sum(1, keepdim=True), rtol=0, atol=0.4 * float(scale))
    torch.testing.assert_close(second, x.sum(dim=1)[:, None, None].expand(3, 1, 2), rtol=0, atol=0.1 * float(scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("source", SOURCES + PATHS)
def test_results_are_like_the_inputs(source, dtype):
    x = points(2, 3, dtype=dtype)
    found = path(source(6), linear, x) if source in PATHS else source(6)(linear, x)[0]
    assert (found.shape, found.dtype) == (x.shape, dtype)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("source", SOURCES + PATHS)
@pytest.mark.parametrize("budget", [0, 1, -3, 2.0, True, "200", None])
def test_budgets_that_are_none_are_refused(source, budget):
    with pytest.raises(ValueError, match="budget: expected an integer of at least 2"):
        source(budget)


@pytest.mark.parametrize("sigma", [0, -0.1, math.inf, math.nan, True, "0.1", torch.ones(3)], ids=str)
def test_noise_that_is_none_is_refused_by_its_name(sigma):
    with pytest.raises(ValueError, match=r"^sigma: expected a positive number"):
        GEEX(10, sigma)


@pytest.mark.parametrize("source", PATHS)
def test_attributions_are_no_gradients(source):
    with pytest.raises(ValueError, match=f"{source.__name__} is for Integrated Gradients only"):
        source(10)(linear, points(2, 3))


def test_a_single_feature_is_none_for_kernel_shap():
    with pytest.raises(ValueError, match="at least two features"):
        path(KernelShap(10), lambda x: x[:, 0], points(2, 1))
    for source in (GEEX, GEFA, Lime):
        assert torch.isfinite(path(source(10), lambda x: x[:, 0], points(2, 1))).all()


@pytest.mark.parametrize("source", SOURCES + PATHS)
def test_a_model_with_random_rows_or_outputs_that_are_not_finite_is_refused(source):
    def run(model):
        made = source(10)
        return path(made, model, points(2, 3)) if source in PATHS else made(model, points(2, 3))

    with pytest.raises(RowError):
        run(lambda x: torch.rand(len(x)))
    with pytest.raises(ValueError, match="model: output is nan"):
        run(lambda x: torch.where((x - points(2, 3)[:1]).abs().sum(dim=1) > 0.001, torch.nan, 1.0))


def test_a_lost_step_is_refused():
    with pytest.raises(ValueError, match="step: 1e-30 is lost"):
        SPSA(10, 1e-30)(linear, points(2, 3))


def test_points_of_a_path_beside_a_budget_are_refused_with_what_helps():
    with pytest.raises(
        TypeError, match=r"^n_steps: the points of the path follow from the gradient's budget; leave it out$"
    ):
        attribute(quadratic, points(2, 3), method="integrated_gradients", gradient=SPSA(20), n_steps=5)


@pytest.mark.parametrize("source", SOURCES + PATHS)
@pytest.mark.parametrize("seed", [-1, 1.0, True, None])
def test_seeds_that_are_none_are_refused(source, seed):
    with pytest.raises(ValueError, match=r"^seed: expected an integer of at least 0"):
        source(10, seed=seed)

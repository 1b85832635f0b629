"""Properties of the finite differences and of the attributions over them, for random models and settings."""

import copy

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from approxgrad import ExactGradient, FiniteDifference, attribute
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Source, exact_source
from approxgrad.methods.method import METHODS
from random_problems import DTYPES, STEPS, called, differences, problems

GRADIENT_METHODS = [name for name in METHODS if METHODS[name].takes_gradients]
WITHOUT_NOISE = [name for name in GRADIENT_METHODS if name != "smoothgrad"]
PATHS = [name for name in METHODS if METHODS[name].path]
# Nodes, weights and sums of the path are in double precision, whatever the inputs are.
DOUBLE = torch.finfo(torch.float64).eps


def source_of(problem, **changes):
    return FiniteDifference(problem.step, problem.scheme, **(problem.settings | changes))


def derivatives(problem, **changes):
    """The result of the engine as a float64 matrix with a row for each input."""
    parts = source_of(problem, **changes)(problem.model, problem.inputs, problem.target)
    return torch.cat([part.double().flatten(1) for part in parts], dim=1)


def assert_near(found, expected, tolerance):
    distance = (found.double() - expected.double()).abs()
    assert (distance <= tolerance).all(), f"off by {(distance / tolerance).max():.3g} times the tolerance"


def rows_of_target(problem, rows):
    """The target of some rows, one index tuple each."""
    if problem.target is None:
        return None
    return [tuple(int(i) for i in np.unravel_index(int(problem.flat_target[row]), problem.outputs)) for row in rows]


def part(problem, rows, **changes):
    inputs = tuple(tensor[rows] for tensor in problem.inputs)
    found = source_of(problem, **changes)(problem.model, inputs, rows_of_target(problem, rows))
    return torch.cat([tensor.double().flatten(1) for tensor in found], dim=1)


# The engine


@given(problems())
def test_differences_are_those_of_a_loop_over_the_features(problem):
    assert_near(derivatives(problem), *differences(problem))


@given(problems(), st.randoms(use_true_random=False))
def test_order_groups_and_batches_of_rows_change_rounding_only(problem, random):
    _, tolerance = differences(problem)
    whole = derivatives(problem)
    order = list(range(problem.rows))
    random.shuffle(order)
    assert_near(part(problem, order), whole[order], 2 * tolerance[order])
    cut = random.randint(0, problem.rows - 1)
    groups = torch.cat([part(problem, order[i:j]) for i, j in ((0, cut), (cut, None)) if order[i:j]])
    assert_near(groups, whole[order], 2 * tolerance[order])
    for size in (1, 3, 10**6):
        assert_near(derivatives(problem, batch_size=size, memory_budget=None), whole, 2 * tolerance)


@given(problems(), st.data())
def test_chosen_features_have_the_derivatives_that_they_have_among_all(problem, data):
    whole, (_, tolerance) = derivatives(problem), differences(problem)
    features = data.draw(st.lists(st.integers(0, whole.shape[1] - 1), min_size=1, max_size=6))
    found = source_of(problem).partial_derivatives(
        problem.model, problem.inputs, torch.tensor(features), problem.target
    )
    assert found.dtype == torch.float64
    assert_near(found, whole[:, features], 2 * tolerance[:, features])


@given(problems(), st.booleans())
def test_the_caller_finds_everything_as_it_was(problem, grad_mode):
    inputs = tuple(tensor.clone().requires_grad_(index % 2 == 0) for index, tensor in enumerate(problem.inputs))
    target, net, generator = copy.deepcopy(problem.target), copy.deepcopy(problem.net), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    with torch.set_grad_enabled(grad_mode):
        source_of(problem)(problem.model, inputs, problem.target)
        if len(inputs) == 1 and problem.form != "numpy":
            attribute(problem.model, inputs[0], target=problem.target, method="integrated_gradients", n_steps=2)
        assert torch.is_grad_enabled() == grad_mode
    for index, (tensor, before) in enumerate(zip(inputs, problem.inputs, strict=True)):
        assert torch.equal(tensor, before)
        assert tensor.requires_grad == (index % 2 == 0)
        assert tensor.grad is None
        assert tensor.stride() == before.stride()
    if target is not None:
        assert torch.equal(torch.as_tensor(target), torch.as_tensor(problem.target))
    for own, before in zip(problem.net.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(own, before)
        assert own.stride() == before.stride()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in problem.net.parameters())
    layers = list(problem.net.modules())
    assert not any(layer.training or layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    assert torch.equal(torch.get_rng_state(), generator)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@given(problems(single_input=True), st.sampled_from(GRADIENT_METHODS), st.booleans())
def test_twice_the_model_has_twice_the_attribution_bit_for_bit(problem, method, exact):
    form = "function" if exact else problem.form  # arrays have no exact gradient
    double = copy.deepcopy(problem.net)
    with torch.no_grad():
        double[-1].weight.mul_(2)
        double[-1].bias.mul_(2)
    options = {"n_steps": 3, "baselines": 0.5} if method in PATHS else {}
    once, twice = (
        attribute(
            called(net, form, problem.outputs),
            problem.inputs[0],
            target=problem.target,
            method=method,
            gradient="exact" if exact else source_of(problem),
            **options,
        )
        for net in (problem.net, double)
    )
    assert torch.equal(twice, 2 * once)


@given(
    st.sampled_from(DTYPES),
    st.sampled_from(STEPS),
    st.sampled_from(["forward", "backward", "central"]),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
)
def test_linear_models_have_no_error_but_rounding(dtype, step, scheme, rows, features, seed):
    generator = np.random.default_rng(seed)
    weights, inputs = (torch.from_numpy(generator.normal(size=size)).to(dtype) for size in (features, (rows, features)))
    eps = torch.finfo(dtype).eps
    # The sum of d products and an offset, at the inputs and a step away; and the rounding of x + h.
    terms = (features + 1) * eps * (((inputs.abs() + step) * weights.abs()).sum(dim=1, keepdim=True) + 1)
    tolerance = (2 * terms + eps * (inputs.abs() + 2 * step) * weights.abs()) / step + eps * weights.abs()
    for method, factor, allowed in (
        ("saliency", 1, tolerance),
        ("input_x_gradient", inputs, (tolerance + eps * weights.abs()) * inputs.abs()),
        ("integrated_gradients", inputs, (tolerance + (2 * eps + 50 * DOUBLE) * weights.abs()) * inputs.abs()),
    ):
        for gradient in ("exact", FiniteDifference(step, scheme)):
            options = {"n_steps": 3} if method in PATHS else {}
            found = attribute(lambda x: x @ weights + 1, inputs, method=method, gradient=gradient, **options)
            expected = weights * factor if method != "saliency" else weights.abs().expand(rows, features)
            assert_near(found, expected, allowed.double())


# Attributions


@st.composite
def baselines(draw, problem, seed):
    """A baseline in any allowed form, with few distinct values."""
    inputs = problem.inputs[0]
    form = draw(st.sampled_from(["none", "number", "input", "row", "broadcast"]))
    shape = {"input": inputs.shape[1:], "row": inputs.shape, "broadcast": (1,) * inputs[0].ndim}.get(form, ())
    values = np.random.default_rng(seed).choice([0.0, -1.0, 0.5], shape)
    return None if form == "none" else float(values) if form == "number" else torch.from_numpy(values).to(inputs)


@given(problems(single_input=True), st.sampled_from(WITHOUT_NOISE), st.integers(1, 4), st.integers(0, 99), st.data())
def test_attributions_over_differences_are_their_formulas(problem, method, n_steps, seed, data):
    inputs, eps = problem.inputs[0], torch.finfo(problem.dtype).eps
    baseline = data.draw(baselines(problem, seed)) if method in PATHS else None
    options = {"n_steps": n_steps} | ({} if baseline is None else {"baselines": baseline}) if method in PATHS else {}
    start = torch.as_tensor(0.0 if baseline is None else baseline).to(inputs).expand(inputs.shape)
    found = attribute(
        problem.model, inputs, target=problem.target, method=method, gradient=source_of(problem), **options
    ).flatten(1)
    span = (inputs.double() - start.double()).flatten(1)
    # A path point is off by the rounding of the difference, of its product and of the sum.
    off = 3 * float((2 * start.abs() + inputs.abs()).max() + problem.step)
    if method == "integrated_gradients":
        # Gauss-Legendre on [0, 1].
        value, tolerance = torch.zeros_like(span), torch.zeros_like(span)
        for node, weight in zip(*(np.polynomial.legendre.leggauss(n_steps) / np.array(2)), strict=True):
            point = (start.double() + (node + 0.5) * (inputs.double() - start.double())).to(inputs.dtype)
            own, bound = differences(problem, (point,), point_error=2 * off)
            value += weight * own
            tolerance += weight * (bound + (4 + n_steps) * DOUBLE * own.abs())
    elif method == "integrated_gradients_published":
        value, tolerance = differences(problem, point_error=off, start=start.flatten(1), n_steps=n_steps)
    else:
        value, tolerance = differences(problem)
    factor = torch.ones_like(span) if method in ("gradient", "saliency") else span
    expected = value.abs() if method == "saliency" else factor * value
    assert_near(found, expected, factor.abs() * (tolerance + 3 * eps * value.abs()) + torch.finfo(problem.dtype).tiny)


class Counted(torch.nn.Module):
    """Counts the rows that a model is given in the model itself, not through a hook of the package."""

    def __init__(self, net, outputs):
        super().__init__()
        self.inner, self.rows = called(net, "module", outputs), 0

    def forward(self, x):
        self.rows += len(x)
        return self.inner(x)


@given(
    problems(single_input=True), st.sampled_from(GRADIENT_METHODS), st.booleans(), st.integers(1, 4), st.integers(0, 99)
)
def test_a_model_is_evaluated_as_often_as_the_cost_says(problem, method, exact, n_steps, seed):
    inputs, options, values = problem.inputs[0], {}, 1
    if method in PATHS:
        baseline = torch.from_numpy(np.random.default_rng(seed).choice([0.0, -1, 0.5], inputs.shape[1:])).to(inputs)
        options, values = {"n_steps": n_steps, "baselines": baseline}, len(baseline.unique())
    model = Counted(problem.net, problem.outputs)
    gradient = ExactGradient() if exact else source_of(problem)
    attribute(lambda x: model(x), inputs, target=problem.target, method=method, gradient=gradient, **options)
    described = exact_source() if exact else Source(Difference(problem.scheme, (0.1,)), 0.1)
    own = METHODS[method](**({"n_steps": n_steps} if method in PATHS else {}))
    expected = own.evaluations(described, inputs[0].shape, values)
    assert model.rows == problem.rows * expected + gradient.check_evaluations

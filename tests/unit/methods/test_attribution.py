import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import nn

import approxgrad.gradients.evaluating.batching
from approxgrad import ExactGradient, FiniteDifference, attribute
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import Source
from approxgrad.methods.integrated_gradients import PATH_BUFFERS
from approxgrad.methods.method import METHODS
from problems import (
    CURVATURES,
    WEIGHTS,
    RecordingModel,
    linear,
    numpy_model,
    points,
    quadratic,
    quadratic_gradient,
    small_cnn,
    softplus_mlp,
)

# Nodes and weights of the path, and the sum over its 50 points at most.
PATH_ROUNDING = 100 * torch.finfo(torch.float64).eps
# captum's weights are float32: each is off by half an ulp at most, and they are positive with sum one.
CAPTUM_WEIGHTS = torch.finfo(torch.float32).eps
SOURCES = ["exact", FiniteDifference(0.5), FiniteDifference(0.5, "backward"), FiniteDifference(0.5, "central")]
CAPTUM = {"saliency": Saliency, "input_x_gradient": InputXGradient, "integrated_gradients": IntegratedGradients}
GRADIENT_METHODS = [name for name in METHODS if METHODS[name].takes_gradients]
BASELINE = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)


def scheme_of(gradient) -> str:
    return gradient if gradient == "exact" else gradient.scheme


# Closed forms


@pytest.mark.parametrize("gradient", SOURCES, ids=scheme_of)
def test_a_linear_model_is_explained_without_error(gradient):
    x = points(5, 3)
    weights = WEIGHTS.expand(5, 3)
    assert torch.equal(attribute(linear, x, method="gradient", gradient=gradient), weights)
    assert torch.equal(attribute(linear, x, method="saliency", gradient=gradient), weights.abs())
    assert torch.equal(attribute(linear, x, method="input_x_gradient", gradient=gradient), weights * x)
    result = attribute(linear, x, method="integrated_gradients", gradient=gradient, baselines=BASELINE)
    torch.testing.assert_close(result, WEIGHTS * (x - BASELINE), rtol=PATH_ROUNDING, atol=0)


@pytest.mark.parametrize("gradient", SOURCES, ids=scheme_of)
def test_a_quadratic_model_is_explained_with_the_error_of_the_scheme(gradient):
    x, error = (
        points(5, 3),
        {"exact": 0, "central": 0, "forward": 0.5, "backward": -0.5}[scheme_of(gradient)] * CURVATURES,
    )
    assert torch.equal(attribute(quadratic, x, gradient=gradient), (quadratic_gradient(x) + error).abs())
    result = attribute(quadratic, x, method="input_x_gradient", gradient=gradient)
    assert torch.equal(result, x * (quadratic_gradient(x) + error))
    result = attribute(quadratic, x, method="integrated_gradients", gradient=gradient, baselines=BASELINE, n_steps=2)
    # Mean gradient on the line: a (x + b) + w. Gauss-Legendre is exact for it; what remains is the
    # rounding, relative to gradients below 16.
    expected = (x - BASELINE) * (CURVATURES * (x + BASELINE) + WEIGHTS + error)
    torch.testing.assert_close(result, expected, rtol=0, atol=PATH_ROUNDING * float(((x - BASELINE) * 16).abs().max()))


@pytest.mark.parametrize("target", [0, [2, 0, 1, 1]])
def test_integrated_gradients_are_complete(target):
    model, x, baseline = softplus_mlp(), points(4, 4), points(4, 4, seed=1)
    result = attribute(model, x, target=target, method="integrated_gradients", baselines=baseline, n_steps=30)
    targets = [target] * 4 if isinstance(target, int) else target
    with torch.no_grad():
        difference = (model(x) - model(baseline))[range(4), targets]
    # The quadrature has converged in float64; what remains is rounding, relative to four terms of a gradient times
    # x - b, which is below 4. The derivative of softplus is below one.
    steepest = float((model[2].weight.detach().abs() @ model[0].weight.detach().abs()).max())
    bound = PATH_ROUNDING * 4 * 4 * steepest
    torch.testing.assert_close(result.sum(dim=1), difference, rtol=0, atol=bound)
    assert difference.abs().min() > 1e4 * bound


@pytest.mark.parametrize("method", ["integrated_gradients", "integrated_gradients_published"])
def test_baselines_in_every_form(method):
    x, constant = points(4, 3), torch.full((3,), 0.5, dtype=torch.float64)
    results = [
        attribute(quadratic, x, method=method, baselines=baseline, n_steps=3)
        for baseline in (0.5, torch.tensor(0.5), constant, constant.float(), constant[None], constant.expand(4, 3))
    ]
    assert all(torch.equal(result, results[0]) for result in results)
    assert not torch.equal(results[0], attribute(quadratic, x, method=method, n_steps=3))
    per_row = points(4, 3, seed=1)
    result = attribute(linear, x, method="integrated_gradients", baselines=per_row)
    torch.testing.assert_close(result, WEIGHTS * (x - per_row), rtol=PATH_ROUNDING, atol=0)


# The same as captum


@pytest.mark.parametrize("target", [1, [2, 0, 1, 1, 0]])
@pytest.mark.parametrize("method", CAPTUM)
def test_the_result_is_that_of_captum_used_directly(method, target):
    model, x, options = softplus_mlp(), points(5, 4), {}
    if method == "integrated_gradients":
        options = {"baselines": points(5, 4, seed=1), "n_steps": 7}
    for source in (FiniteDifference(1e-3), ExactGradient()):
        explainer = CAPTUM[method](model)
        explainer.gradient_func = source
        direct = explainer.attribute(x.clone().requires_grad_(), target=torch.tensor(target), **options).detach()
        found = attribute(model, x, target=target, method=method, gradient=source, **options)
        steepest = float((model[2].weight.detach().abs() @ model[0].weight.detach().abs()).max())
        # Attributions are gradients times x - b, which is below 4; an error of a path point is one of its difference.
        atol = CAPTUM_WEIGHTS * 4 * steepest if method == "integrated_gradients" else 0
        torch.testing.assert_close(found, direct, rtol=0, atol=atol)


@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.5)], ids=scheme_of)
@pytest.mark.parametrize("target", [1, [0, 1, 2, 1, 0], None])
@pytest.mark.parametrize(("points_at_once", "calls"), [(12, [12, 12, 6]), (4, [4, 2] * 5)], ids=["inputs", "path"])
def test_groups_of_inputs_and_parts_of_paths_change_rounding_only(monkeypatch, gradient, target, points_at_once, calls):
    model, x = softplus_mlp(outputs=1 if target is None else 3), points(5, 4)
    options = {"target": target, "method": "integrated_gradients", "gradient": gradient, "n_steps": 6}
    options["baselines"] = points(5, 4, seed=1)
    whole = attribute(model, x, **options)
    # An eighth of the budget holds the buffers of so many path points of four float64 numbers; a path has six.
    budget = 8 * points_at_once * PATH_BUFFERS * 4 * 8
    monkeypatch.setattr(approxgrad.gradients.evaluating.batching, "memory_budget", lambda _: budget)
    lengths = []
    kind = ExactGradient if gradient == "exact" else FiniteDifference
    original = kind.__call__
    monkeypatch.setattr(
        kind,
        "__call__",
        lambda self, *a, inputs, **k: lengths.append(len(inputs[0])) or original(self, *a, inputs=inputs, **k),
    )
    split = attribute(model, x, **options)
    assert lengths == calls
    # Layers are summed in another order for another batch: 64 roundings, of gradients or of outputs divided by h = 0.5,
    # whose terms are below ten times the largest attribution.
    torch.testing.assert_close(
        split, whole, rtol=0, atol=128 * torch.finfo(x.dtype).eps * 10 * float(whole.abs().max())
    )


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.5)], ids=scheme_of)
def test_outputs_with_several_axes(method, per_row, rows, gradient):
    def model(batch):  # output (i, k) is k times quadratic of the features, plus i times linear
        single = torch.stack([quadratic(batch) * k for k in range(3)], dim=1)
        return torch.stack([single, single + linear(batch)[:, None]], dim=1)

    x = points(rows, 3)
    result = attribute(model, x, target=[(1, 2)] * rows if per_row else (1, 2), method=method, gradient=gradient)
    expected = attribute(lambda batch: 2 * quadratic(batch) + linear(batch), x, method=method, gradient=gradient)
    # The same values by other operations: a few roundings of terms below 64.
    torch.testing.assert_close(result, expected, rtol=0, atol=64 * 8 * torch.finfo(x.dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_results_look_like_the_inputs(method, dtype):
    x = points(2, 2, 4, 4, dtype=dtype).to(memory_format=torch.channels_last)
    for gradient in ("exact", FiniteDifference(0.5)):
        result = attribute(small_cnn(dtype), x, target=[2, 0], method=method, gradient=gradient)
        assert (result.shape, result.dtype, result.requires_grad) == (x.shape, dtype, False)


@pytest.mark.parametrize("baselines", [0, torch.tensor([0.5, 0.5, -1.0])], ids=["constant", "two values"])
@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_the_cost_model_counts_the_evaluations(method, scheme, baselines):
    model, options = RecordingModel(quadratic), {}
    if method.startswith("integrated_gradients"):
        options = {"n_steps": 4, "baselines": baselines}
    source = FiniteDifference(0.5, scheme)
    attribute(model, points(3, 3), method=method, gradient=source, **options)
    values = len(set(torch.as_tensor(baselines).reshape(-1).tolist()))
    own = METHODS[method](**{name: value for name, value in options.items() if name == "n_steps"})
    expected = 3 * own.evaluations(Source(Difference(scheme, (0.5,)), 0.5), (3,), values)
    assert len(model.rows) == expected + source.check_evaluations
    assert source.check_evaluations <= 31


def test_a_plain_function_is_a_model():
    x = points(3, 2)
    result = attribute(numpy_model, x, target=0, method="input_x_gradient", gradient=FiniteDifference(0.5, "central"))
    assert torch.equal(result, 2 * x**2)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"method": "gradcam"},
            ValueError,
            "method: got 'gradcam', expected one of gradient, smoothgrad, saliency, input_x_gradient, ",
        ),
        ({"n_steps": 5}, TypeError, "n_steps: not an option of saliency, which takes signed"),
        (
            {"method": "integrated_gradients", "steps": 5},
            TypeError,
            "steps: not an option of integrated_gradients, which takes baselines, n_steps$",
        ),
        (
            {"method": "integrated_gradients", "baseline": 0},
            TypeError,
            "baseline: not an option of integrated_gradients",
        ),
        (
            {"method": "integrated_gradients_published", "reference": "x"},
            TypeError,
            "reference: not an option of integrated_gradients_published, which takes baselines, n_steps$",
        ),
        ({"method": "integrated_gradients", "n_steps": 0}, ValueError, "n_steps: expected a positive integer, got 0"),
        ({"method": "integrated_gradients", "n_steps": -1}, ValueError, "n_steps: expected a positive integer, got -1"),
        (
            {"method": "integrated_gradients", "n_steps": 5.0},
            TypeError,
            "n_steps: expected a positive integer, got 5.0",
        ),
        (
            {"method": "integrated_gradients", "n_steps": True},
            TypeError,
            "n_steps: expected a positive integer, got True",
        ),
        (
            {"method": "integrated_gradients", "baselines": torch.ones(2)},
            ValueError,
            r"baselines: shape \(2,\) does not",
        ),
        (
            {"method": "integrated_gradients", "baselines": float("nan")},
            ValueError,
            "baselines: expected finite values",
        ),
        ({"gradient": "central"}, TypeError, "gradient: expected 'exact' or a gradient source .* got 'central'"),
        ({"gradient": 0.1}, TypeError, "gradient: expected 'exact' or a gradient source"),
        ({"gradient": None}, TypeError, "gradient: expected 'exact' or a gradient source"),
        ({"target": 0}, ValueError, "target: has 1 index"),
        ({"target": [0, 1]}, ValueError, "target: expected one target or 4"),
        ({"target": 0.5}, TypeError, "target: expected integers"),
        ({"inputs": torch.ones(4, 3, dtype=torch.int32)}, TypeError, "inputs: expected floating-point numbers"),
        ({"inputs": torch.full((4, 3), torch.nan)}, ValueError, "inputs: row 0 holds NaN"),
        ({"inputs": [[1.0, 2.0]]}, TypeError, "inputs: expected a tensor, an array or a pandas DataFrame, got list"),
        ({"model": "resnet"}, TypeError, "model: expected a callable, got str"),
        ({"model": nn.Dropout(0.5)}, ValueError, "model: layer 'Dropout' .* is in training mode"),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, message):
    arguments = {"model": linear, "inputs": points(4, 3), **arguments}
    with pytest.raises(error, match=message):
        attribute(**arguments)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.5)], ids=scheme_of)
def test_the_caller_finds_everything_as_it_was_after_an_exception(method, gradient):
    class Failing(nn.Module):
        def forward(self, batch):
            raise RuntimeError("no answer")

    model, plain, leaf = Failing().train(), points(3, 3), points(3, 3).requires_grad_()
    leaf.grad = torch.ones_like(leaf)
    for x in (plain, leaf):
        with pytest.raises(ValueError, match="no answer"):
            attribute(model, x, method=method, gradient=gradient)
        assert torch.equal(x, points(3, 3))
    assert (plain.requires_grad, leaf.requires_grad, model.training) == (False, True, True)
    assert plain.grad is None
    assert torch.equal(leaf.grad, torch.ones_like(leaf))


def test_the_budget_of_the_gradient_source_bounds_the_path():
    lengths = []

    class Noted(FiniteDifference):
        def __call__(self, forward_fn, inputs, *arguments, **named):
            lengths.append(len(inputs[0]))
            return super().__call__(forward_fn, inputs, *arguments, **named)

    gradient = Noted(0.5, memory_budget=8 * 4 * PATH_BUFFERS * 4 * 8)
    attribute(softplus_mlp(), points(1, 4), target=0, method="integrated_gradients", gradient=gradient, n_steps=10)
    assert lengths == [4, 4, 2]


def test_a_budget_of_a_source_of_a_users_own_is_none_of_ours():
    lengths = []

    def gradient(forward_fn, inputs, target_ind=None, additional_forward_args=None):
        lengths.append(len(inputs[0]))
        return (torch.ones_like(inputs[0]),)

    gradient.memory_budget = 1
    attribute(softplus_mlp(), points(1, 4), target=0, method="integrated_gradients", gradient=gradient, n_steps=10)
    assert lengths == [10]


@pytest.mark.parametrize(
    ("model", "gradient"),
    [
        (lambda x: x.sqrt().sum(dim=1), "exact"),
        (lambda x: x.double().sum(dim=1) * 1e45, FiniteDifference(0.5)),
    ],
    ids=["infinite", "overflow"],
)
def test_a_gradient_that_is_no_number_is_refused(model, gradient):
    x = torch.tensor([[1.0, 2.0], [1.0, 0.0]]) if gradient == "exact" else torch.ones(2, 2)
    row = 1 if gradient == "exact" else 0
    with pytest.raises(ValueError, match=rf"gradient: NaN or beyond the range of torch.float32 for input {row}$"):
        attribute(model, x, gradient=gradient)

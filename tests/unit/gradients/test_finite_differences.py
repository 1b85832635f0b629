import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import FiniteDifference
from approxgrad.gradients.stencils import SCHEMES
from problems import (
    CURVATURES,
    WEIGHTS,
    RecordingModel,
    difference_rounding,
    exact_gradient,
    linear,
    magnitude,
    numpy_model,
    points,
    quadratic,
    quadratic_gradient,
    relu_kink,
    small_cnn,
    softplus_mlp,
    two_inputs,
)

FLOATS = [torch.float32, torch.float64]
# Truncation of the scheme for a quadratic function, in units of the step times the curvature.
QUADRATIC_ERROR = {"forward": 1, "backward": -1, "central": 0}


def difference(model, x, step=0.5, scheme="forward", *, batch_size=None, **arguments):
    return FiniteDifference(step, scheme, batch_size=batch_size)(model, x, **arguments)[0]


# Exactness and order


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("step", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_polynomials_are_differentiated_with_the_error_of_the_scheme(scheme, step, dtype):
    x = points(5, 3, dtype=dtype)  # no rounding: all numbers are short binary fractions
    assert torch.equal(difference(linear, x, step, scheme), WEIGHTS.to(dtype).expand(5, 3))
    expected = quadratic_gradient(x) + QUADRATIC_ERROR[scheme] * step * CURVATURES.to(dtype)
    assert torch.equal(difference(quadratic, x, step, scheme), expected)


@pytest.mark.parametrize("step", [0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_for_a_quadratic_is_the_step_for_any_step(scheme, step):
    x = points(5, 3)
    error = difference(quadratic, x, step, scheme) - quadratic_gradient(x)
    expected = QUADRATIC_ERROR[scheme] * step * CURVATURES.expand(5, 3)
    torch.testing.assert_close(error, expected, rtol=0, atol=difference_rounding(magnitude(quadratic, x), step))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_falls_with_the_order_of_the_scheme(scheme):
    model, x = softplus_mlp(), points(4, 4)
    exact = exact_gradient(model, x, [1] * 4)
    steps = [2.0**-k for k in range(4, 9)]  # rounding, 1e-12, is far below the smallest error, 1e-7
    errors = [float((difference(model, x, step, scheme, target_ind=1) - exact).abs().max()) for step in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(SCHEMES[scheme].order, abs=0.1)


def test_a_kink_is_averaged_over_the_step():
    x = torch.tensor([[-0.25, 1.0, -2.0]])
    assert difference(relu_kink, x, 0.5).tolist() == [[0.5, 1, 0]]
    assert difference(relu_kink, x, 0.5, "central").tolist() == [[0.25, 1, 0]]


# What is evaluated


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_exactly_the_points_of_the_stencil_are_evaluated_once(scheme, batch_size):
    x, step = points(2, 2, 3), 0.5
    model = RecordingModel(lambda batch: quadratic(batch.flatten(1)[:, :3]))
    source = FiniteDifference(step, scheme, batch_size=batch_size, check_rows=False)
    source(model, x)
    # Without a batch size, it follows from the memory of a few evaluations.
    assert source.check_evaluations == (0 if batch_size else 2 + 4)
    model.batches = model.batches[0 if batch_size else 3 :]
    expected = []
    for row in x.flatten(1).tolist():
        if scheme != "central":
            expected.append(tuple(row))
        for feature in range(6):
            shifts = {"forward": [step], "backward": [-step], "central": [-step, step]}[scheme]
            expected += [(*row[:feature], row[feature] + shift, *row[feature + 1 :]) for shift in shifts]
    assert model.rows == sorted(expected)
    assert {batch.shape[1:] for batch in model.batches} == {(2, 3)}
    sizes = [len(batch) for batch in model.batches]
    assert max(sizes) <= (batch_size or math.inf)
    assert max(sizes) - min(sizes) <= 1


def test_partial_derivatives_evaluate_the_chosen_features_only():
    model, x = RecordingModel(quadratic), points(4, 3)
    source = FiniteDifference(0.5, batch_size=100, check_rows=False)
    partial = source.partial_derivatives(model, (x,), torch.tensor([2, 0]))
    assert torch.equal(partial, source(quadratic, x)[0][:, [2, 0]])
    assert len(model.rows) == 4 * (2 + 1)


# Batches


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_batch_size_and_the_other_rows_change_rounding_only(scheme, dtype):
    model, x, step = small_cnn(dtype), points(3, 2, 4, 4, dtype=dtype), 0.01
    results = [difference(model, x, step, scheme, batch_size=size, target_ind=[2, 0, 1]) for size in (1, 7, 10**6)]
    results.append(
        torch.cat([difference(model, x[i : i + 1], step, scheme, target_ind=t) for i, t in enumerate((2, 0, 1))])
    )
    for result in results[1:]:
        rounding = difference_rounding(magnitude(model, x), step, dtype)
        torch.testing.assert_close(result, results[0], rtol=0, atol=rounding)


def test_repeated_calls_are_bit_identical():
    model, x = softplus_mlp(), points(6, 4)
    source = FiniteDifference(1e-6, batch_size=7)
    assert torch.equal(source(model, x, 0)[0], source(model, x.clone(), 0)[0])
    assert torch.equal(source(model, x, 0)[0], difference(model, x, 1e-6, batch_size=7, target_ind=0))


def test_the_used_batch_size_is_recorded():
    source = FiniteDifference(0.5, batch_size=7)
    assert source.used_batch_size is None
    source(linear, points(2, 3))
    assert source.used_batch_size == 7
    # Operations have 13/16 of the budget. There are 24 bytes of an input, as many of its product, and 8 of their sum;
    # the product may work with four times what it takes and makes.
    bounded = FiniteDifference(0.5, memory_budget=3 * (24 + 24 + 8 + 4 * 48) * 16 // 13 + 1)
    bounded(linear, points(2, 3))
    assert bounded.used_batch_size == 3


def test_differences_are_taken_in_the_precision_of_the_outputs():
    # 2^30 leaves float32 no digits for the differences.
    result = difference(lambda x: linear(x.double()) + 2**30, points(5, 3, dtype=torch.float32))
    assert torch.equal(result, WEIGHTS.float().expand(5, 3))


def test_the_model_is_evaluated_without_autograd():
    modes = set()

    def model(x):
        modes.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), x.requires_grad))
        return linear(x)

    with torch.inference_mode():
        difference(model, points(5, 3))
    difference(model, points(5, 3).requires_grad_())
    assert modes == {(False, False, False)}


# Arguments


@pytest.mark.parametrize("batch_size", [1, 5, None])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_tuple_of_inputs_gives_one_gradient_each(scheme, batch_size):
    x, y = points(3, 2), points(3, 2, 2, seed=1)
    gradients = FiniteDifference(0.5, scheme, batch_size=batch_size)(two_inputs, (x, y))
    total = y.sum(dim=(1, 2))[:, None]
    assert torch.equal(gradients[0], 2 * x + total + QUADRATIC_ERROR[scheme] * 0.5)
    assert torch.equal(gradients[1], x.sum(dim=1)[:, None, None].expand(3, 2, 2))


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_additional_arguments_are_taken_row_by_row(batch_size):
    def model(x, factor, scale, shift):
        return (x * factor).sum(dim=1) * scale + shift.sum()

    x, factor = points(4, 3), points(4, 3, seed=1)
    arguments = (factor, 2.0, torch.ones(5))  # a tensor of another length is the same for every batch
    result = difference(model, x, batch_size=batch_size, additional_forward_args=arguments)
    assert torch.equal(result, 2 * factor)


def test_a_single_additional_argument_needs_no_tuple():
    result = difference(
        lambda x, factor: (x * factor).sum(dim=1), points(4, 3), additional_forward_args=points(4, 3, seed=1)
    )
    assert torch.equal(result, points(4, 3, seed=1))


@pytest.mark.parametrize("target", [[2, 0, 1, 1], torch.tensor([2, 0, 1, 1])])
def test_each_row_has_its_target(target):
    x = points(4, 3)
    outputs = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.float64)
    result = difference(lambda batch: batch @ outputs.T, x, batch_size=3, target_ind=target)
    assert torch.equal(result, outputs[[2, 0, 1, 1]])


class Bound:
    def method(self, x):
        return numpy_model(x)


@pytest.mark.parametrize(
    "model", [numpy_model, Bound().method, functools.partial(numpy_model), lambda x: numpy_model(x).tolist()]
)
def test_any_callable_is_a_model(model):
    x = points(3, 2)
    assert torch.equal(difference(model, x, scheme="central", target_ind=[0, 1, 0])[[0, 2]], 2 * x[[0, 2]])
    assert torch.equal(difference(model, x, target_ind=1), torch.full_like(x, 3))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "layout",
    [
        torch.Tensor.contiguous,
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        lambda x: torch.cat([x, x])[::2],
        lambda x: x[:1].expand_as(x),
    ],
    ids=["contiguous", "channels-last", "transposed", "strided", "expanded"],
)
def test_dtype_shape_and_layout(layout, dtype):
    model, x = small_cnn(dtype), layout(points(3, 2, 4, 4, dtype=dtype))
    result = difference(model, x, target_ind=1)
    assert (result.shape, result.dtype, result.device) == (x.shape, x.dtype, x.device)
    assert torch.equal(result, difference(model, x.contiguous(), target_ind=1))


@pytest.mark.parametrize("fails", [False, True])
def test_the_caller_finds_everything_as_it_was(fails):
    model, x = small_cnn(), points(3, 2, 4, 4).requires_grad_()
    model[0].train()  # a convolution may be in training mode: it computes the same
    x.grad = torch.ones_like(x)
    values, modes = x.detach().clone(), [layer.training for layer in model.modules()]

    def failing(batch):
        batch.zero_()
        raise RuntimeError("no answer")

    if fails:
        with pytest.raises(ValueError, match="no answer"):
            FiniteDifference(0.5)(failing, x)
    else:
        FiniteDifference(0.5)(model, x, 0)
    assert torch.equal(x, values)
    assert x.requires_grad
    assert torch.equal(x.grad, torch.ones_like(x))
    assert [layer.training for layer in model.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": 0}, ValueError, "step: expected a positive finite number, got 0"),
        ({"step": -0.1}, ValueError, "step: expected a positive finite number, got -0.1"),
        ({"step": math.nan}, ValueError, "step: expected a positive finite number, got nan"),
        ({"step": math.inf}, ValueError, "step: expected a positive finite number, got inf"),
        ({"step": "0.1"}, TypeError, "step: expected a positive number, got '0.1'"),
        ({"step": True}, TypeError, "step: expected a positive number, got True"),
        ({"step": None}, TypeError, "step: expected a positive number, got None"),
        ({"step": 1, "scheme": "upwind"}, ValueError, "scheme: got 'upwind'"),
        ({"step": 1, "batch_size": 0}, ValueError, "batch_size: expected a positive integer, got 0"),
        ({"step": 1, "batch_size": 2.5}, ValueError, "batch_size: expected a positive integer, got 2.5"),
        ({"step": 1, "batch_size": True}, ValueError, "batch_size: expected a positive integer, got True"),
        ({"step": 1, "memory_budget": 0}, ValueError, "memory_budget: expected a positive number of bytes, got 0"),
    ],
)
def test_invalid_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        FiniteDifference(**arguments)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (torch.ones(2, 3, dtype=torch.int64), TypeError, "inputs: expected floating-point numbers, got torch.int64"),
        (np.ones((2, 3)), TypeError, "inputs: expected a tensor, got ndarray"),
        (torch.tensor(1.0), ValueError, r"inputs: expected shape \(N, ...\) with at least one element, got \(\)"),
        (torch.ones(0, 3), ValueError, r"inputs: expected shape .* got \(0, 3\)"),
        (torch.tensor([[0, 1], [0, math.nan]]), ValueError, "inputs: row 1 holds NaN or infinite values"),
        (torch.tensor([[0, 1], [0, 1], [-math.inf, 0]]), ValueError, "inputs: row 2 holds NaN or infinite values"),
        (
            (torch.ones(2, 3), torch.ones(3, 3)),
            ValueError,
            r"inputs: expected as many rows in each tensor, got \[2, 3\]",
        ),
    ],
)
def test_invalid_inputs_are_refused(inputs, error, message):
    with pytest.raises(error, match=message):
        FiniteDifference(0.5)(linear, inputs)


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("scheme", "position", "sign", "where"),
    [
        ("forward", 1.25, 1, "input 2 with feature 1 shifted by \\+0.5$"),
        ("backward", 1.25, -1, "input 2 with feature 1 shifted by -0.5$"),
        ("central", 1.25, 1, "input 2 with feature 1 shifted by \\+0.5$"),
        ("central", 1.25, -1, "input 2 with feature 1 shifted by -0.5$"),
        ("forward", 0.5, 1, "input 2$"),
    ],
)
def test_outputs_that_are_not_finite_are_traced(scheme, position, sign, where, value, batch_size):
    x = torch.zeros(4, 3, dtype=torch.float64)
    x[2, 1] = sign  # so that only the shift of this feature, or no shift, passes the position

    def model(batch):
        return torch.where(sign * batch[:, 1] > position, torch.full_like(batch[:, 1], value), linear(batch))

    with pytest.raises(ValueError, match=f"model: output is {value} for {where}"):
        difference(model, x, 0.5, scheme, batch_size=batch_size)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.AlphaDropout(0.5), nn.BatchNorm1d(3)])
def test_layers_that_are_random_or_mix_rows_are_refused_in_training_mode(layer):
    model, kind = nn.Sequential(nn.Identity(), layer), type(layer).__name__
    with pytest.raises(
        ValueError, match=rf"model: layer '1' \({kind}\) is in training mode; call model.eval\(\) first"
    ):
        FiniteDifference(0.5)(model.train(), points(2, 3, dtype=torch.float32), 0)
    assert model.training
    FiniteDifference(0.5)(model.eval(), points(2, 3, dtype=torch.float32), 0)


@pytest.mark.parametrize(
    ("model", "target", "message"),
    [
        (numpy_model, 2, r"target: \[2\] is out of range"),
        (numpy_model, [0, 1], "target: expected one target or 3"),
        (numpy_model, None, r"target: the model returned shape \(\d+, 2\)"),
        (lambda x: linear(x).sum(), 0, r"model: returned shape \(\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(model, target, message):
    with pytest.raises(ValueError, match=message):
        FiniteDifference(0.5)(model, points(3, 3), target)

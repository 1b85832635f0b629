import math

import pytest
import torch
from captum._utils.gradient import compute_gradients
from torch import nn

from approxgrad import ExactGradient
from approxgrad.methods.path_average import PathAverage
from problems import linear, numpy_model, points, quadratic, quadratic_gradient, small_cnn, softplus_mlp, two_inputs


def captum_gradient(model, x, target):
    return compute_gradients(model, x.clone().requires_grad_(), target)[0]


@pytest.mark.parametrize(
    ("model", "x", "target"),
    [
        (softplus_mlp(), points(5, 4), [2, 0, 1, 1, 0]),
        (softplus_mlp(), points(5, 4), 1),
        (softplus_mlp(outputs=1), points(5, 4), None),
        (small_cnn(), points(5, 2, 4, 4), torch.tensor([2, 0, 1, 1, 0])),
        (lambda x: (x**2)[:, :, None] * torch.arange(3), points(5, 2), [(0, 1), (1, 2), (0, 0), (1, 1), (0, 2)]),
    ],
)
def test_the_gradient_is_that_of_captum(model, x, target):
    exact = captum_gradient(model, x, target)
    assert torch.equal(ExactGradient(batch_size=5)(model, x, target)[0], exact)
    for batch_size in (1, 2, None):
        # Another batch size may sum the at most 64 terms of a layer in another order.
        rounding = 64 * torch.finfo(x.dtype).eps * float(exact.abs().max())
        result = ExactGradient(batch_size)(model, x, target)[0]
        torch.testing.assert_close(result, exact, rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_closed_form_in_any_layout(dtype):
    x = points(3, 4, dtype=dtype).T  # no rounding: all numbers are short binary fractions
    result = ExactGradient(batch_size=3)(quadratic, x)[0]
    assert result.dtype == dtype
    assert torch.equal(result, quadratic_gradient(x))


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_a_tuple_of_inputs_and_arguments_by_row(batch_size):
    x, y, factor = points(3, 2), points(3, 2, 2, seed=1), points(3, 1, seed=2)
    gradients = ExactGradient(batch_size)(lambda a, b, f: two_inputs(a, b) * f[:, 0], (x, y), None, factor)
    assert torch.equal(gradients[0], factor * (2 * x + y.sum(dim=(1, 2))[:, None]))
    assert torch.equal(gradients[1], (factor * x.sum(dim=1, keepdim=True))[:, :, None].expand(3, 2, 2))


def test_an_input_that_is_not_used_has_gradient_zero():
    x, y = points(3, 3), points(3, 2, seed=1)
    used, unused = ExactGradient()(lambda a, _: quadratic(a), (x, y))
    assert torch.equal(used, quadratic_gradient(x))
    assert torch.equal(unused, torch.zeros_like(y))


def test_a_model_outside_of_autograd_is_refused():
    with pytest.raises(ValueError, match="gradient: the outputs do not depend on the inputs through autograd"):
        ExactGradient()(numpy_model, points(3, 2), 0)


@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_an_output_that_is_not_finite_names_its_row(batch_size):
    x = points(4, 3)
    x[2, 0] = 10

    def model(batch):
        return torch.where(batch[:, 0] > 5, math.inf, linear(batch))

    with pytest.raises(ValueError, match=r"model: output is inf for input 2$"):
        ExactGradient(batch_size)(model, x)


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad])
@pytest.mark.parametrize("fails", [False, True])
def test_the_caller_finds_everything_as_it_was(fails, grad_mode):
    model, x = softplus_mlp(), points(3, 4).requires_grad_()
    x.grad = torch.ones_like(x)
    values = x.detach().clone()

    def failing(batch):
        batch.data.zero_()
        raise RuntimeError("no answer")

    with grad_mode():
        enabled = torch.is_grad_enabled()
        if fails:
            with pytest.raises(ValueError, match="no answer"):
                ExactGradient()(failing, x)
        else:
            assert not ExactGradient()(model, x, 0)[0].requires_grad
        assert torch.is_grad_enabled() == enabled
    assert torch.equal(x, values)
    assert x.requires_grad
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_dropout_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"model: layer '0' \(Dropout\) is in training mode"):
        ExactGradient()(nn.Sequential(nn.Dropout(0.5)), points(2, 3), 0)


@pytest.mark.usefixtures("no_gpu_cache")
def test_too_little_memory_halves_the_batches():
    def model(batch):
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return quadratic(batch)

    source = ExactGradient()
    assert torch.equal(source(model, points(5, 3))[0], quadratic_gradient(points(5, 3)))
    assert source.used_batch_size <= 2


def test_model_may_change_its_inputs_in_place():
    def model(x):
        return x.mul_(2).sum(dim=1)

    x = points(2, 3)
    assert torch.equal(ExactGradient()(model, x)[0], torch.full_like(x, 2))
    assert torch.equal(x, points(2, 3))


def test_inference_mode_of_the_caller_does_not_matter():
    with torch.inference_mode():
        gradient = ExactGradient()(quadratic, points(2, 3))[0]
    torch.testing.assert_close(gradient, quadratic_gradient(points(2, 3)))


def test_a_model_that_leaves_torch_has_no_exact_gradient():
    with pytest.raises(ValueError, match="use FiniteDifference"):
        ExactGradient()(lambda x: x.numpy().sum(axis=1), points(2, 3))


def test_path_averages_are_taken_in_smaller_batches():
    model = nn.Sequential(nn.Linear(300, 3000), nn.Linear(3000, 1))
    sources = ExactGradient(), ExactGradient()
    sources[0](model, points(2, 300).float())
    sources[1](PathAverage(model, 0.0, 50), points(2, 300).float())
    assert sources[1].used_batch_size < sources[0].used_batch_size // 10

"""Models of several inputs and with further arguments, signs on request, and what completeness misses."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from approxgrad import FiniteDifference, attribute
from problems import points

SOURCES = ["exact", FiniteDifference(1e-5, "central")]
ROWS = 4


class Two(nn.Module):
    """Of an image-like and a vector input, a scale for each row and a switch for all."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(6, 3).double(), nn.Linear(2, 3).double()

    def forward(self, left, right, scale=None, squared=False):
        outputs = torch.tanh(self.left(left.flatten(1))) * self.right(right)
        outputs = outputs if scale is None else outputs * scale[:, None]
        return outputs**2 if squared else outputs


def inputs(seed=0):
    return points(ROWS, 6, seed=seed).reshape(ROWS, 2, 3), points(ROWS, 2, seed=seed + 1)


SCALE = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
CAPTUM = {"saliency": Saliency, "integrated_gradients": IntegratedGradients}


@pytest.mark.parametrize("method", CAPTUM)
@pytest.mark.parametrize("gradient", SOURCES, ids=["exact", "central"])
@pytest.mark.parametrize("arguments", [None, SCALE, (SCALE, True)], ids=["none", "rows", "several"])
@pytest.mark.parametrize("target", [1, [0, 2, 1, 1]])
def test_several_inputs_and_arguments_are_those_of_captum(method, gradient, arguments, target):
    model = Two().eval()
    options = {} if method == "saliency" else {"n_steps": 4, "baselines": (0.5, inputs(3)[1])}
    found = attribute(
        model,
        inputs(),
        target=target,
        method=method,
        gradient=gradient,
        additional_forward_args=arguments,
        **options,
    )
    expected = CAPTUM[method](model).attribute(inputs(), target=target, additional_forward_args=arguments, **options)
    assert isinstance(found, tuple)
    for own, other in zip(found, expected, strict=True):
        # Central differences in float64: h^2 and eps / h are below 1e-9; captum's weights are float32.
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-8)


def test_one_input_with_arguments_stays_one():
    x = points(3, 2)
    found = attribute(lambda rows, power: (rows**power).sum(dim=1), x, additional_forward_args=3)
    torch.testing.assert_close(found, 3 * x**2)


def test_the_callers_tensors_and_model_stay_as_they_were():
    model, given = Two().eval(), inputs()
    copies = [point.clone() for point in given]
    attribute(model, given, target=0, gradient=FiniteDifference(0.1), additional_forward_args=(SCALE,))
    assert all(torch.equal(own, copy) and not own.requires_grad for own, copy in zip(given, copies, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("given", "error", "expected"),
    [
        ((points(4, 2), points(3, 2)), ValueError, r"inputs: expected as many rows in each tensor, got \[4, 3\]"),
        ((points(4, 2), points(4, 2).float()), TypeError, r"inputs: expected one type on one device"),
        ((points(4, 2), np.ones((4, 2))), TypeError, r"inputs: expected a tensor, got ndarray"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(given, error, expected):
    with pytest.raises(error, match=expected):
        attribute(lambda a, b: (a * b).sum(dim=1), given)


def test_a_layer_in_training_mode_is_seen_behind_several_inputs():
    model = Two()
    model.drop = nn.Dropout()
    with pytest.raises(ValueError, match=r"layer 'drop' \(Dropout\) is in training mode"):
        attribute(model.train(), inputs(), target=0)


def test_baselines_for_other_inputs_are_refused():
    with pytest.raises(ValueError, match=r"baselines: got 3, expected one for all inputs or 2"):
        attribute(Two(), inputs(), target=0, method="integrated_gradients", baselines=(0, 0, 0))


# Signs and residuals


@pytest.mark.parametrize("gradient", SOURCES, ids=["exact", "central"])
def test_saliency_can_keep_its_sign(gradient):
    x = points(5, 3)
    signed = attribute(lambda rows: (rows**3).sum(dim=1) - rows.sum(dim=1), x, signed=True, gradient=gradient)
    torch.testing.assert_close(signed, 3 * x**2 - 1, rtol=1e-6, atol=1e-8)
    assert (signed < 0).any()
    torch.testing.assert_close(
        signed.abs(), attribute(lambda rows: (rows**3 - rows).sum(dim=1), x), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("several", [False, True])
def test_the_residual_is_what_the_sum_misses(several):
    model = Two().eval()
    given = inputs() if several else inputs()[0].flatten(1)
    function = model if several else lambda rows: torch.tanh(model.left(rows))
    options = {"target": 1, "method": "integrated_gradients", "n_steps": 3, "return_residual": True}
    found, residual = attribute(function, given, **options)
    each = found if several else (found,)
    total = sum(part.flatten(1).sum(dim=1) for part in each)
    with torch.no_grad():
        zeros = tuple(map(torch.zeros_like, given)) if several else (torch.zeros_like(given),)
        change = function(*(given if several else (given,)))[:, 1] - function(*zeros)[:, 1]
    torch.testing.assert_close(residual, total - change, rtol=0, atol=1e-14)
    assert residual.abs().max() > 1e-9
    rough = residual.abs().max()
    _, finer = attribute(function, given, **options | {"n_steps": 30})
    # Gauss-Legendre converges; what is left is the error of captum's float32 weights.
    assert finer.abs().max() < rough / 10


def test_residuals_of_arrays_are_arrays():
    x = points(3, 2).numpy()
    found, residual = attribute(
        lambda rows: (rows**3).sum(axis=1),
        x,
        method="integrated_gradients",
        gradient=FiniteDifference(1e-4, "central"),
        return_residual=True,
    )
    assert isinstance(found, np.ndarray)
    assert isinstance(residual, np.ndarray)
    assert np.abs(residual).max() < 1e-5


def test_no_residual_without_completeness():
    with pytest.raises(TypeError, match=r"return_residual: the attributions of saliency need not sum"):
        attribute(lambda rows: rows.sum(dim=1), points(2, 2), return_residual=True)


def test_methods_of_images_keep_their_shape_with_arguments():
    image = points(2, 16).reshape(2, 1, 4, 4)
    scale = torch.tensor([2.0, 3.0], dtype=torch.float64)

    def model(images, factor):
        return images.flatten(1).sum(dim=1) * factor

    found = attribute(model, image, method="occlusion", window=2, stride=2, additional_forward_args=scale)
    # Each box of four pixels falls by their sum.
    boxes = image.unfold(2, 2, 2).unfold(3, 2, 2).sum(dim=(-1, -2)) * scale[:, None, None, None]
    torch.testing.assert_close(found, boxes.repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(TypeError, match=r"inputs: occlusion takes one tensor, got 2"):
        attribute(lambda a, b: (a + b).flatten(1).sum(dim=1), (image, image), method="occlusion", window=2)

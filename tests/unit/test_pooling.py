import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from approxgrad import FiniteDifference
from approxgrad.gradients.pooling import fast_pooling


def pooled(layer, images):
    with torch.no_grad():
        return fast_pooling(layer)(images)


@pytest.fixture
def own_kernel(monkeypatch):
    """Count the calls of torch's own pooling."""
    calls = []

    def counted(*arguments, **named):
        calls.append(arguments)
        return max_pool2d(*arguments, **named)

    monkeypatch.setattr(torch.nn.functional, "max_pool2d", counted)
    return calls


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [1, 2, 3, (2, 3), (1, 4)])
@pytest.mark.parametrize("sides", [(4, 4), (6, 9), (5, 7)])
def test_the_numbers_are_the_same(own_kernel, kernel, sides, layout):
    torch.manual_seed(0)
    images = torch.randn(2, 5, *sides).to(memory_format=layout)
    images[0, 0, 0, 0], images[1, 1, 1, 1] = torch.inf, torch.nan
    outputs = pooled(nn.MaxPool2d(kernel), images)
    assert not own_kernel
    torch.testing.assert_close(outputs, max_pool2d(images, kernel), rtol=0, atol=0, equal_nan=True)
    assert outputs.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
    ],
)
def test_other_windows_are_left_to_the_layer(own_kernel, layer):
    images = torch.randn(2, 3, 7, 7)
    outputs, expected = pooled(layer, images), layer(images)
    assert layer.return_indices or len(own_kernel) == 2
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 3, 1, 4), (0, 3, 4, 4)])
def test_other_images_are_left_to_the_layer(own_kernel, shape):
    layer, images = nn.MaxPool2d(2), torch.randn(*shape)
    outcomes = []
    for function in (fast_pooling(layer), layer):
        try:
            with torch.no_grad():
                outcomes.append(tuple(function(images).shape))
        except RuntimeError as error:
            outcomes.append(str(error))
    assert len(own_kernel) == 2
    assert outcomes[0] == outcomes[1]


def test_the_engine_pools_so(own_kernel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten()).double().eval()
    images = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    # So small a step that the maxima stay where they are: the gradient is 1 there, up to rounding over the step.
    step = 1e-3
    (gradient,) = FiniteDifference(step, batch_size=17)(model, images, 3)
    assert not own_kernel
    images.requires_grad_()
    model(images)[0, 3].backward()
    torch.testing.assert_close(gradient, images.grad, rtol=0, atol=4 * 2.3e-16 / step)


def test_autograd_gets_the_gradient_of_the_layer_where_two_pixels_are_equal():
    images = torch.zeros(1, 1, 2, 2, requires_grad=True)
    fast_pooling(nn.MaxPool2d(2))(images).sum().backward()
    assert images.grad.flatten().tolist() == [1, 0, 0, 0]

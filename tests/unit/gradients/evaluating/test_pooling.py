import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from approxgrad import FiniteDifference
from approxgrad.gradients.evaluating.pooling import fast_max_pool2d


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [1, 2, 3, (2, 3), (1, 4), (2,)])
@pytest.mark.parametrize("sides", [(4, 4), (6, 9), (5, 7)])
def test_the_numbers_are_the_same(kernel, sides, layout):
    torch.manual_seed(0)
    images = torch.randn(2, 5, *sides).to(memory_format=layout)
    images[0, 0, 0, 0], images[1, 1, 1, 1] = torch.inf, torch.nan
    for stride in (None, kernel):
        outputs = fast_max_pool2d(images, kernel, stride)
        torch.testing.assert_close(outputs, max_pool2d(images, kernel), rtol=0, atol=0, equal_nan=True)
        assert outputs.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    "options",
    [{"stride": 3}, {"padding": 1}, {"dilation": 2}, {"ceil_mode": True}, {"return_indices": True}],
)
def test_other_windows_are_left_to_torch(options):
    assert fast_max_pool2d(torch.randn(2, 3, 7, 7), 2, **options) is None


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 3, 1, 4), (0, 3, 4, 4)])
def test_other_images_are_left_to_torch(shape):
    assert fast_max_pool2d(torch.randn(*shape), 2) is None


@pytest.mark.parametrize("kernel", [2, (2,), [2, 2]])
def test_the_engine_pools_so(kernel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.MaxPool2d(kernel), nn.Flatten()).double().eval()
    images = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    # With so small a step the maxima stay in place: the gradient is 1 there, up to rounding over the step.
    step = 1e-3
    (gradient,) = FiniteDifference(step, batch_size=17)(model, images, 3)
    images.requires_grad_()
    model(images)[0, 3].backward()
    torch.testing.assert_close(gradient, images.grad, rtol=0, atol=4 * 2.3e-16 / step)

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_acceleration import images, small_network
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from approxgrad import CompiledModel
from approxgrad.gradients.evaluating import small_images
from approxgrad.gradients.evaluating.small_images import Geometry, Product
from compilers import needs_compiler

EPS = torch.finfo(torch.float64).eps


def geometry(kernel, stride=1, padding=0, dilation=1, groups=1):
    shape = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Geometry.of(torch.empty(4, 4, *shape), stride, padding, dilation, groups)


@pytest.mark.parametrize(
    ("arguments", "height", "width", "expected"),
    [
        ((3, 1, 1), 1, 1, True),
        ((3, 1, 1), 2, 2, True),
        ((3, (1,), (1,)), 1, 2, True),
        ((3, 2, 1), 2, 2, True),
        ((3,), 3, 3, True),
        ((1,), 1, 1, True),
        (((1, 3), 1, (0, 1)), 1, 2, True),
        ((3, 1, 1), 3, 3, False),  # the first output does not read the last pixel
        ((3, 1, 1), 4, 4, False),
        ((1, 2), 2, 2, False),
        ((5, 1, 2), 3, 3, False),  # 81 blocks from 25
        ((3,), 1, 1, False),  # no output at all
    ],
)
def test_which_convolutions_are_matrix_products(arguments, height, width, expected):
    assert geometry(*arguments).is_matrix_product(height, width) is expected


@pytest.mark.parametrize("arguments", [(3, 1, 1, 1, 2), (3, 1, "same")])
def test_groups_and_paddings_by_name_have_no_matrix(arguments):
    assert geometry(*arguments) is None


def axes():
    """Return kernel size, stride, padding, dilation and image size of one axis of every case of up to five."""
    found = []
    for kernel, stride, padding, dilation, size in product(
        range(1, 6), range(1, 4), range(5), range(1, 4), range(1, 4)
    ):
        own = Geometry((kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        if own.is_matrix_product(size, 1):
            found.append((kernel, stride, padding, dilation, size))
    return found


@given(st.sampled_from(axes()), st.sampled_from(axes()), st.booleans())
def test_the_matrix_computes_the_convolution(down, across, has_bias):
    kernel, stride, padding, dilation, size = zip(down, across, strict=True)
    weight, bias = images(2, 3, *kernel), images(2) if has_bias else None
    batch = images(4, 3, *size) * 2
    expected = conv2d(batch, weight, bias, stride, padding, dilation)
    # Two orders of a sum of that many products and the bias, each within its length times eps of the sum of sizes.
    terms = 3 * size[0] * size[1] + 1
    sizes = conv2d(batch.abs(), weight.abs(), bias.abs() if has_bias else None, stride, padding, dilation)
    outputs = Product(weight, Geometry(kernel, stride, padding, dilation), *size)(batch, bias)
    assert outputs.shape == expected.shape
    assert ((outputs - expected).abs() <= 2 * terms * EPS * sizes).all()


def test_it_holds_the_numbers_of_the_kernel_only():
    weight = images(2, 3, 3, 3)
    matrix = Product(weight, geometry(3, 1, 1), 2, 2).matrix
    assert set(matrix.flatten().tolist()) == set(weight.flatten().tolist())


@needs_compiler
def test_a_compiled_model_computes_small_images_by_matrices(monkeypatch):
    traced = []

    class Noted(Product):
        def __init__(self, *arguments):
            traced.append(torch.compiler.is_compiling())
            super().__init__(*arguments)

    monkeypatch.setattr(small_images, "Product", Noted)
    model, batch = small_network(), images(5, 2, 4, 4)
    compiled = CompiledModel(model)
    outputs = compiled(batch)
    assert traced == [False]  # made beforehand, as a constant for the compiler
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        compiled.__wrapped__(batch)
    assert counter.get_total_flops() == 5 * 2 * (18 * 16 + 16 * 12)
    torch.testing.assert_close(outputs, model(batch).detach(), rtol=0, atol=36 * EPS * float(batch.abs().sum()))
    with torch.inference_mode():
        assert torch.equal(compiled(batch), outputs)

import threading
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from approxgrad import CompiledModel, FiniteDifference
from approxgrad.gradients import small_images
from approxgrad.gradients.acceleration import accelerated
from approxgrad.gradients.batching import footprint
from approxgrad.gradients.small_images import as_matrix, fast_convolution, is_matrix_product

CPU = torch.device("cpu")
EPS = torch.finfo(torch.float64).eps


def convolution(*arguments, **named):
    torch.manual_seed(0)
    return nn.Conv2d(*arguments, **named).double().eval()


def images(count, *shape):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def small_network():
    """Return a network whose second convolution sees images of 2 x 2: a matrix of 12 x 16 numbers."""
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Conv2d(4, 3, 3, padding=1), nn.Flatten())
        .double()
        .eval()
    )


class Derived(nn.Conv2d):
    """A convolution that may compute something else."""


@pytest.mark.parametrize(
    ("layer", "height", "width", "expected"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), 1, 1, True),
        (nn.Conv2d(4, 4, 3, padding=1), 2, 2, True),
        (nn.Conv2d(4, 4, 3, padding=1), 1, 2, True),
        (nn.Conv2d(4, 4, 3, padding=1, stride=2), 2, 2, True),
        (nn.Conv2d(4, 4, 3), 3, 3, True),
        (nn.Conv2d(4, 4, 1), 1, 1, True),
        (nn.Conv2d(4, 4, (1, 3), padding=(0, 1)), 1, 2, True),
        (nn.Conv2d(4, 4, 3, padding=1), 3, 3, False),  # the first output does not read the last pixel
        (nn.Conv2d(4, 4, 3, padding=1), 4, 4, False),
        (nn.Conv2d(4, 4, 1, stride=2), 2, 2, False),
        (nn.Conv2d(4, 4, 5, padding=2), 3, 3, False),  # 81 blocks from 25
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), 1, 1, False),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), 1, 1, False),
        (nn.Conv2d(4, 4, 3, padding="same"), 1, 1, False),
        (nn.Conv2d(4, 4, 3), 1, 1, False),  # no output at all
        (Derived(4, 4, 3, padding=1), 1, 1, False),
    ],
)
def test_which_convolutions_are_matrix_products(layer, height, width, expected):
    assert is_matrix_product(layer, height, width) is expected


def axes():
    """Return kernel size, stride, padding, dilation and image size of one axis of every case of up to five."""
    found = []
    for kernel, stride, padding, dilation, size in product(
        range(1, 6), range(1, 4), range(5), range(1, 4), range(1, 4)
    ):
        layer = nn.Conv2d(1, 1, (kernel, 1), stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1))
        if is_matrix_product(layer, size, 1):
            found.append((kernel, stride, padding, dilation, size))
    return found


@given(st.sampled_from(axes()), st.sampled_from(axes()), st.booleans())
def test_the_matrix_computes_the_convolution(down, across, bias):
    kernel, stride, padding, dilation, size = zip(down, across, strict=True)
    layer = convolution(3, 2, kernel, stride=stride, padding=padding, dilation=dilation, bias=bias)
    batch = images(4, 3, *size)
    expected = conv2d(batch, layer.weight, layer.bias, stride, padding, dilation)
    # Two orders of a sum of that many products and the bias, each within its length times eps of the sum of sizes.
    terms = 3 * size[0] * size[1] + 1
    sizes = conv2d(batch.abs(), layer.weight.abs(), layer.bias.abs() if bias else None, stride, padding, dilation)
    with torch.no_grad():
        outputs = fast_convolution(layer)(batch)
    assert outputs.shape == expected.shape
    assert ((outputs - expected).abs() <= 2 * terms * EPS * sizes).all()


def test_it_holds_the_numbers_of_the_kernel_only():
    layer = convolution(3, 2, 3, padding=1)
    assert set(as_matrix(layer, 2, 2).flatten().tolist()) == set(layer.weight.flatten().tolist())


@pytest.mark.parametrize("batch", [images(1, 5, 5), images(1, 3, 1, 1), images(1, 2, 1, 1).float()])
def test_what_the_layer_refuses_is_refused_in_its_words(batch):
    layer = convolution(2, 2, 3, padding=1)
    said = []
    for function in (layer, fast_convolution(layer)):
        with pytest.raises(RuntimeError) as error, torch.no_grad():
            function(batch)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_an_image_without_a_batch_and_one_of_another_size_are_convolved():
    layer = convolution(2, 2, 3, padding=1)
    forward = fast_convolution(layer)
    for batch in (images(1, 2, 2, 2), images(2, 1, 1), images(3, 2, 7, 6), images(1, 2, 1, 1)):
        with torch.no_grad():
            torch.testing.assert_close(forward(input=batch), layer(batch), rtol=1e-12, atol=1e-12)


def test_the_engine_computes_small_images_with_fewer_operations_and_the_same_result():
    model, batch = small_network(), images(2, 2, 4, 4)
    with FlopCounterMode(display=False) as counter:
        (gradient,) = FiniteDifference(0.5, batch_size=11)(model, batch, 5)
    evaluations = 2 * (32 + 1)
    # Multiplications and additions: 2 x 9 taps for 4 x 4 outputs; then 16 pixels and channels for 12 outputs.
    assert counter.get_total_flops() == evaluations * 2 * (18 * 16 + 16 * 12)
    exact = torch.autograd.functional.jacobian(lambda x: model(x)[:, 5].sum(), batch)
    # The model is linear: rounding only, of sums of 18, then 16 products and of a difference over the step.
    torch.testing.assert_close(gradient, exact, rtol=0, atol=2 * 36 * EPS * float(batch.abs().sum()) / 0.5)


def test_gradients_that_another_thread_asks_for_meanwhile_reach_the_weights():
    model, batch = small_network(), images(1, 2, 4, 4)
    with accelerated(model, CPU):
        with torch.inference_mode():
            model(batch)  # makes the matrix
        thread = threading.Thread(target=lambda: model(batch).sum().backward())
        thread.start()
        thread.join()
    assert model[1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_layers_have_their_functions_back_afterwards(fails):
    model = small_network()
    try:
        with accelerated(model, CPU):
            assert "forward" in vars(model[1])
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert all("forward" not in vars(layer) for layer in model)


def test_a_function_that_a_layer_was_given_is_kept():
    model = small_network()
    model[1].forward = own = lambda batch: torch.zeros(len(batch), 3, 2, 2, dtype=batch.dtype)
    (gradient,) = FiniteDifference(0.5)(model, images(1, 2, 4, 4), 5)
    assert (gradient == 0).all()
    assert vars(model[1])["forward"] is own


def test_hooks_of_small_layers_are_called():
    model, seen = small_network(), []
    model[1].register_forward_hook(lambda layer, arguments, output: seen.append(tuple(output.shape[1:])))
    FiniteDifference(0.5)(model, images(1, 2, 4, 4), 5)
    assert set(seen) == {(3, 2, 2)}


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_that_the_user_compiled_is_not_compiled_at_every_call(whole):
    model, compilations = small_network(), []

    def backend(graph, _):
        compilations.append(graph)
        return graph.forward

    model.compile(backend=backend, dynamic=False) if whole else model[1].compile(backend=backend, dynamic=False)
    for _ in range(3):
        FiniteDifference(0.5, batch_size=11)(model, images(1, 2, 4, 4), 5)
    # With the weights in their new layout, and no more.
    assert len(compilations) == 1


def test_weights_of_small_images_are_counted_as_the_matrix():
    size = footprint(small_network(), (images(1, 2, 4, 4),))
    assert size.weight_uses == (2 * 4 * 9 * 4 + 12 * 16 * 1) / (2 * 4 * 9 + 12 * 16)
    # Both kernels in another order, and the matrix, in float64.
    assert size.weight_copies == 8 * (2 * 4 * 9 + 4 * 3 * 9 + 12 * 16)


def test_a_compiled_model_computes_small_images_by_matrices(monkeypatch):
    traced = []

    def noted(*arguments):
        traced.append(torch.compiler.is_compiling())
        return as_matrix(*arguments)

    monkeypatch.setattr(small_images, "as_matrix", noted)
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

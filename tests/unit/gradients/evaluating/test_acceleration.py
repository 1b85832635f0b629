import copy
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from approxgrad import FiniteDifference
from approxgrad.gradients.evaluating.acceleration import FastFunctions
from approxgrad.gradients.evaluating.counting import CountedModel
from problems import small_cnn

EPS = torch.finfo(torch.float64).eps


class SeenLayout(nn.Module):
    """A convolution that records the layout of its weights and output in every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.seen = []

    def forward(self, images):
        maps = self.convolution(images)
        self.seen.append((channels_last(self.convolution.weight), channels_last(maps)))
        return maps.mean(dim=(2, 3))


class Bar:
    def update(self, count):
        """Show nothing."""


def channels_last(tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def images(count, *shape):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def small_network():
    """Return a network whose second convolution sees images of 2 x 2: a matrix of 12 x 16 numbers."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Conv2d(4, 3, 3, padding=1)
    return nn.Sequential(first, second, nn.Flatten()).double().eval()


def fast(model, *inputs):
    """Return the outputs of a model while its functions are computed faster, and whether some were."""
    mode = FastFunctions()
    with torch.no_grad(), mode:
        outputs = model(*inputs)
    return outputs, mode.used


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: CountedModel(model, Bar())])
def test_maps_follow_a_copy_of_the_weights_in_channels_last_order(wrap):
    model = SeenLayout().eval()
    FiniteDifference(0.5)(wrap(model), torch.ones(2, 3, 6, 6), 0)
    assert model.seen[-1] == (False, True)
    assert {weights for weights, _ in model.seen} == {False}


def test_the_engine_computes_small_images_with_fewer_operations_and_the_same_result():
    model, batch = small_network(), images(2, 2, 4, 4)
    source = FiniteDifference(0.5, batch_size=11)
    source(model, batch, 5)
    ready = source.prepare(model, (batch,), (), torch.full((2, 1), 5))
    with FlopCounterMode(display=False) as counter:
        (gradient,) = source(ready, batch, 5)
    evaluations = 2 * (32 + 1) + 1
    # Multiplications and additions: 2 x 9 taps for 4 x 4 outputs; then 16 pixels and channels for 12 outputs.
    assert counter.get_total_flops() == evaluations * 2 * (18 * 16 + 16 * 12)
    exact = torch.autograd.functional.jacobian(lambda x: model(x)[:, 5].sum(), batch)
    # The model is linear: rounding only, of sums of 18, then 16 products and of a difference over the step.
    torch.testing.assert_close(gradient, exact, rtol=0, atol=2 * 36 * EPS * float(batch.abs().sum()) / 0.5)


def test_one_weight_serves_convolutions_of_different_kinds_and_sizes():
    weight = nn.Parameter(images(3, 2, 3, 3))
    calls = [({"padding": 1}, 2), ({"padding": 2, "dilation": 2}, 2), ({"stride": 2, "padding": 1}, 2), ({}, 5)]
    mode = FastFunctions()
    for options, side in calls * 2:
        batch = images(4, 2, side, side)
        with torch.no_grad(), mode:
            outputs = functional.conv2d(batch, weight, **options)
        torch.testing.assert_close(outputs, torch.conv2d(batch, weight, **options).detach(), rtol=1e-12, atol=1e-12)


def test_a_bias_made_for_each_call_is_used():
    weight, batch = nn.Parameter(images(3, 2, 3, 3)), images(4, 2, 2, 2)
    mode = FastFunctions()
    with torch.no_grad(), mode:
        outputs = [functional.conv2d(batch, weight, weight.new_full((3,), value), padding=1) for value in (1.0, 2.0)]
    torch.testing.assert_close(outputs[1], outputs[0] + 1)


@pytest.mark.parametrize("change", [lambda w: w.mul_(2), lambda w: setattr(w, "data", w.data * 2)])
def test_weights_that_torch_knows_to_have_changed_are_copied_again(change):
    layer, batch, mode = nn.Conv2d(2, 3, 3, padding=1, bias=False).double(), images(4, 2, 2, 2), FastFunctions()
    with torch.no_grad():
        with mode:
            before = layer(batch)
        change(layer.weight)
        with mode:
            after = layer(batch)
    torch.testing.assert_close(after, 2 * before)


def test_numbers_at_the_address_of_freed_ones_are_seen():
    layer, batch = nn.Conv2d(2, 3, 3, padding=1, bias=False).double(), images(4, 2, 2, 2)
    with torch.no_grad():
        mode, found, expected = FastFunctions(), [], []
        for seed in range(20):
            # The numbers of the last evaluation are freed, and those after the next often get their address.
            for _ in range(2):
                layer.weight.data = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(seed)).double()
            expected.append(layer(batch))
            with mode:
                found.append(layer(batch))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-12, atol=1e-12)


def test_weights_given_for_each_call_are_used():
    base, batch = small_network(), images(2, 2, 4, 4)
    members = [{name: (1 + k) * weight for name, weight in base.state_dict().items()} for k in range(3)]
    parameters = [{name: nn.Parameter(weight) for name, weight in member.items()} for member in members]
    for kind in (members, parameters):

        def ensemble(x, kind=kind):
            return sum(functional_call(base, member, (x,)) for member in kind)

        outputs, _ = fast(ensemble, batch)
        torch.testing.assert_close(outputs, ensemble(batch).detach())


class Subclass(torch.Tensor):
    """A tensor subclass."""


@pytest.mark.parametrize(
    ("layer", "batch"),
    [
        (nn.Conv2d(2, 3, 3, padding=1).double(), images(2, 4, 4)),  # without a batch axis
        (nn.Conv2d(2, 3, 3, padding=1).double().to("meta"), images(1, 2, 4, 4).to("meta")),
        (nn.Conv2d(2, 3, 3, padding=1).double(), images(1, 2, 4, 4).as_subclass(Subclass)),
        (nn.Conv1d(2, 3, 3).double(), images(1, 2, 4)),
        (nn.MaxPool2d(3, stride=2), images(1, 2, 7, 7)),
        (lambda x: functional.conv2d(x, torch.ones(1, 2, 1, 1, dtype=x.dtype)), images(1, 2, 4, 4)),
    ],
    ids=["unbatched", "meta", "subclass", "one axis", "overlapping", "no parameter"],
)
def test_other_calls_are_left_to_torch(layer, batch):
    assert not fast(layer, batch)[1]


def test_transforms_of_functions_are_left_to_torch():
    layer, batch = nn.Conv2d(2, 3, 3, padding=1).double(), images(5, 1, 2, 2, 2)
    outputs, used = fast(lambda x: vmap(layer)(x), batch)
    assert not used
    torch.testing.assert_close(outputs, torch.stack([layer(one) for one in batch]).detach())


def test_what_autograd_records_is_left_to_torch():
    layer, batch = nn.MaxPool2d(2), torch.zeros(1, 1, 2, 2, requires_grad=True)
    mode = FastFunctions()
    with mode:
        layer(batch).sum().backward()
    # Torch's own layer gives the gradient of equal pixels to the first.
    assert batch.grad.flatten().tolist() == [1, 0, 0, 0]
    assert not mode.used


@pytest.mark.parametrize("batch", [images(1, 5, 5), images(1, 3, 1, 1), images(1, 2, 1, 1).float()])
def test_what_a_layer_refuses_is_refused_in_its_words(batch):
    layer = nn.Conv2d(2, 2, 3, padding=1).double()
    said = []
    for function in (layer, lambda x: fast(layer, x)):
        with pytest.raises(RuntimeError) as error, torch.no_grad():
            function(batch)
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("shape", [lambda x: (len(x), -1), lambda x: ((x.size(0), -1),)])
def test_maps_are_seen_in_another_shape(shape):
    class Flattened(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x):
            return self.convolution(x).view(*shape(x)).flatten(1).double()

    torch.manual_seed(0)
    model, batch = Flattened().double().eval(), images(2, 2, 5, 5)
    outputs, used = fast(model, batch)
    assert used
    torch.testing.assert_close(outputs, model(batch).detach(), rtol=0, atol=1e-12)


def test_a_view_in_another_dtype_is_left_to_torch():
    maps = images(2, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    assert FastFunctions()._view(maps, torch.int64) is None
    assert FastFunctions()._view(maps, 2, -1) is not None


def test_other_threads_compute_as_ever():
    model, batch, seen = small_network(), images(1, 2, 4, 4), []
    expected = model(batch)
    with FastFunctions():
        thread = threading.Thread(target=lambda: seen.append(model(batch)))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], expected)
    assert seen[0].requires_grad


def test_a_model_that_computes_something_else_then_is_evaluated_as_it_is():
    """Torch does not notice changes through `data`, so copies of weights become stale."""

    class Exchanged(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x):
            own, total = self.layer.weight.data.clone(), 0
            for factor in (1, 2, 3):
                self.layer.weight.data.copy_(factor * own)
                total = total + self.layer(x).flatten(1)
            self.layer.weight.data.copy_(own)
            return total

    model, batch = Exchanged().double().eval(), images(1, 2, 2, 2)
    plain = copy.deepcopy(model)
    stale, used = fast(model, batch)
    assert used
    assert not torch.allclose(stale, plain(batch))
    (gradient,) = FiniteDifference(0.5)(model, batch, 1)
    (expected,) = FiniteDifference(0.5)(lambda x: plain(x), batch, 1)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_hooks_and_functions_of_layers_are_those_of_the_user():
    model, seen = small_network(), []
    model[1].register_forward_hook(lambda layer, arguments, output: seen.append(tuple(output.shape[1:])))
    FiniteDifference(0.5)(model, images(1, 2, 4, 4), 5)
    assert set(seen) == {(3, 2, 2)}
    model[1].forward = own = lambda batch: torch.zeros(len(batch), 3, 2, 2, dtype=batch.dtype)
    (gradient,) = FiniteDifference(0.5)(model, images(1, 2, 4, 4), 5)
    assert (gradient == 0).all()
    assert vars(model[1])["forward"] is own


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("whole", [True, False])
def test_a_model_that_the_user_compiled_is_not_compiled_for_the_faster_functions(whole):
    model, compilations = small_network(), []

    def backend(graph, _):
        compilations.append(graph)
        return graph.forward

    model.compile(backend=backend, dynamic=False) if whole else model[1].compile(backend=backend, dynamic=False)
    for _ in range(3):
        FiniteDifference(0.5, batch_size=11)(model, images(1, 2, 4, 4), 5)
    # One row, two rows, a batch of the engine.
    assert len(compilations) == 3


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_a_traced_model_is_evaluated_as_it_is():
    model, batch = small_cnn(), torch.ones(1, 2, 4, 4, dtype=torch.float64)
    (expected,) = FiniteDifference(0.5)(model, batch, 0)
    (gradient,) = FiniteDifference(0.5)(torch.jit.trace(model, batch), batch, 0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)


KEEPING = "from approxgrad.gradients.evaluating.acceleration import keep_freed_memory; print(keep_freed_memory())"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is glibc on Linux only")
@pytest.mark.parametrize(("variables", "kept"), [({}, "True"), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "False")])
def test_the_users_own_setting_of_the_allocator_wins(variables, kept):
    done = subprocess.run(
        [sys.executable, "-c", KEEPING], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept

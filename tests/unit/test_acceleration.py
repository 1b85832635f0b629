import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from approxgrad import FiniteDifference
from approxgrad.gradients.acceleration import accelerated
from approxgrad.progress import CountedModel
from problems import small_cnn

CPU = torch.device("cpu")


class SeenLayout(nn.Module):
    """A convolution that notes the layout of its weights and of its output whenever it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.seen = set()

    def forward(self, images):
        maps = self.convolution(images)
        self.seen.add((channels_last(self.convolution.weight), channels_last(maps)))
        return maps.mean(dim=(2, 3))


class Bar:
    def update(self, count):
        """Show nothing."""


def channels_last(tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: CountedModel(model, Bar())])
def test_convolutions_are_evaluated_in_channels_last_order(wrap):
    model = SeenLayout().eval()
    FiniteDifference(0.5)(wrap(model), torch.ones(2, 3, 6, 6), 0)
    assert model.seen == {(True, True)}


def test_the_model_is_as_it_was_afterwards():
    model = small_cnn()
    weight = model[0].weight
    pointer, strides, values = weight.data_ptr(), weight.stride(), weight.detach().clone()
    with accelerated(model, CPU):
        assert model[0].weight is weight
        assert channels_last(weight)
        assert torch.equal(weight, values)
    assert model[0].weight is weight
    assert (weight.data_ptr(), weight.stride(), weight.grad) == (pointer, strides, None)


def test_the_model_is_as_it_was_after_an_error():
    model = small_cnn()
    pointer = model[0].weight.data_ptr()
    with pytest.raises(ValueError, match="channels"):
        FiniteDifference(0.5)(lambda_of(model), torch.ones(1, 2, 4, 4, dtype=torch.float64))
    assert model[0].weight.data_ptr() == pointer


def lambda_of(model):
    """Wrap a model so that it fails while the layout is changed."""

    def failing(images):
        assert channels_last(model[0].weight)
        raise ValueError("channels")

    failing.__wrapped__ = model
    return failing


def test_a_weight_that_two_layers_share_is_restored():
    first, second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
    second.weight = first.weight
    pointer = first.weight.data_ptr()
    with accelerated(nn.Sequential(first, second), CPU):
        assert channels_last(first.weight)
    assert first.weight.data_ptr() == pointer


@pytest.mark.parametrize("model", [len, nn.Linear(2, 2), nn.Conv1d(2, 2, 3)])
def test_models_without_such_convolutions_are_left_alone(model):
    with accelerated(model, CPU):
        pass


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_a_traced_model_is_evaluated_as_it_is():
    model, images = small_cnn(), torch.ones(1, 2, 4, 4, dtype=torch.float64)
    (expected,) = FiniteDifference(0.5)(model, images, 0)
    (gradient,) = FiniteDifference(0.5)(torch.jit.trace(model, images), images, 0)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)


def test_nothing_changes_on_a_gpu():
    model = small_cnn()
    with accelerated(model, torch.device("cuda")):
        assert not channels_last(model[0].weight)


def test_other_threads_see_the_same_values():
    model, images = small_cnn(), torch.ones(1, 2, 4, 4, dtype=torch.float64)
    expected, seen = model(images), []
    with accelerated(model, CPU):
        thread = threading.Thread(target=lambda: seen.append(model(images)))
        thread.start()
        thread.join()
    torch.testing.assert_close(seen[0], expected, rtol=1e-12, atol=0)


KEEPING = "from approxgrad.gradients.acceleration import keep_freed_memory; print(keep_freed_memory())"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is glibc on Linux only")
@pytest.mark.parametrize(("variables", "kept"), [({}, "True"), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, "False")])
def test_the_users_own_setting_of_the_allocator_wins(variables, kept):
    done = subprocess.run(
        [sys.executable, "-c", KEEPING], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == kept

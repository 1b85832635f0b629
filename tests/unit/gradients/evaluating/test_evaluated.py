"""What a gradient source of one's own gets from the base class: batches, checks and counts."""

import doctest

import pytest
import torch
from captum.attr import IntegratedGradients

from approxgrad import ExactGradient, FiniteDifference
from approxgrad.gradients.evaluating import evaluated
from approxgrad.gradients.evaluating.evaluated import BatchedGradient
from approxgrad.steps import choice
from problems import points, quadratic, small_cnn, softplus_mlp, two_inputs

STEP = 2.0**-4


class OneByOne(BatchedGradient):
    """Forward differences of all inputs, one feature after the other: exact copies of what FiniteDifference does."""

    def __call__(self, forward_fn, inputs, target_ind=None, additional_forward_args=None):
        stream = self.stream(forward_fn, inputs, target_ind, additional_forward_args)
        axes = torch.eye(sum(tensor[0].numel() for tensor in stream.inputs)).to(stream.inputs[0])
        parts = axes.split([tensor[0].numel() for tensor in stream.inputs], dim=1)

        def moved(row, copy):
            pairs = zip(stream.inputs, parts, strict=True)
            return [tensor[row] + STEP * part[copy].reshape(-1, *tensor.shape[1:]) for tensor, part in pairs]

        base = stream.outputs(lambda row, _: [tensor[row] for tensor in stream.inputs], copies=1)
        slopes = (stream.outputs(moved, copies=len(axes)) - base) / STEP
        own = slopes.split([part.shape[1] for part in parts], dim=1)
        return tuple(found.to(tensor).reshape(tensor.shape) for found, tensor in zip(own, stream.inputs, strict=True))


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_a_source_of_ones_own_evaluates_what_finite_differences_do(batch_size):
    x, y, factor = points(5, 2), points(5, 2, 2, seed=1), points(5, 1, seed=2)
    arguments = (lambda a, b, f: two_inputs(a, b) * f[:, 0], (x, y), None, factor)
    own = OneByOne(batch_size)(*arguments)
    for found, expected in zip(own, FiniteDifference(STEP, batch_size=batch_size)(*arguments), strict=True):
        assert torch.equal(found, expected)


def test_targets_of_each_input_are_explained():
    x, target = points(5, 4), [2, 0, 1, 1, 0]
    expected = FiniteDifference(STEP)(softplus_mlp(), x, target)[0]
    # Batches of other sizes add the at most 16 terms of a layer in another order.
    torch.testing.assert_close(OneByOne()(softplus_mlp(), x, target)[0], expected, rtol=0, atol=1e-12)


def test_it_serves_captum():
    method = IntegratedGradients(quadratic)
    found = []
    for method.gradient_func in (OneByOne(), FiniteDifference(STEP)):
        found.append(method.attribute(points(4, 3), n_steps=8))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("batch_size", [1, 6, None])
def test_outputs_come_in_batches_of_the_prepared_size_and_are_counted(batch_size):
    sizes = []

    def model(x):
        sizes.append(len(x))
        return quadratic(x)

    source = OneByOne(batch_size)
    stream = source.stream(model, points(5, 3))
    assert not sizes  # nothing is evaluated before it is needed
    found = stream.outputs(lambda row, copy: [stream.inputs[0][row] * copy[:, None]], copies=4)
    expected = torch.stack([quadratic(points(5, 3) * copy) for copy in range(4)], dim=1)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
    assert sum(sizes) == 20 + source.check_evaluations
    assert source.used_batch_size == stream.size >= max(sizes[-3:])
    assert source.lost_steps == 0


def test_a_prepared_model_is_not_checked_again():
    source, x = OneByOne(), points(5, 3)
    ready = source.prepare(quadratic, (x,))
    assert source.check_evaluations == ready.evaluations > 0
    ready.seen_rows = 100
    source(ready, x)
    assert source.check_evaluations == ready.evaluations
    singly = OneByOne(batch_size=1)
    alone = singly.prepare(quadratic, (x,))
    singly(alone, x)
    assert singly.check_evaluations == alone.evaluations  # batches of one row need no comparison
    trusting = OneByOne(check_rows=False)
    trusting.prepare(quadratic, (x,), check_rows=True)
    assert trusting.check_evaluations < source.check_evaluations


def test_an_output_that_is_not_finite_names_its_copy():
    stream = OneByOne().stream(lambda x: torch.where(x[:, 0] == 6, torch.nan, x[:, 0]), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"^model: output is nan for copy 2 of input 1$"):
        stream.outputs(lambda row, copy: [torch.ones(len(row), 3) * ((copy + 1) * (row + 1))[:, None]], copies=3)


def test_rows_that_depend_on_each_other_only_at_work_are_refused():
    def model(x):
        return quadratic(x) + (x.mean() if len(x) > 10 else 0)

    with pytest.raises(ValueError, match="a row alone and the same row in a batch of the engine"):
        OneByOne(batch_size=15)(model, points(5, 3))
    assert OneByOne(batch_size=15, check_rows=False)(model, points(5, 3))[0].shape == (5, 3)


@pytest.mark.usefixtures("no_gpu_cache")
def test_too_little_memory_halves_the_batches():
    def model(x):
        if len(x) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return quadratic(x)

    source = OneByOne()
    assert torch.equal(source(model, points(5, 3))[0], FiniteDifference(STEP)(quadratic, points(5, 3))[0])
    assert source.used_batch_size <= 4


def test_only_sources_without_graphs_refuse_gradients_that_captum_changes():
    def hook(*_):
        pass

    hook.__module__ = "captum.attr._core.guided_backprop_deconvnet"
    model = softplus_mlp()
    model[0].register_forward_hook(hook)
    with pytest.raises(ValueError, match=r"^gradient: a method of captum"):
        OneByOne()(model, points(2, 4), 0)
    assert ExactGradient()(model, points(2, 4), 0)[0].shape == (2, 4)


def test_the_model_runs_as_it_is_where_a_graph_is_recorded():
    images = points(3, 2, 4, 4)
    assert FiniteDifference(STEP).prepare(small_cnn(), (images,), (), torch.zeros(3, 1, dtype=torch.int64))._fast
    assert not ExactGradient().prepare(small_cnn(), (images,), (), torch.zeros(3, 1, dtype=torch.int64))._fast


@pytest.mark.parametrize("source", [OneByOne, ExactGradient])
def test_a_memory_budget_bounds_the_batches(source):
    model, x = torch.nn.Linear(200, 1, dtype=torch.float64), points(300, 200)
    small, large = source(memory_budget=2**20), source()
    for one in (small, large):
        one(model, x)
    assert small.used_batch_size < large.used_batch_size
    with pytest.raises(ValueError, match="memory_budget: expected a positive number of bytes, got 0"):
        source(memory_budget=0)


@pytest.mark.parametrize("module", [evaluated, choice])
def test_examples_say_what_comes_out(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0

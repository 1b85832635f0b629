import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.gradients.evaluating.checks import check_resolved
from approxgrad.messages import one_line
from approxgrad.running.job import is_expected


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (ValueError("a\n  b\tc"), "a b c"),
        (MemoryError(), "MemoryError"),
        ("bell \x07 and \u202eback", "bell \\x07 and \\u202eback"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_messages_are_one_printable_line(value, line):
    assert one_line(value) == line


def test_what_torch_says_of_memory_is_expected_and_its_other_errors_are_not():
    for words in ("DefaultCPUAllocator: can't allocate memory: you tried", "CUDA out of memory. Tried"):
        assert is_expected(RuntimeError(words))
    assert not is_expected(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def doubled_in_place(x):
    return x.mul_(2).sum(dim=1)


@pytest.mark.parametrize("gradient", ["exact", FiniteDifference(0.5), FiniteDifference(0.5, "central")])
@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_a_model_that_changes_its_inputs_changes_neither_results_nor_the_callers_tensor(method, gradient):
    inputs = torch.tensor([[1.0, -2.0, 0.5], [0.25, 4.0, 1.0]])
    before = inputs.clone()
    own = attribute(doubled_in_place, inputs, method=method, gradient=gradient)
    kind = attribute(lambda x: (2 * x).sum(dim=1), inputs, method=method, gradient=gradient)
    assert torch.equal(inputs, before)
    assert torch.equal(own, kind)


def test_steps_are_refused_only_where_every_feature_loses_them():
    # Half a unit in the last place of 1 is rounded to even, and so lost; anything above it is not.
    half = torch.finfo(torch.float32).eps / 2
    ones = torch.ones(2, 3)

    def check(inputs, step, shifts):
        steps = torch.full((sum(point[0].numel() for point in inputs),), step, dtype=torch.float64)
        check_resolved(inputs, steps, shifts)

    with pytest.raises(ValueError, match=r"^step: .* is lost in float32, .* expected at least 1e-07$"):
        check((ones,), half, (0, 1))
    check((ones,), 1.01 * half, (0, 1))
    check((ones, torch.tensor([[1.0], [0.5]])), half, (0, 1))
    check((ones.double(),), half, (0, 1))
    check((ones,), half, (-1, 1))  # the spacing below 1 is half of that above
    with pytest.raises(ValueError, match="is lost in float32"):
        attribute(lambda x: x.sum(dim=1), ones, gradient=FiniteDifference(1e-9))

"""Derivatives in groups of rows, and in smaller batches where memory runs out, are the same."""

import math

import pytest
import torch

from approxgrad import FiniteDifference
from problems import points, quadratic, two_inputs


class SmallMemory:
    """A model that runs out of memory for batches above `largest` rows."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.tried: list[int] = []

    def __call__(self, x):
        self.tried.append(len(x))
        if len(x) > self.largest:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return quadratic(x)


@pytest.mark.usefixtures("no_gpu_cache")
@pytest.mark.parametrize("batch_size", [None, 5, 64])
def test_too_little_memory_halves_the_batches_and_changes_nothing(batch_size):
    x, model = points(6, 3), SmallMemory(4)
    source = FiniteDifference(0.5, batch_size=batch_size, check_rows=False)
    assert torch.equal(source(model, x)[0], FiniteDifference(0.5)(quadratic, x)[0])
    assert 1 <= source.used_batch_size <= 4
    assert sum(model.tried[-math.ceil(24 / source.used_batch_size) :]) == 24  # 6 (d + 1), once the batches fit


@pytest.mark.usefixtures("no_gpu_cache")
def test_too_little_memory_for_one_row_is_one_clear_error():
    with pytest.raises(MemoryError, match="batch_size: the GPU has no memory for a single input") as caught:
        FiniteDifference(0.5)(SmallMemory(0), points(6, 3))
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_rows_in_groups_give_the_same_derivatives(scheme):
    # The outputs of one row, 3 buffers of 8 (d + 1) bytes, are more than a sixteenth of the budget.
    x, y = points(5, 3), points(5, 2, seed=1)
    factors, sizes = torch.arange(1.0, 6.0, dtype=torch.float64), []

    def counted(x, y, factor):
        sizes.append(len(x))
        return factor * two_inputs(x, y)

    whole = FiniteDifference(0.5, scheme, batch_size=100, check_rows=False)
    small = FiniteDifference(0.5, scheme, batch_size=100, memory_budget=16, check_rows=False)
    per_row = small.stencil.evaluations(5)
    together = whole(counted, (x, y), None, factors)
    assert sizes == [len(x) * per_row]
    sizes.clear()
    apart = small(counted, (x, y), None, factors)
    assert sizes == [per_row] * len(x)
    assert all(torch.equal(one, other) for one, other in zip(together, apart, strict=True))


def test_a_fault_in_a_later_group_names_its_row():
    signs = torch.tensor([1, 1, 1, -1, 1])
    with pytest.raises(ValueError, match=r"output is nan for input 3$"):
        FiniteDifference(0.5, memory_budget=16)(lambda x: x.log().sum(1), points(5, 3).abs() * signs[:, None])

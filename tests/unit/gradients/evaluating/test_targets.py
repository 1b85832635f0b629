import numpy as np
import pytest
import torch

from approxgrad.gradients.evaluating.targets import OutputSelector, select_outputs, target_indices

FLAT = torch.arange(6.0).reshape(3, 2)
DEEP = torch.arange(24.0).reshape(3, 2, 4)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, None),
        (1, [[1], [1], [1]]),
        (np.int64(1), [[1], [1], [1]]),
        ([1], [[1], [1], [1]]),
        (torch.tensor(1), [[1], [1], [1]]),
        ([0, 1, 0], [[0], [1], [0]]),
        (np.array([0, 1, 0]), [[0], [1], [0]]),
        (torch.tensor([0, 1, 0], dtype=torch.int32), [[0], [1], [0]]),
        (torch.tensor([[0], [1], [0]]), [[0], [1], [0]]),
        ((1, 3), [[1, 3], [1, 3], [1, 3]]),
        ((1, 3, 0), [[1, 3, 0]] * 3),  # a tuple is one output of several axes, also if it is as long as the batch
        ([(0, 3), (1, 2), (0, 0)], [[0, 3], [1, 2], [0, 0]]),
    ],
)
def test_every_form_of_target_gives_one_index_per_input(target, expected):
    indices = target_indices(target, 3)
    assert indices is None if expected is None else indices.tolist() == expected


@pytest.mark.parametrize("target", [1.0, True, torch.tensor([0.5, 1, 2]), "cat", [], ["a"], [(0, 1), (1,)], {"a": 1}])
def test_targets_that_are_no_integers_are_refused(target):
    with pytest.raises(TypeError, match=r"target: expected integers"):
        target_indices(target, 3)


@pytest.mark.parametrize("target", [[0, 1], [0, 1, 0, 1], [(0, 1), (1, 1)], torch.zeros(3, 1, 1, dtype=torch.int64)])
def test_a_wrong_number_of_targets_is_refused(target):
    with pytest.raises(ValueError, match=r"target: expected one target or 3, got shape \("):
        target_indices(target, 3)


@pytest.mark.parametrize(
    "convert", [lambda t: t, lambda t: t.numpy(), lambda t: t.tolist()], ids=["torch", "numpy", "list"]
)
@pytest.mark.parametrize(
    ("outputs", "target", "expected"),
    [
        (FLAT[:, 0], None, [0, 2, 4]),
        (FLAT[:, :1], None, [0, 2, 4]),
        (FLAT, 1, [1, 3, 5]),
        (FLAT, [0, 1, 0], [0, 3, 4]),
        (DEEP, (1, 3), [7, 15, 23]),
        (DEEP, [(0, 3), (1, 2), (0, 0)], [3, 14, 16]),
    ],
)
def test_the_target_output_is_selected(convert, outputs, target, expected):
    selected = select_outputs(convert(outputs), target_indices(target, 3), 3)
    assert selected.tolist() == expected


@pytest.mark.parametrize(
    ("outputs", "target", "message"),
    [
        (FLAT, None, r"target: the model returned shape \(3, 2\) for 3 inputs, so a target is needed"),
        (FLAT, 2, r"target: \[2\] is out of range, one output of the model has shape \(2,\)"),
        (FLAT, [0, -1, 0], r"target: \[-1\] is out of range"),
        (
            DEEP,
            [(0, 0), (1, 3), (1, 4)],
            r"target: \[1, 4\] is out of range, one output of the model has shape \(2, 4\)",
        ),
        (FLAT, (0, 1), r"target: has 2 index\(es\) per input, but one output of the model has shape \(2,\)"),
        (DEEP, 0, r"target: has 1 index\(es\) per input"),
        (FLAT[:2], 0, r"model: returned shape \(2, 2\) for a batch of 3 inputs"),
        (torch.tensor(1.0), 0, r"model: returned shape \(\) for a batch of 3 inputs"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(outputs, target, message):
    with pytest.raises(ValueError, match=message):
        select_outputs(outputs, target_indices(target, 3), 3)


@pytest.mark.parametrize("outputs", [None, "cat", {"logits": FLAT}, (FLAT, FLAT)])
def test_outputs_that_are_no_numbers_are_refused(outputs):
    with pytest.raises(TypeError, match=rf"model: expected a tensor of outputs, got {type(outputs).__name__}"):
        select_outputs(outputs, target_indices(0, 3), 3)


def test_batches_take_the_targets_of_their_rows():
    select = OutputSelector(target_indices([0, 1, 0], 3))
    assert select(FLAT, torch.tensor([2, 1, 1])).tolist() == [0, 3, 5]
    assert select(FLAT[:1], torch.tensor([1])).tolist() == [1]


def test_targets_are_checked_again_when_the_outputs_change_their_shape():
    select = OutputSelector(target_indices(1, 3))
    select(FLAT, torch.arange(3))
    assert select(torch.arange(9.0).reshape(3, 3), torch.arange(3)).tolist() == [1, 4, 7]
    with pytest.raises(ValueError, match=r"target: \[1\] is out of range"):
        select(FLAT[:, :1], torch.arange(3))

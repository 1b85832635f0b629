"""Groups of features that move together."""

import pytest
import torch

from approxgrad import DirectionalDifference
from linear_problems import linear
from problems import RecordingModel, points, two_inputs

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")


def test_groups_share_the_mean_of_their_derivatives():
    mask = torch.tensor([[0, 0, 7], [7, 7, -1]])
    model, gradient = linear((2, 2, 3))
    source = DirectionalDifference(0.5, groups=mask, probes=4)
    found = source(RecordingModel(model), points(2, 2, 2, 3))[0]
    assert source.predicted.evaluations.tolist() == [2 * (3 + 4)] * 2
    own = gradient.reshape(2, 2, 3)
    expected = torch.empty_like(own)
    for number in (0, 7, -1):
        expected[:, mask == number] = own[:, mask == number].mean()
    torch.testing.assert_close(found, expected.expand(2, -1, -1, -1), rtol=0, atol=1e-12)
    assert source.predicted.missed[0] > 0


def test_groups_reach_over_several_inputs_and_take_masks_of_one_row():
    x, y = points(4, 3), points(4, 2, 2, seed=1)
    masks = torch.tensor([[0, 0, 1]]), torch.tensor([[1, 2], [2, 2]])
    first, second = DirectionalDifference(0.5, groups=masks)(two_inputs, (x, y))
    exact = 2 * x + y.flatten(1).sum(dim=1, keepdim=True), x.sum(dim=1, keepdim=True)
    torch.testing.assert_close(first[:, 0], exact[0][:, :2].mean(dim=1), rtol=0, atol=1e-12)
    torch.testing.assert_close(first[:, 2], (exact[0][:, 2] + exact[1][:, 0]) / 2, rtol=0, atol=1e-12)
    torch.testing.assert_close(second[:, 0, 0], first[:, 2], rtol=0, atol=1e-12)
    torch.testing.assert_close(second[:, 1, 1], exact[1][:, 0], rtol=0, atol=1e-12)


def test_a_budget_takes_the_first_groups():
    model, _ = linear((6,))
    source = DirectionalDifference(0.5, groups=torch.tensor([0, 0, 1, 1, 2, 2]), budget=3)
    found = source(model, points(1, 6))[0][0]
    assert (found != 0).tolist() == [True] * 4 + [False] * 2

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import FeatureAblation

from approxgrad import DirectionalDifference, ExactGradient, FiniteDifference, attribute, group_totals
from approxgrad.gradients.evaluating.rows import RowError
from problems import RecordingModel, linear, points, small_cnn, softplus_mlp

MASK = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 9, 9], [5, 5, 9, 9]]])


def summed(attributions, mask=MASK):
    """Every feature with the sum of its group."""
    found = torch.empty_like(attributions)
    for number in mask.unique():
        own = (mask == number).expand(attributions.shape[1:])
        found[:, own] = attributions[:, own].sum(dim=1, keepdim=True)
    return found


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient", "integrated_gradients"])
@pytest.mark.parametrize("source", [ExactGradient(), FiniteDifference(1e-4, "central"), DirectionalDifference(1e-4)])
def test_totals_are_the_sums_over_the_features_of_a_group(method, source):
    model, x, target = small_cnn(), points(3, 2, 4, 4), torch.tensor([0, 2, 1])
    options = {"baselines": points(2, 4, 4, seed=3), "n_steps": 12} if method == "integrated_gradients" else {}
    arguments = {"target": target, "method": method, **options}
    found = group_totals(model, x, MASK, gradient=source, **arguments)
    expected = summed(attribute(model, x, **arguments))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_saliency_of_a_group_is_that_of_moving_it_as_a_whole():
    model, x = small_cnn(), points(3, 2, 4, 4)
    found = group_totals(model, x, MASK, target=1, method="saliency", gradient=FiniteDifference(1e-5))
    expected = summed(attribute(model, x, target=1, method="gradient")).abs()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_totals_of_integrated_gradients_are_complete():
    model, x = softplus_mlp(8), points(4, 8)
    mask = torch.tensor([0, 1, 0, 2, 2, 1, 0, 2])
    found = group_totals(
        model, x, mask, target=2, method="integrated_gradients", gradient=FiniteDifference(1e-4, "central")
    )
    first = torch.stack([found[:, mask == number][:, 0] for number in range(3)], dim=1)
    torch.testing.assert_close(first.sum(dim=1), model(x)[:, 2] - model(0 * x)[:, 2], rtol=0, atol=1e-5)


def test_for_a_linear_function_they_are_captums_feature_ablation():
    x, mask = points(4, 3), torch.tensor([[0, 1, 0]])
    found = group_totals(linear, x, mask, gradient=FiniteDifference(0.5))
    expected = FeatureAblation(linear).attribute(x, feature_mask=mask)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "count"), [("input_x_gradient", 1), ("integrated_gradients", 6)])
def test_a_group_costs_as_much_as_a_feature(method, count):
    model, x = RecordingModel(lambda x: (x**3).flatten(1).sum(dim=1)), points(2, 2, 4, 4)
    source = FiniteDifference(0.1, batch_size=64)
    options = {"n_steps": count} if count > 1 else {}
    group_totals(model, x, MASK, method=method, gradient=source, **options)
    assert sum(map(len, model.batches)) == 2 * count * 5 + source.check_evaluations


def test_a_step_is_the_length_of_the_move_and_the_model_sees_its_own_precision():
    x = points(1, 2, 4, 4).float()
    model = RecordingModel(lambda x: x.flatten(1).sum(dim=1))
    group_totals(model, x, MASK, gradient=FiniteDifference(0.5, check_rows=False, batch_size=64))
    moved = (model.batches[-1] - x)[1:]
    assert model.batches[-1].dtype == torch.float32
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), torch.full((4,), 0.5), rtol=1e-5, atol=0)
    assert torch.equal((moved != 0).any(dim=1).sum(dim=(1, 2)), torch.full((4,), 4))


def test_a_group_that_is_at_the_baseline_has_no_part():
    x = points(2, 3)
    x[:, 1] = 0
    found = group_totals(linear, x, torch.tensor([0, 1, 2]), gradient=FiniteDifference(0.5))
    assert torch.equal(found[:, 1], torch.zeros(2).double())
    assert (found[:, [0, 2]] != 0).all()


def test_columns_of_one_variable_in_a_data_frame():
    frame = pd.DataFrame({"age": [0.5, 1.0], "red": [1.0, 0.0], "green": [0.0, 1.0]})
    found = group_totals(lambda rows: rows.to_numpy() @ [1, 2, 3], frame, [0, 1, 1], gradient=FiniteDifference(0.1))
    expected = pd.DataFrame({"age": [0.5, 1.0], "red": [2.0, 3.0], "green": [2.0, 3.0]})
    pd.testing.assert_frame_equal(found, expected, atol=1e-9)
    array = group_totals(
        lambda rows: rows @ [1.0, 2, 3], frame.to_numpy(), np.array([0, 1, 1]), gradient=FiniteDifference(0.1)
    )
    np.testing.assert_allclose(array, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("mask", "arguments", "error", "message"),
    [
        (torch.zeros(3), {}, TypeError, "groups: expected a tensor of integers"),
        (torch.arange(4), {}, ValueError, "does not broadcast to one input"),
        (torch.arange(3), {"method": "magic"}, ValueError, "method: got 'magic'"),
        *(
            (torch.arange(3), {"method": name}, ValueError, f"method: {name} gives no totals of groups")
            for name in ("feature_ablation", "smoothgrad")
        ),
        (torch.arange(3), {"gradient": "exact"}, TypeError, "gradient: expected a gradient source"),
        (torch.arange(3), {"n_steps": 3}, TypeError, "n_steps: not an option of input_x_gradient"),
        (
            torch.arange(3),
            {"method": "integrated_gradients", "n_steps": 3, "gradient": DirectionalDifference(budget=9)},
            TypeError,
            "n_steps: the points of the path follow from the gradient's budget",
        ),
    ],
)
def test_arguments_that_are_not_valid(mask, arguments, error, message):
    with pytest.raises(error, match=message):
        group_totals(linear, points(2, 3), mask, **{"gradient": FiniteDifference(0.1), **arguments})


def test_rows_that_see_each_other_are_refused():
    with pytest.raises(RowError):
        group_totals(
            lambda x: (x - x.mean(dim=0)).square().sum(dim=1),
            points(4, 3),
            torch.arange(3),
            gradient=FiniteDifference(0.1),
        )

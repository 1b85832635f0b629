"""Explaining from Python."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from approxgrad import explain
from approxgrad.explaining.picture import draw
from approxgrad.gradients.evaluating.rows import RowError
from explained import SHAPE, Counted, image

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")

# In Python


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients", "gradient"])
@pytest.mark.parametrize("budget", [60, 130, 1000])
def test_no_more_is_paid_than_was_allowed_and_all_of_it_is_told(method, budget):
    model = Counted().eval()
    found = explain(model, image(), 2, budget=budget, method=method)
    assert found.evaluations == model.rows <= budget
    assert found.budget == budget
    assert found.attribution.shape == SHAPE
    assert found.output == pytest.approx(float(model(image()[None])[0, 2]))
    assert 0 <= found.cosine_lower <= found.cosine <= found.cosine_upper <= 1
    assert found.agreement_lower <= found.agreement <= found.agreement_upper <= 1
    json.dumps(found.numbers(), allow_nan=False)


def test_with_enough_it_is_the_exact_attribution():
    model, x = Counted().double().eval(), image().double()
    found = explain(model, x, budget=1000, step=1e-5)
    points_ = x[None].clone().requires_grad_()
    outputs = model(points_)
    outputs[0, found.target].backward()
    torch.testing.assert_close(found.attribution, (x * points_.grad)[0], rtol=0, atol=1e-5)
    assert found.target == int(outputs.argmax())
    assert (found.cosine, found.agreement) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    "given", [image(), image().requires_grad_(), image()[None], image().numpy(), image()[None].numpy()]
)
def test_images_come_alone_or_as_a_batch_of_one_and_as_tensors_or_arrays(given):
    found = explain(Counted().eval(), given, budget=100)
    assert type(found.attribution) is type(given)
    assert tuple(found.attribution.shape) == SHAPE == found.image.shape


@pytest.mark.parametrize("shape", [(12,), (4, 9), (1, 5, 7), (2, 3, 4, 4)])
def test_other_inputs_are_explained_and_drawn(shape):
    model = Counted(int(np.prod(shape))).eval()
    given = image(*shape) if len(shape) < 4 else image(*shape)[None]
    found = explain(model, given, budget=80)
    assert tuple(found.attribution.shape) == shape
    assert draw(found).axes


class Counting:
    """A function that counts the rows that it is given."""

    def __init__(self, function):
        self.function, self.rows = function, 0

    def __call__(self, x):
        self.rows += len(x)
        return self.function(x)


def table_model():
    return nn.Sequential(nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 3)).eval()


def series_model():
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(54, 3)).eval()


@pytest.mark.parametrize(
    ("network", "shape", "target"),
    [(table_model(), (12,), None), (table_model(), (12,), 1), (series_model(), (2, 20), None)],
)
def test_a_batch_of_one_is_taken_as_such_if_the_model_takes_it_only_so(network, shape, target):
    model = Counting(network)
    alone = explain(model, image(*shape), target, budget=60)
    model.rows = 0
    batch = explain(model, image(*shape)[None], target, budget=60)
    assert batch.evaluations == model.rows <= 60
    assert batch.attribution.shape == batch.image.shape == shape
    assert batch.target == alone.target
    torch.testing.assert_close(batch.attribution, alone.attribution)


def test_what_fits_alone_is_no_batch():
    given = image(1, 5, 7)
    found = explain(Counted(35).eval(), given, budget=80)
    assert found.attribution.shape == (1, 5, 7)
    with pytest.raises(ValueError, match=r"target: \[9\] is out of range, one output of the model has shape \(4,\)"):
        explain(Counted(35).eval(), given, 9, budget=80)
    with pytest.raises(ValueError, match=r"row of shape \(1, 13\)"):
        explain(table_model(), image(1, 13))


def test_a_model_with_one_output_needs_no_target():
    found = explain(lambda x: x.square().flatten(1).sum(dim=1), image().double(), budget=300)
    assert found.target is None
    assert "the only output" in str(found)


def test_a_constant_model_has_no_predicted_quality():
    found = explain(lambda x: torch.ones(len(x), 2), image(), budget=100)
    assert "every derivative is 0" in str(found)
    assert found.numbers()["agreement"] is None
    draw(found)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 9}, ValueError, "budget: 9 evaluations are too few, .*check_rows=False takes fewer$"),
        ({"budget": 1}, ValueError, "budget: expected at least 2"),
        ({"target": 9}, ValueError, r"target: \[9\] is out of range"),
        ({"target": -1}, ValueError, r"target: \[-1\] is out of range"),
        ({"method": "integrated_gradients_published"}, ValueError, "method: got 'integrated_gradients_published'"),
        (
            {"method": None},
            ValueError,
            "method: got None, expected one of gradient, saliency, input_x_gradient, integrated_gradients$",
        ),
        ({"budget": None}, ValueError, "budget: expected an integer of at least 1, got None"),
        ({"budget": 100.0}, ValueError, r"budget: expected an integer of at least 1, got 100\.0"),
        ({"method": "saliency", "baselines": 0.5}, TypeError, "baselines: saliency has no path that begins there"),
        (
            {"method": "integrated_gradients", "baselines": (torch.zeros(SHAPE),)},
            TypeError,
            r"baselines: expected a number or a tensor, got \(tensor[^\n]{,60}$",
        ),
        ({"method": "occlusion"}, ValueError, "method: got 'occlusion'"),
        (
            {"budget": 10, "check_rows": False},
            ValueError,
            "budget: 10 .* looking at the model takes 10 and a derivative 2$",
        ),
    ],
)
def test_arguments_that_are_not_valid(arguments, error, message):
    with pytest.raises(error, match=message):
        explain(Counted().eval(), image(), **arguments)


def test_images_that_are_not_valid():
    with pytest.raises(ValueError, match="image: expected a single one, got shape"):
        explain(Counted().eval(), torch.stack([image(), image()]))
    with pytest.raises(TypeError, match="image: expected a tensor or an array, got str"):
        explain(Counted().eval(), "ship.png")
    with pytest.raises(RowError):
        explain(lambda x: torch.rand(len(x), 2), image())
    with pytest.raises(TypeError, match=r"model: expected a callable, got str; OnnxModel\(path\)"):
        explain("model.onnx", image())


def test_probabilities_are_told_and_logits_are_not():
    model = Counted().eval()
    with pytest.warns(UserWarning, match="outputs: sum to 1") as told:
        explain(nn.Sequential(model, nn.Softmax(dim=1)).eval(), image(), budget=60)
    assert {own.filename for own in told if "sum to 1" in str(own.message)} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(model, image(), budget=130)


def test_a_quality_that_is_not_reached_is_told():
    with pytest.warns(UserWarning, match=r"quality: .* cosine of 0\.\d\d, not 0\.99"):
        explain(Counted().eval(), image(), budget=60, quality=0.99)


@pytest.mark.parametrize("shape", [SHAPE, (2, 20), (5,)])
@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients"])
@pytest.mark.parametrize("check_rows", [True, False])
def test_a_budget_that_tells_nothing_of_the_quality_is_told_with_those_that_do(shape, method, check_rows):
    model, given = Counted(int(np.prod(shape))).eval(), image(*shape)
    options = {"method": method, "check_rows": check_rows}
    least = 20 if check_rows else 12
    with pytest.warns(UserWarning, match="too few to tell") as told:
        found = explain(model, given, budget=least, **options)
    assert found.quality == "too few to predict how good the map is"
    assert found.numbers()["agreement"] is None
    (own,) = [own for own in told if "too few" in str(own.message)]
    assert own.filename == __file__
    words = str(own.message)
    assert ("a smooth map whatever the model is" in words) == (len(shape) == 3)
    some, every = map(int, re.search(r"from ([\d,]+) on .* and ([\d,]+) give", words).groups())
    assert not np.isfinite(explain(model, given, budget=some - 1, **options).cosine)
    assert np.isfinite(explain(model, given, budget=some, **options).cosine)
    assert explain(model, given, budget=every, **options).cosine == 1
    assert every == some or explain(model, given, budget=every - 1, **options).cosine < 1


@pytest.mark.parametrize(
    ("method", "values", "extend"),
    [
        ("input_x_gradient", [-9.0, *[0.5] * 400], "both"),
        ("saliency", [9.0, *[0.5] * 400], "max"),
        ("input_x_gradient", [0.5] * 401, "neither"),
    ],
)
def test_a_colour_bar_is_pointed_where_values_lie_beyond_it(method, values, extend):
    found = explain(Counted(401).eval(), image(1, 1, 401), budget=500, method=method)
    drawn = draw(dataclasses.replace(found, attribution=np.reshape(values, (1, 1, 401))))
    (bar,) = [axes._colorbar for axes in drawn.axes if hasattr(axes, "_colorbar")]
    assert bar.extend == extend


def test_the_quality_is_worded_for_those_who_see_the_picture_only():
    found = explain(Counted().eval(), image(), budget=100)
    told = r"predicted correlation with the map of unlimited evaluations: 0\.\d\d \(90% interval -?0\.\d\d to 0\.\d\d\)"
    assert re.fullmatch(told, " ".join(draw(found).get_suptitle().split("\n")[1:]))


def test_a_map_of_zeros_is_told():
    found = explain(lambda x: torch.floor(x.flatten(1) / 100), image(), 0, budget=300)
    assert "every derivative is 0" in str(found)


@pytest.mark.parametrize(
    ("method", "value", "baselines"),
    [("input_x_gradient", 0, None), ("integrated_gradients", 0, None), ("integrated_gradients", 1, 1.0)],
)
@pytest.mark.parametrize("budget", [25, 100, 400])  # without probes, with some, and for all directions
def test_a_map_of_zeros_whose_derivatives_are_not_is_told_apart(method, value, baselines, budget):
    model, given = Counted().eval(), torch.full(SHAPE, float(value))
    found = explain(model, given, 1, budget=budget, method=method, baselines=baselines)
    assert not found.values.any()
    assert "the map is 0" in str(found)
    assert "every derivative" not in str(found)
    json.dumps(found.numbers(), allow_nan=False)


def test_a_budget_may_be_an_integer_of_numpy():
    found = explain(Counted().eval(), image(), budget=np.int64(60))
    assert found.evaluations <= 60
    json.dumps(found.numbers())


def test_a_path_begins_where_it_is_told_to():
    model, given = Counted().double().eval(), image().double()
    start = torch.full((3, 1, 1), 0.25).double()
    options = {"budget": 20_000, "method": "integrated_gradients", "step": 1e-5}
    found = explain(model, given, 1, baselines=start, **options)
    ends = model(torch.stack([given, start.expand(SHAPE)]))[:, 1]
    assert float(found.attribution.sum()) == pytest.approx(float(ends[0] - ends[1]), rel=1e-3)
    assert not torch.allclose(found.attribution, explain(model, given, 1, **options).attribution, rtol=0.01)

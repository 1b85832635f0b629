"""Gradients from the directions that a budget pays for."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from hypothesis import given, settings
from hypothesis import strategies as st

from approxgrad import DirectionalDifference, FiniteDifference, Spectrum, attribute
from approxgrad.gradients.directional.spectrum import BASES
from approxgrad.gradients.directional.spending import Spending, path_points, spending
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.stencils import SCHEMES, stencil
from linear_problems import linear, span
from problems import RecordingModel, exact_gradient, points, softplus_mlp

SHAPES = [(1, 28, 28), (3, 7, 5), (4, 1), (12,), (2, 3, 4, 4)]
ORTHONORMAL = [name for name in BASES if name != "random"]

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(ORTHONORMAL),
    shape=st.sampled_from(SHAPES),
    scheme=st.sampled_from(sorted(SCHEMES)),
    budget=st.integers(2, 1000),
    step=st.sampled_from([0.01, 1.0, 30.0]),
)
def test_a_linear_function_is_known_exactly_on_the_subspace_that_is_paid_for(name, shape, scheme, budget, step):
    model, gradient = linear(shape)
    recording, x = RecordingModel(model), points(2, *shape)
    source = DirectionalDifference(step, scheme, budget=budget, basis=name)
    found = source(recording, x)[0].flatten(1)
    predicted, rows = source.predicted, span(name, shape, int(source.predicted.directions[0]))
    expected = ((rows @ gradient) @ rows).expand(2, -1)
    # Outputs of size |x| |w| are rounded to 2^-53, once for each of the directions.
    rounding = 2**-50 * len(gradient) * (1 + 1 / step)
    torch.testing.assert_close(found, expected, rtol=0, atol=rounding)
    torch.testing.assert_close(predicted.captured, expected.square().sum(dim=1), rtol=1e-9, atol=1e-9)
    made = sum(map(len, recording.batches)) - source.check_evaluations
    assert made == int(predicted.evaluations.sum())
    assert int(predicted.evaluations.max()) <= budget
    # Nothing is left that would have paid for another direction.
    assert len(rows) == len(gradient) or int(predicted.evaluations.min()) > budget - len(SCHEMES[scheme].shifts)


def test_independent_directions_are_unbiased():
    model, gradient = linear((12,))
    x, count = points(1, 12), 400
    sources = (
        DirectionalDifference(0.5, budget=4, basis="random", seed=seed, check_rows=False) for seed in range(count)
    )
    found = torch.cat([source(model, x)[0] for source in sources])
    error = found.std(dim=0) / math.sqrt(count)
    assert float(((found.mean(dim=0) - gradient).abs() / error).max()) < 4


@pytest.mark.parametrize("name", sorted(BASES))
def test_batches_and_memory_change_nothing_but_rounding(name):
    model, x = softplus_mlp(12), points(7, 12)
    arguments = {"budget": 11, "basis": name, "probes": 2}
    whole = DirectionalDifference(0.1, **arguments)
    expected = whole(model, x, 1)[0]
    for others in ({"batch_size": 1}, {"batch_size": 5}, {"memory_budget": 1}):
        source = DirectionalDifference(0.1, **arguments, **others)
        torch.testing.assert_close(source(model, x, 1)[0], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(source.predicted.cosine, whole.predicted.cosine, rtol=1e-9, atol=1e-9)
    alone = torch.cat([DirectionalDifference(0.1, **arguments)(model, row, 1)[0] for row in x.split(1)])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-12)
    assert torch.equal(DirectionalDifference(0.1, **arguments)(model, x, 1)[0], expected)


def test_the_seed_of_random_directions_decides():
    model, x = softplus_mlp(12), points(2, 12)
    one, same, other = (DirectionalDifference(0.1, budget=8, seed=seed)(model, x, 1)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


def test_with_steps_for_each_feature_the_subspace_is_that_of_the_scaled_features():
    model, gradient = linear((12,))
    steps = torch.linspace(0.1, 2, 12, dtype=torch.float64)
    source = DirectionalDifference(steps, budget=7, basis="cosine")
    found = source(model, points(1, 12))[0][0]
    rows = span("cosine", (12,), int(source.predicted.directions))
    torch.testing.assert_close(found * steps, (rows @ (gradient * steps)) @ rows, rtol=0, atol=1e-12)
    scaled = found * steps / steps.max()
    torch.testing.assert_close(source.predicted.captured, scaled.square().sum()[None], rtol=1e-9, atol=0)


def test_short_precisions_keep_the_steps_that_are_made():
    model, gradient = linear((1, 8, 8))
    x = (100 + points(2, 1, 8, 8)).bfloat16()
    source = DirectionalDifference(20.0, budget=40, basis="cosine")
    found = source(model, x)[0]
    rows = span("cosine", (1, 8, 8), int(source.predicted.directions[0]))
    expected = (rows @ gradient) @ rows
    assert found.dtype == torch.bfloat16
    # What the rounding of moves makes of the part that is missed: a hundredth of it.
    error = (found.double().flatten(1) - expected).norm(dim=1) / gradient.norm()
    assert float(error.max()) < 0.1


@pytest.mark.parametrize(("budget", "count"), [(5, 1), (14, 1), (17, 1), (20, 2), (33, 3), (40, 3)])
def test_a_path_has_the_midpoints_that_the_budget_pays_for(budget, count):
    model, x, start = softplus_mlp(12), points(3, 12), points(12, seed=4)
    recording = RecordingModel(model)
    source = DirectionalDifference(1e-4, budget=budget, basis="cosine", check_rows=False, batch_size=64)
    arguments = {"target": 1, "method": "integrated_gradients", "baselines": start, "check_rows": False}
    found = attribute(recording, x, gradient=source, **arguments)
    assert int(source.predicted.evaluations.max()) <= budget
    assert sum(map(len, recording.batches)) - source.check_evaluations == int(source.predicted.evaluations.sum())
    rows = span("cosine", (12,), int(source.predicted.directions[0]))
    nodes = (torch.arange(count).double() + 0.5) / count
    exact = torch.stack([exact_gradient(model, start + node * (x - start), 1) for node in nodes]).mean(dim=0)
    torch.testing.assert_close(found, (x - start) * (exact @ rows.T @ rows), rtol=0, atol=1e-3)
    mean = (exact @ rows.T).square().sum(dim=1)
    torch.testing.assert_close(source.predicted.captured, mean, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("scheme", ["forward", "central"])
def test_along_a_path_of_many_points_no_gradient_lacks_directions(scheme):
    own = stencil(scheme)
    for budget in range(5 * own.evaluations(12), 400):
        points = path_points(budget, own, 12)
        assert spending(budget, own, 12, None, points) == Spending(12, 0, points, own)
        assert (points + 1) * own.evaluations(12) > budget >= points * own.evaluations(12)


def test_a_quality_can_be_reached_along_a_path():
    """The probes that tell of it do not take the place of the directions that it needs."""
    model, x = softplus_mlp(12), points(3, 12)
    for budget in (21, 40, 130, 1300):
        source = DirectionalDifference(1e-4, budget=budget, quality=0.999, check_rows=False)
        attribute(model, x, target=1, method="integrated_gradients", gradient=source, check_rows=False)
        assert int(source.predicted.evaluations.max()) <= budget
        assert source.predicted.cosine.min() >= 0.999 or budget == 40  # of two gradients each lacks some directions


def test_the_points_of_a_path_can_be_set_with_the_budget_but_not_elsewhere():
    model, x = softplus_mlp(12), points(3, 12)
    source = DirectionalDifference(0.1, budget=40, path_points=8)
    attribute(model, x, target=1, method="integrated_gradients", gradient=source)
    assert source.predicted.evaluations.tolist() == [40] * 3
    with pytest.raises(TypeError, match="n_steps: the points of the path follow from the gradient's budget"):
        attribute(model, x, target=1, method="integrated_gradients", gradient=source, n_steps=8)
    # The published variant has a path of its own.
    options = {"target": 1, "method": "integrated_gradients_published", "n_steps": 2}
    found, exact = (
        attribute(model, x, gradient=own, **options) for own in (DirectionalDifference(1e-4, budget=40), "exact")
    )
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)


def test_a_path_from_the_input_to_itself_has_no_attribution():
    x = points(3, 12)
    source = DirectionalDifference(0.1, budget=40)
    found = attribute(softplus_mlp(12), x, target=1, method="integrated_gradients", gradient=source, baselines=x)
    assert torch.equal(found, torch.zeros(3, 12).double())


def test_paths_in_parts_that_fit_the_memory_are_the_same_with_targets_of_their_own():
    model, x, target = softplus_mlp(12), points(5, 12), torch.tensor([0, 1, 2, 1, 0])
    arguments = {"target": target, "method": "integrated_gradients"}
    whole, parts = (DirectionalDifference(0.1, budget=30, memory_budget=memory) for memory in (None, 1))
    one, other = (attribute(model, x, gradient=source, **arguments) for source in (whole, parts))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole.predicted.cosine, parts.predicted.cosine, rtol=1e-9, atol=0)
    alone = [
        attribute(model, row, target=int(own), method="integrated_gradients", gradient=whole)
        for row, own in zip(x.split(1), target, strict=True)
    ]
    torch.testing.assert_close(one, torch.cat(alone), rtol=0, atol=1e-12)


def test_several_inputs_targets_and_arguments_of_the_rows():
    x, y = points(4, 3, 2, 2), points(4, 5, seed=1)
    factors, target = torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), torch.tensor([0, 1, 1, 0])

    def model(x, y, factors):
        return factors[:, None] * torch.stack([x.flatten(1).sum(dim=1), y.sum(dim=1)], dim=1)

    for name in ("cosine", "haar"):
        source = DirectionalDifference(0.5, budget=1000, basis=name)
        first, second = source(model, (x, y), target, (factors,))
        own = factors * (target == 0), factors * (target == 1)
        torch.testing.assert_close(first, own[0][:, None, None, None].expand(x.shape), rtol=0, atol=1e-12)
        torch.testing.assert_close(second, own[1][:, None].expand(y.shape), rtol=0, atol=1e-12)


def test_captum_takes_it_as_its_gradient():
    model, x = softplus_mlp(12), points(3, 12)
    method = Saliency(model)
    method.gradient_func = DirectionalDifference(0.01, budget=8, basis="cosine")
    own = attribute(model, x, target=0, gradient=DirectionalDifference(0.01, budget=8, basis="cosine"))
    torch.testing.assert_close(method.attribute(x, target=0), own, rtol=0, atol=1e-12)


def test_rows_that_see_each_other_are_refused():
    with pytest.raises(RowError):
        DirectionalDifference(budget=4)(lambda x: (x - x.mean(dim=0)).square().sum(dim=1), points(4, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 1}, ValueError, "budget: expected at least 2 for one direction, got 1"),
        ({"budget": 0}, ValueError, "budget: expected an integer of at least 1, got 0"),
        ({"budget": 200.0}, ValueError, r"budget: expected an integer of at least 1, got 200\.0"),
        ({"budget": True}, ValueError, "budget: expected an integer of at least 1, got True"),
        ({"budget": 3, "scheme": "central", "probes": 1}, ValueError, "at least 4 for one direction, 1 probes, got 3"),
        ({"budget": 9, "path_points": 5}, ValueError, "at least 10 for one direction and 5 points, got 9"),
        ({"budget": 9, "path_points": 0}, ValueError, "path_points: expected an integer of at least 1, got 0"),
        ({"path_points": 3}, ValueError, "path_points: needs a budget"),
        ({"probes": 4}, ValueError, "probes: needs a budget"),
        ({"probes": -1}, ValueError, "probes: expected an integer of at least 0, got -1"),
        ({"basis": "sine"}, ValueError, "basis: got 'sine', expected one of orthogonal, cosine, haar, pixels, random"),
        ({"order": "pilots"}, ValueError, "order: expected 'luma' or a Spectrum, got 'pilots'"),
        ({"quality": 1.0, "budget": 9}, ValueError, r"quality: expected a number between 0 and 1, got 1\.0"),
        ({"quality": 0.9}, ValueError, "quality: needs a budget"),
        ({"groups": torch.zeros(3)}, TypeError, "groups: expected a tensor of integers, got torch.float32"),
        ({"groups": [1, 2]}, TypeError, "groups: expected a tensor of integers, got list"),
        ({"groups": torch.tensor([0]), "basis": "haar"}, ValueError, "groups: they are the directions"),
    ],
)
def test_arguments_that_are_not_valid(arguments, error, message):
    with pytest.raises(error, match=message):
        DirectionalDifference(**arguments)


def test_integers_of_numpy_are_numbers():
    own = DirectionalDifference(budget=np.int64(40), probes=np.int32(3), path_points=np.int8(2))
    assert (own.evaluations, own.probes, own.path_points) == (40, 3, 2)
    assert type(own.evaluations) is int


def test_masks_and_spectra_of_other_inputs_are_refused():
    model, x = softplus_mlp(12), points(2, 12)
    with pytest.raises(ValueError, match=r"groups: shape \(5,\) does not broadcast to one input, of shape \(12,\)"):
        DirectionalDifference(groups=torch.arange(5))(model, x, 0)
    with pytest.raises(ValueError, match="groups: got 2 masks for 1 input tensors"):
        DirectionalDifference(groups=(torch.arange(12),) * 2)(model, x, 0)
    spectrum = Spectrum.measured(softplus_mlp(4), points(2, 4), 0, gradient=FiniteDifference(0.01))
    with pytest.raises(
        ValueError, match=r"order: is a spectrum of inputs of shape \(4,\), but they have shape \(12,\)"
    ):
        DirectionalDifference(budget=9, basis="cosine", order=spectrum)(model, x, 0)
    with pytest.raises(ValueError, match="order: is a spectrum of the basis cosine, expected one of haar"):
        DirectionalDifference(budget=9, basis="haar", order=spectrum)

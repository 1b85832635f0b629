import dataclasses
import math

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from hypothesis import given, settings
from hypothesis import strategies as st

from approxgrad import DirectionalDifference, FiniteDifference, Spectrum, attribute
from approxgrad.gradients.directional.prediction import correlation
from approxgrad.gradients.directional.spectrum import BASES
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.stencils import SCHEMES
from problems import RecordingModel, exact_gradient, points, softplus_mlp, two_inputs

CPU = torch.device("cpu")
SHAPES = [(1, 28, 28), (3, 7, 5), (4, 1), (12,), (2, 3, 4, 4)]
ORTHONORMAL = [name for name in BASES if name != "random"]

pytestmark = pytest.mark.filterwarnings("ignore:budget:UserWarning")


def weights(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def linear(shape, seed=1):
    """A linear function of inputs of a shape, and its gradient."""
    own = weights(*shape, seed=seed)
    return lambda x: (x.double() * own).flatten(1).sum(dim=1), own.flatten()


def span(name, shape, count, seed=0):
    basis = BASES[name]((shape,), seed, CPU)
    return basis.directions(basis.order()[:count])


# What is estimated


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
def test_the_missed_energy_is_unbiased_and_as_uncertain_as_chi_squared(name):
    shape, probes, count = (3, 7, 5), 16, 150
    model, gradient = linear(shape)
    x, found, real = points(1, *shape), [], []
    for seed in range(count):
        source = DirectionalDifference(0.5, budget=40, basis=name, seed=seed, probes=probes, check_rows=False)
        estimate = source(model, x)[0].flatten().double()
        cosine = float(estimate @ gradient / estimate.norm() / gradient.norm())
        found.append(float(source.predicted.missed) / float(gradient.square().sum()))
        real.append(1 - cosine**2)
        assert float(source.predicted.lower) <= float(source.predicted.cosine) <= float(source.predicted.upper)
    ratio = np.array(found) / np.array(real)
    expected = math.sqrt(2 / probes)
    assert abs(ratio.mean() - 1) < 4 * expected / math.sqrt(count)
    assert expected / 1.3 < ratio.std() < expected * 1.3


@pytest.mark.parametrize("name", ["cosine", "pixels", "random"])
def test_the_predicted_interval_holds_the_real_cosine_nine_times_in_ten(name):
    shape, rows = (1, 12, 12), 300
    own = weights(rows, 144)

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    x, number = points(rows, *shape), torch.arange(rows)
    source = DirectionalDifference(0.5, budget=100, basis=name, check_rows=False)
    found = source(model, x, None, (number,))[0].flatten(1)
    cosine = (found * own).sum(dim=1) / found.norm(dim=1) / own.norm(dim=1)
    predicted = source.predicted
    held = ((predicted.lower <= cosine) & (cosine <= predicted.upper)).double().mean()
    # All rows have the same probes, so they are not quite independent.
    assert 0.83 < float(held) < 0.97


@pytest.mark.parametrize("budget", [9, 10, 100_000])
def test_a_budget_for_all_directions_leaves_nothing_to_predict(budget):
    model, x = softplus_mlp(8), points(3, 8)
    source = DirectionalDifference(1e-5, budget=budget, basis="cosine")
    found = source(model, x, 1)[0]
    assert source.predicted.evaluations.tolist() == [9] * 3
    assert source.predicted.cosine.tolist() == [1.0] * 3 == source.predicted.lower.tolist()
    plain = FiniteDifference(1e-5)(model, x, 1)[0]
    exact = exact_gradient(model, x, 1)
    assert float((found - exact).norm()) < 2 * float((plain - exact).norm()) < 1e-3


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


# Quality


def test_a_quality_is_paid_for_and_no_more():
    shape = (1, 12, 12)
    smooth = span("cosine", shape, 40)
    rough = span("cosine", shape, 144)[40:]
    own = torch.stack([smooth.sum(dim=0), smooth.sum(dim=0) + 0.4 * rough.sum(dim=0)])

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=130, basis="cosine", quality=0.95, probes=16)
    arguments = (torch.arange(2),)
    found = source(model, points(2, *shape), None, arguments)[0].flatten(1)
    predicted = source.predicted
    assert predicted.evaluations[0] < predicted.evaluations[1] <= 130
    assert predicted.evaluations.tolist() == [1 + 16 + own for own in predicted.directions.tolist()]
    assert (predicted.cosine[0] >= 0.95) & (predicted.cosine[0] == pytest.approx(1, abs=1e-6))
    for row in range(2):
        rows = span("cosine", shape, int(predicted.directions[row]))
        torch.testing.assert_close(found[row], (rows @ own[row]) @ rows, rtol=0, atol=1e-10)
    median, lower, upper = predicted.of_map(lambda gradient: gradient)
    assert ((lower <= median) & (median <= upper)).all()


@pytest.mark.parametrize("budget", [150, 10_000])
def test_a_quality_ends_what_the_budget_would_pay_for(budget):
    """A gradient in the span of the first 40 directions is known after these, whatever the budget."""
    shape = (1, 12, 12)
    gradient = span("cosine", shape, 40).sum(dim=0)
    source = DirectionalDifference(0.5, budget=budget, basis="cosine", quality=0.99)
    source(lambda x: x.flatten(1) @ gradient, points(1, *shape))
    assert int(source.predicted.directions) <= 64 + 32
    impossible = DirectionalDifference(0.5, budget=budget, basis="pixels", quality=0.999999)
    impossible(lambda x: x.flatten(1) @ gradient, points(1, *shape))
    assert int(impossible.predicted.evaluations) <= budget
    assert float(impossible.predicted.cosine) == 1 or budget == 150


def test_inputs_that_take_all_directions_say_nothing_of_others():
    shape = (1, 12, 12)
    own = torch.stack([weights(144), span("cosine", shape, 8).sum(dim=0) + 0.3 * weights(144) / 12])

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=1000, basis="cosine", quality=0.9, probes=40)
    source(model, points(2, *shape), None, (torch.arange(2),))
    assert source.predicted.directions[0] == 144 > source.predicted.directions[1]
    assert source.predicted.cosine[0] == 1 > source.predicted.cosine[1]


def test_the_agreement_of_a_map_is_predicted_from_what_is_missed():
    """For the gradient itself the agreement is the cosine, as its mean is nearly zero."""
    rows = 100
    own = weights(rows, 144)

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=100, probes=30, check_rows=False)
    found = source(model, points(rows, 1, 12, 12), None, (torch.arange(rows),))[0].flatten(1)
    for function in (torch.abs, lambda gradient: gradient):
        real = correlation(function(found), function(own))
        median, lower, upper = source.predicted.of_map(function, draws=100)
        assert float((median - real).mean().abs()) < 0.05
        assert float(((lower <= real) & (real <= upper)).double().mean()) > 0.8


def test_the_missing_part_is_expected_where_the_estimate_is_large():
    rows, side = 60, 24
    place = torch.linspace(-2, 2, side, dtype=torch.float64).square()
    bump = torch.exp(-3 * (place[:, None] + place)).flatten()
    own = weights(rows, side**2) * bump

    def model(x, number):
        return (x.flatten(1) * own[number.long()]).sum(dim=1)

    source = DirectionalDifference(0.5, budget=200, basis="cosine", check_rows=False)
    found = source(model, points(rows, 1, side, side), None, (torch.arange(rows),))[0].flatten(1)
    real = correlation(found.abs(), own.abs())
    evenly = dataclasses.replace(source.predicted, _envelope=torch.ones_like)
    off, off_evenly = (float((one.of_map(abs)[0] - real).mean().abs()) for one in (source.predicted, evenly))
    assert off < off_evenly / 2
    # It is a guess, so the interval holds the other one as well.
    _, low, high = source.predicted.of_map(abs)
    _, low_evenly, high_evenly = evenly.of_map(abs)
    assert ((low <= low_evenly) & (high >= high_evenly)).all()
    assert ((low < low_evenly) | (high > high_evenly)).any()


# Paths


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


def test_the_points_of_a_path_can_be_set_with_the_budget_but_not_elsewhere():
    model, x = softplus_mlp(12), points(3, 12)
    source = DirectionalDifference(0.1, budget=40, path_points=8)
    attribute(model, x, target=1, method="integrated_gradients", gradient=source)
    assert source.predicted.evaluations.tolist() == [40] * 3
    with pytest.raises(TypeError, match="n_steps: the points of the path follow from the gradient's budget"):
        attribute(model, x, target=1, method="integrated_gradients", gradient=source, n_steps=8)


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


# Groups


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


# Models


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


def test_a_constant_function_has_no_gradient_and_no_cosine():
    source = DirectionalDifference(0.5, budget=30, basis="cosine", quality=0.9)
    found = source(lambda x: torch.full((len(x),), 0.1, dtype=torch.float64), points(2, 3, 4, 4))[0]
    assert torch.equal(found, torch.zeros(2, 3, 4, 4).double())
    assert source.predicted.cosine.isnan().all()
    assert source.predicted.evaluations.tolist() == [30, 30]


def test_captum_takes_it_as_its_gradient():
    model, x = softplus_mlp(12), points(3, 12)
    method = Saliency(model)
    method.gradient_func = DirectionalDifference(0.01, budget=8, basis="cosine")
    own = attribute(model, x, target=0, gradient=DirectionalDifference(0.01, budget=8, basis="cosine"))
    torch.testing.assert_close(method.attribute(x, target=0), own, rtol=0, atol=1e-12)


def test_rows_that_see_each_other_are_refused():
    with pytest.raises(RowError):
        DirectionalDifference(budget=4)(lambda x: (x - x.mean(dim=0)).square().sum(dim=1), points(4, 3))


# Words for the user


def test_a_budget_of_no_use_is_a_warning_that_names_what_helps():
    model, _ = linear((3, 32, 32))
    with pytest.warns(UserWarning, match=r"budget: 100 evaluations are of little use here.*cosine of 0\.\d+.*groups="):
        DirectionalDifference(budget=100)(model, points(2, 3, 32, 32))
    with pytest.warns(UserWarning, match="of little use"):
        attribute(
            model, points(2, 3, 32, 32), method="integrated_gradients", gradient=DirectionalDifference(budget=100)
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 1}, ValueError, "budget: expected at least 2 for one direction, got 1"),
        ({"budget": 0}, ValueError, "budget: expected an integer of at least 1, got 0"),
        ({"budget": 200.0}, ValueError, r"budget: expected an integer of at least 1, got 200\.0"),
        ({"budget": True}, ValueError, "budget: expected an integer of at least 1, got True"),
        ({"budget": 3, "scheme": "central", "probes": 1}, ValueError, "at least 4 for one direction, 1 probes, got 3"),
        ({"budget": 9, "path_points": 5}, ValueError, "at least 10 for one direction and 5 points, got 9"),
        ({"probes": -1}, ValueError, "probes: expected an integer of at least 0, got -1"),
        ({"basis": "sine"}, ValueError, "basis: got 'sine', expected one of orthogonal, cosine, haar, pixels, random"),
        ({"order": "pilots"}, ValueError, "order: expected 'luma' or a Spectrum, got 'pilots'"),
        ({"quality": 1.0, "budget": 9}, ValueError, r"quality: expected a number between 0 and 1, got 1\.0"),
        ({"quality": 0.9}, ValueError, "quality: needs a budget"),
        ({"groups": torch.zeros(3)}, TypeError, "groups: expected a tensor of integers, got torch.float32"),
        ({"groups": [1, 2]}, TypeError, "groups: expected a tensor of integers, got list"),
        ({"groups": torch.tensor([0]), "basis": "haar"}, ValueError, "groups: are directions themselves"),
    ],
)
def test_arguments_that_are_not_valid(arguments, error, message):
    with pytest.raises(error, match=message):
        DirectionalDifference(**arguments)


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

"""The divisor of a difference is the step that was made, features whose step is lost are counted, steps are tensors."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from approxgrad import ApproxAttribution, FiniteDifference, attribute, choose_step
from approxgrad.gradients.stencils import SCHEMES
from problems import points, small_cnn, softplus_mlp

AGE, INCOME, RATIO = 2.0, 3.0, 5.0
weights = torch.tensor([AGE, INCOME, RATIO])
person = torch.tensor([[35.5, 65000.25, 1.2]])


def people(x):
    """Linear, and exact near the person except for a few roundings of the ratio."""
    return (x - torch.tensor([35.0, 65000.0, 1.0])) @ weights


def exact_line(x):
    """3 (x_1 + x_2 + ...), exact in float64 for any x of a coarser dtype near 1000."""
    return 3 * (x.double() - 1000).sum(dim=1)


# The step that was made


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("step", [1e-2, 0.1, 1.0])
def test_features_of_large_numbers_have_their_derivative(step, scheme):
    # Between 65,000 and 65,536 float32 knows multiples of 1/256: a step of 0.01 is one of 0.0117.
    found = FiniteDifference(step, scheme)(people, person)[0]
    # A handful of roundings of outputs below 10.
    torch.testing.assert_close(found, weights[None], rtol=0, atol=8 * 10 * 1.2e-7 / step)


def test_one_number_and_the_ratio_that_was_3_66():
    one = torch.tensor([[1000.3]])
    assert FiniteDifference(1e-4)(exact_line, one)[0].item() == 3


@given(
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.sampled_from(list(SCHEMES)),
    st.floats(-8, 1).map(lambda power: 10.0**power),
    st.lists(st.floats(-9e2, 9e2, width=16), min_size=1, max_size=4),
)
def test_lines_have_no_error_but_where_the_step_is_lost(dtype, scheme, step, values):
    x = torch.tensor([values]).to(dtype)
    made = (x + torch.tensor(step, dtype=dtype)).double() - x.double()
    below = x.double() - (x - torch.tensor(step, dtype=dtype)).double()
    total = {"forward": made, "backward": below, "central": made + below}[scheme]
    if not total.any():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = FiniteDifference(step, scheme)(exact_line, x)[0].double()
    # Sums of up to four numbers below 2,000, in float64.
    rounding = 16 * 8000 * 2.3e-16 / torch.where(total > 0, total, 1)
    expected = torch.where(total > 0, 3.0, 0.0)
    assert ((found - expected).abs() <= rounding + torch.finfo(dtype).eps * expected).all()


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "integrated_gradients"])
def test_attributions_are_made_of_the_step_that_was_made(method):
    x = torch.tensor([[1000.3, 1001.7]])
    options = {"baselines": 1000.0, "n_steps": 5} if method == "integrated_gradients" else {}
    found = attribute(exact_line, x, method=method, gradient=FiniteDifference(1e-2), **options)
    factor = {"saliency": 1, "input_x_gradient": x, "integrated_gradients": x - 1000}[method]
    # The weights of the path are float32.
    torch.testing.assert_close(found, 3 * torch.ones(1, 2) * factor, rtol=1e-6, atol=0)


def test_chosen_features_are_divided_by_the_step_that_was_made():
    x = torch.tensor([[1000.3, 1001.7, 1002.1]])
    found = FiniteDifference(1e-4).partial_derivatives(exact_line, (x,), torch.tensor([2, 0]))
    assert found.tolist() == [[3, 3]]


def test_each_input_tensor_makes_steps_in_its_own_dtype():
    def model(x, y):
        return exact_line(x) + exact_line(y)

    x = torch.tensor([[1000.3]])
    found = FiniteDifference(1e-4)(model, (x, x.double()))
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.float64]
    assert found[0].item() == 3
    # At 1,000 the step in float64 is off by half of its last digit.
    assert found[1].item() == pytest.approx(3, abs=3 * 2.0**-43 / 1e-4)


def test_the_original_formula_keeps_the_nominal_step():
    x = torch.tensor([[1000.3]])
    nominal = abs(float(exact_line(x + 1e-4) - exact_line(x))) / 1e-4
    assert nominal == pytest.approx(3.66, abs=0.01)
    assert FiniteDifference(1e-4, nominal=True)(exact_line, x)[0].item() == pytest.approx(nominal, rel=1e-6)
    assert ApproxAttribution(exact_line).grad_approx(1e-4, x, target=None).item() == pytest.approx(nominal, rel=1e-6)
    product = ApproxAttribution(exact_line).grad_x_i_approx(1e-4, x, target=None).item()
    assert product == pytest.approx(nominal * 1000.3, rel=1e-6)


def test_the_published_variant_keeps_the_nominal_step():
    x = torch.tensor([[1000.3]])
    n_steps, step = 4, 1e-2
    moved = x + step
    # F(x) is the mean of f at 1000 + k/n (x - 1000), with the numbers of the path in float32.
    mean = [
        float(sum(exact_line(1000 + k / n_steps * (end - 1000)) for k in range(1, n_steps + 1)) / n_steps)
        for end in (moved, x)
    ]
    expected = float(x - 1000) * (mean[0] - mean[1]) / step
    options = {"method": "integrated_gradients_published", "baselines": 1000.0, "n_steps": n_steps}
    found = attribute(exact_line, x, gradient=FiniteDifference(step), **options)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    own = ApproxAttribution(exact_line).int_grad_approx(step, x, 1000.0, n_steps, target=None)
    assert own.item() == pytest.approx(expected, rel=1e-5)


# Steps that are lost


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lost_steps_are_counted_and_warned_of(scheme):
    source = FiniteDifference(1e-3, scheme)
    assert source.lost_steps == 0
    rows = torch.cat([person, torch.tensor([[35.5, 1.25, 1.2]])])
    with pytest.warns(UserWarning, match=r"step.*lost") as caught:
        found = source(people, rows)[0]
    assert len(caught) == 1
    assert len(str(caught[0].message).splitlines()) == 1
    assert found[0, 1] == 0
    assert source.lost_steps == 1
    with pytest.warns(UserWarning, match="lost"):
        source(people, person)
    assert source.lost_steps == 2


def test_attribute_and_partial_derivatives_warn_as_well():
    with pytest.warns(UserWarning, match="lost"):
        attribute(people, person, gradient=FiniteDifference(1e-3))
    source = FiniteDifference(1e-3)
    with pytest.warns(UserWarning, match="lost"):
        source.partial_derivatives(people, (person,), torch.tensor([0, 1]))
    assert source.lost_steps == 1


def test_a_step_that_is_lost_on_one_side_is_not_lost():
    # Below 1024 float32 knows multiples of 2^-14, above it of 2^-13: 2^-14 - 2^-16 is only lost upwards.
    x = torch.tensor([[1024.0]])
    source = FiniteDifference(2.0**-14 - 2.0**-16, "central")
    assert source(exact_line, x)[0].item() == 3
    assert source.lost_steps == 0


def test_no_step_is_lost_in_silence_and_none_is_called_lost():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = FiniteDifference(0.5)
        source(softplus_mlp(), points(3, 4), 0)
    assert source.lost_steps == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_step_that_is_lost_everywhere_is_refused(scheme):
    with pytest.raises(ValueError, match="step: 1e-09 is lost in float32") as caught:
        FiniteDifference(1e-9, scheme)(people, person)
    assert len(str(caught.value).splitlines()) == 1


# Numbers beyond the range of the dtype


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("dtype", "value", "step"),
    [(torch.float16, 65000.0, 600.0), (torch.float32, 3e38, 1e38), (torch.float32, 1.0, 1e39)],
)
def test_a_moved_point_beyond_the_range_is_refused(dtype, value, step, scheme):
    sign = -1 if scheme == "backward" else 1
    x = torch.tensor([[1.0, sign * value]], dtype=dtype)

    def model(x):
        return x.double().clamp(-10, 10).sum(dim=1)  # finite even there

    with pytest.raises(ValueError, match=r"step: .*(range|overflow|beyond|infinite)") as caught:
        FiniteDifference(step, scheme)(model, x)
    assert len(str(caught.value).splitlines()) == 1


# One step for each feature


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_feature_has_its_own_step(scheme):
    steps = torch.tensor([0.5, 64.0, 0.25])
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])

    def model(x):
        return (x**2).sum(dim=1)

    found = FiniteDifference(steps, scheme)(model, x)[0]
    assert torch.equal(found, 2 * x + {"forward": 1, "backward": -1, "central": 0}[scheme] * steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_steps_in_a_tensor_are_one_step(dtype):
    model, x = small_cnn(), points(3, 2, 4, 4)
    steps = torch.full((2, 4, 4), 0.125, dtype=dtype)
    found = FiniteDifference(steps, "central")(model, x, 1)[0]
    assert torch.equal(found, FiniteDifference(0.125, "central")(model, x, 1)[0])


def test_a_tensor_of_steps_serves_attributions_and_is_not_changed():
    steps, x = torch.tensor([0.01, 16.0, 0.01]), person.repeat(2, 1)
    before = steps.clone()
    source = FiniteDifference(steps)
    found = attribute(exact_line, x, method="integrated_gradients", gradient=source, baselines=person / 2, n_steps=3)
    # The weights of the path are float32, and sums of numbers below 70,000 are off by a rounding of float64.
    torch.testing.assert_close(found, 3 * (x - person / 2), rtol=1e-6, atol=0)
    assert torch.equal(steps, before)
    assert "FiniteDifference" in repr(source)


def test_chosen_features_have_their_own_steps():
    steps = torch.tensor([0.5, 64.0, 0.25])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    found = FiniteDifference(steps).partial_derivatives(lambda x: (x**2).sum(dim=1), (x,), torch.tensor([2, 1]))
    assert found.tolist() == [[6.25, 68.0]]


def test_some_steps_of_a_tensor_are_lost():
    source = FiniteDifference(torch.tensor([0.5, 1e-5, 1e-9]))
    with pytest.warns(UserWarning, match="lost"):
        source(people, person)
    assert source.lost_steps == 2


@pytest.mark.parametrize(
    "steps",
    [
        torch.tensor([0.1, 0.0, 0.1]),
        torch.tensor([0.1, -0.1, 0.1]),
        torch.tensor([0.1, torch.nan, 0.1]),
        torch.tensor([0.1, torch.inf, 0.1]),
        torch.tensor([True, True, True]),
        torch.tensor([1j, 1j, 1j]),
        np.array(["0.1"]),
    ],
    ids=str,
)
def test_steps_that_are_none_are_refused(steps):
    with pytest.raises((ValueError, TypeError), match="step: ") as caught:
        FiniteDifference(steps)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 3), (1, 4), (0,)])
def test_steps_that_do_not_fit_the_features_are_refused(shape):
    with pytest.raises(ValueError, match="step: ") as caught:
        FiniteDifference(torch.ones(shape))(people, person)
    assert len(str(caught.value).splitlines()) == 1


# The switch


class Drawing:
    """Random, unless switched off."""

    def __call__(self, x):
        return x.sum(dim=1) + torch.randn(len(x))


def test_the_check_of_rows_can_be_switched_off():
    x = points(3, 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for run in (
            lambda **switch: FiniteDifference(0.5, **switch)(Drawing(), x),
            lambda **switch: attribute(Drawing(), x, gradient=FiniteDifference(0.5, **switch), **switch),
            lambda **switch: choose_step(Drawing(), x, **switch),
        ):
            with pytest.raises(ValueError, match="two evaluations of the same row"):
                run()
            run(check_rows=False)


def test_a_known_model_is_not_evaluated_for_the_check():
    counts = []
    for check_rows in (True, False):
        sizes, source = [], FiniteDifference(0.5, check_rows=check_rows)
        source(lambda x, sizes=sizes: sizes.append(len(x)) or x.sum(dim=1), points(3, 4))
        assert sum(sizes) == 3 * 5 + source.check_evaluations
        counts.append(source.check_evaluations)
    assert counts[1] < counts[0]

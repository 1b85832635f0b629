"""Every model of the zoo: its differences are those of a loop over rows and features, or it is refused in one line."""

import pathlib

import pytest
import torch

import zoo
from approxgrad import ApproxAttribution, FiniteDifference, attribute, choose_step
from zoo_members import KINDS, MEMBERS, members
from zoo_state import differences, numbers, wiring

pytestmark = [
    # Warnings of torch about its older parts, and about what models do.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:(?!.*step):UserWarning"),
]

MEANING = 20
"""The largest derivative is at least so many tolerances, so that agreement is informative."""


def test_the_zoo_is_large_and_its_names_are_unique():
    names = [member.name for member in MEMBERS]
    assert len(set(names)) == len(names)
    assert len(names) >= 300
    assert len(KINDS) == len(list(pathlib.Path(__file__).parents[1].glob("zoo_*.py"))) - 3


def assert_equal(member, found, reference):
    meaning = 0.0
    for own, (expected, tolerance) in zip(found, reference, strict=True):
        distance = (own.double() - expected).abs()
        far = float((distance / tolerance).nan_to_num(torch.inf).max())
        assert (distance <= tolerance).all(), f"off by {far:.3g} tolerances: {own.tolist()} for {expected.tolist()}"
        meaning = max(meaning, float((expected.abs() / tolerance).nan_to_num(0).max()))
    assert meaning >= (MEANING if member.roundings >= zoo.ROUNDINGS else 2)


def check_against_the_loop(member, **options):
    with member.around():
        for scheme in ("forward", "central"):
            inputs = member.points()
            reference = zoo.loop(member, member.model(), inputs, scheme)
            model = member.model()
            found, again = (member.gradient(model, inputs, scheme, **options) for _ in range(2))
            assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
            assert [(own.shape, own.dtype) for own in found] == [(tensor.shape, tensor.dtype) for tensor in inputs]
            assert_equal(member, found, reference)


@members(lambda member: member.refused is None)
def test_differences_are_those_of_a_loop_with_the_same_bits_each_time(member):
    check_against_the_loop(member)


@members(lambda member: member.alone)
def test_models_that_need_single_rows_are_evaluated_row_by_row(member):
    check_against_the_loop(member, batch_size=1)


@members(lambda member: member.refused is not None)
def test_others_are_refused_in_one_line(member):
    with member.around():
        model, inputs = member.model(), member.points()
        before = wiring(model), numbers(model)
        with zoo.seeded(3), pytest.raises((ValueError, TypeError), match=member.refused) as caught:
            member.gradient(model, inputs, "forward")
        after = wiring(model), numbers(model)
    assert len(str(caught.value).splitlines()) == 1
    if not member.changes_itself:
        assert differences(before[0], after[0]) + differences(before[1], after[1]) == []


ENTRIES = {
    "attribute": lambda model, inputs, target: attribute(
        model, inputs, target=target, method="input_x_gradient", gradient=FiniteDifference(0.5, "central")
    ),
    "choose_step": choose_step,
    "ApproxAttribution": lambda model, inputs, target: ApproxAttribution(model).grad_approx(0.5, inputs, target),
}


@pytest.mark.parametrize("entry", ENTRIES)
@members(lambda member: member.refused is not None and member.entries and member.arguments is None)
def test_they_are_refused_wherever_a_model_enters(member, entry):
    with member.around():
        model, inputs = member.model(), member.points()
        if len(inputs) > 1:
            pytest.skip("takes several inputs, which only FiniteDifference does")
        before = wiring(model), numbers(model)
        # A step is chosen from points near the inputs, which have no numbers.
        refusal = member.refused.partition(" for input")[0] if entry == "choose_step" else member.refused
        with zoo.seeded(3), pytest.raises((ValueError, TypeError), match=refusal) as caught:
            ENTRIES[entry](model, inputs[0], member.target)
        after = wiring(model), numbers(model)
    assert len(str(caught.value).splitlines()) == 1
    if not member.changes_itself:
        assert differences(before[0], after[0]) + differences(before[1], after[1]) == []


@members(lambda member: member.alone)
def test_rows_that_see_each_other_have_no_exact_gradient_either(member):
    model, inputs = member.model(), member.points()
    try:
        torch.autograd.grad(model(inputs[0][:1].clone().requires_grad_()).double().sum(), [])
    except Exception:  # noqa: BLE001 - a model without a gradient
        return
    with pytest.raises((ValueError, TypeError), match=member.refused) as caught:
        attribute(model, inputs[0], target=member.target, gradient="exact")
    assert len(str(caught.value).splitlines()) == 1

"""A model without a gradient is compared with the exact gradient of its twin."""

import copy

import pytest

from approxgrad.figures.figure import reference_label
from small_studies import DEFAULT, difference, entry, faults, key, study

BOX = {"function": "own_functions:predict", "twin": "mlp"}
PUBLISHED = ["integrated_gradients", "integrated_gradients_published"]


def models(**changes):
    return copy.deepcopy(DEFAULT["models"]) | changes


def boxed(*experiments, **box):
    return study(*experiments, models=models(box=BOX | box))


def test_the_exact_gradient_of_the_twin_is_computed_and_compared_with():
    own = boxed(entry(difference(steps=[0.1, 1], dtypes=["float32", "float64"]), models=["box"]))
    names = [(cell.model, cell.gradient.name) for cell in own.cells]
    approximated = ["forward-h0.1", "forward-h0.1-float64", "forward-h1", "forward-h1-float64"]
    assert names == [*(("box", name) for name in approximated), ("mlp", "exact"), ("mlp", "exact-float64")]
    assert own.models == [("synthetic_linear", "box"), ("synthetic_linear", "mlp")]
    assert own.comparisons == [("synthetic_linear", "box", "saliency")]
    found = own.references("synthetic_linear", "box", "saliency")
    assert [key(cell) for cell in found] == [
        ("synthetic_linear", "mlp", "saliency", name) for name in ("exact", "exact-float64")
    ]
    assert [own.is_reference(cell) for cell in own.cells] == [False] * 4 + [True] * 2
    assert [key(cell)[1:] for cell in own.reference_cells] == [("mlp", "saliency", "exact")]
    assert reference_label(own, "saliency", "synthetic_linear", "box") == "exact gradients of its twin MLP"


def test_a_twin_that_is_itself_studied_is_computed_once():
    alone = study(entry(models=["mlp"]))
    both = boxed(entry(models=["mlp", "box"]))
    assert [cell for cell in both.cells if cell.model == "mlp"] == alone.cells
    assert both.exact("synthetic_linear", "box", "saliency") == both.exact("synthetic_linear", "mlp", "saliency")
    assert set(both.gradients) >= set(alone.gradients)


def test_a_method_that_refers_to_another_one_is_compared_with_that_one_of_the_twin():
    own = boxed(entry(models=["box"], methods=["integrated_gradients_published"]))
    cell = own.exact("synthetic_linear", "box", "integrated_gradients_published")
    assert key(cell) == ("synthetic_linear", "mlp", "integrated_gradients", "exact")
    assert reference_label(own, "integrated_gradients_published", "synthetic_linear", "box") == (
        "exact Integrated Gradients of its twin MLP"
    )


def test_a_twin_has_as_many_samples_as_any_model_needs():
    other = {"function": "own_functions:other", "twin": "mlp"}
    own = study(
        entry(models=["box"], samples=3), entry(models=["other"], samples=7), models=models(box=BOX, other=other)
    )
    assert [cell.samples for cell in own.cells if cell.model == "mlp"] == [7]
    few = boxed(entry(models=["mlp"], samples=9), entry(models=["box"], samples=3))
    assert [cell.samples for cell in few.cells if cell.gradient.is_exact] == [9]


def test_a_twin_with_too_few_samples_is_refused():
    (line,) = faults(entry(models=["mlp"], samples=3), entry(models=["box"], samples=9), models=models(box=BOX))
    assert line == (
        "experiments[1].models: box: has 9 samples of synthetic_linear, saliency, but its twin mlp has 3; "
        "expected at most as many"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"box": BOX | {"twin": "mpl"}},
            "models.box.twin: got 'mpl', expected a model with an exact gradient: cnn, mlp, ",
        ),
        (
            {"box": BOX | {"twin": "box"}},
            "models.box.twin: got 'box', expected a model with an exact gradient: cnn, mlp, ",
        ),
        (
            {"box": BOX, "mlp": DEFAULT["models"]["mlp"] | {"twin": "cnn"}},
            "models.mlp.twin: the model has an exact gradient of its own; leave it out",
        ),
    ],
    ids=["unknown", "itself", "differentiable"],
)
def test_twins_that_cannot_be_are_one_line(changes, expected):
    (line,) = faults(entry(models=["box"]), models=models(**changes))
    assert line.startswith(expected)
    assert ("(did you mean mlp?)" in line) == ("mpl" in line)


def test_a_twin_must_take_the_data():
    (line,) = faults(entry(models=["box"]), models=models(box=BOX | {"twin": "cnn"}))
    assert line == (
        "experiments[0].models: cnn, which box needs, does not fit synthetic_linear: "
        "architecture cnn: expected images with sides of at least 4 pixels, got shape (12,)"
    )


def test_without_twin_and_reference_both_ways_out_are_named():
    own = {"function": "own_functions:predict"}
    (line,) = faults(entry(difference(steps=[0.1, 1]), models=["box"]), models=models(box=own))
    assert line == (
        "experiments[0].reference: box has no exact gradient, so name the source that others are compared with: one of "
        "forward-h0.1, forward-h1; or a model with an exact gradient at models.box.twin"
    )


def test_a_reference_beside_twins_is_refused():
    (line,) = faults(entry(models=["box"], reference="forward-h0.1"), models=models(box=BOX))
    assert line.startswith("experiments[0].reference: all models or their twins have an exact gradient")

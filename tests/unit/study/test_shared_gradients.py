"""Gradients that methods share which are functions of input and gradient."""

import copy
from collections import Counter

from approxgrad.study.study import Study
from small_studies import DEFAULT, entry, key, study


def test_methods_that_are_functions_of_the_gradient_share_one_file():
    methods = ["saliency", "input_x_gradient", "integrated_gradients"]
    own = study(entry(methods=methods))
    folder = "results/gradients/dataset=synthetic_linear/model=mlp/samples=5"
    assert list(own.gradients) == [f"{folder}/gradient={name}/part-0.parquet" for name in ("exact", "forward-h0.1")]
    derived = [cell for cell in own.cells if own.is_derived(cell)]
    assert {cell.method for cell in derived} == set(methods[:2])
    for cell in derived:
        shared = own.shared_gradient(cell)
        assert shared is own.gradients[shared.path]
        assert (shared.dataset, shared.model, shared.gradient, shared.samples) == (
            cell.dataset,
            cell.model,
            cell.gradient,
            cell.samples,
        )
    assert [key(cell)[2:] for cell in own.evaluating] == [
        ("", "exact"),
        ("", "forward-h0.1"),
        ("integrated_gradients", "exact"),
        ("integrated_gradients", "forward-h0.1"),
    ]


def test_path_methods_share_no_gradient():
    own = study(entry(methods=["integrated_gradients", "integrated_gradients_published"]))
    assert own.gradients == {}
    assert own.evaluating == own.cells


def test_gradients_are_shared_by_methods_with_one_number_of_samples():
    own = study(entry(methods=["saliency", "input_x_gradient"], samples_by_method={"saliency": 2}))
    counts = [(shared.samples, shared.gradient.name) for shared in own.gradients.values()]
    assert counts == [(2, "exact"), (2, "forward-h0.1"), (5, "exact"), (5, "forward-h0.1")]
    for cell in own.cells:
        assert own.shared_gradient(cell).samples == cell.samples


def test_a_method_more_that_needs_only_the_gradient_evaluates_nothing_more():
    one, two = (study(entry(methods=methods)) for methods in (["saliency"], ["saliency", "input_x_gradient"]))
    assert one.evaluating == two.evaluating
    assert len(two.cells) == 2 * len(one.cells)


def test_the_default_study_evaluates_each_gradient_once():
    own = Study(copy.deepcopy(DEFAULT))
    derived = Counter(own.shared_gradient(cell).path for cell in own.cells if own.is_derived(cell))
    # Of the networks for saliency and Gradient x Input, of those that are made from them for saliency.
    assert {path: 1 if "model=cnn_" in path else 2 for path in own.gradients} == derived
    assert len(own.evaluating) == len(own.cells) - derived.total() + len(own.gradients)


def test_only_shared_gradients_and_path_methods_are_cut():
    own = study(entry(methods=["saliency", "integrated_gradients"], samples=300), shards=3)
    counts = {(type(cell).__name__, *key(cell)[2:]): cell.shards for cell in [*own.cells, *own.gradients.values()]}
    assert counts == {
        ("Cell", "saliency", "exact"): 1,
        ("Cell", "saliency", "forward-h0.1"): 1,
        ("Cell", "integrated_gradients", "exact"): 1,
        ("Cell", "integrated_gradients", "forward-h0.1"): 3,
        ("SharedGradient", "", "exact"): 1,
        ("SharedGradient", "", "forward-h0.1"): 1,
    }
    rows = {"train": 2, "validation": 2, "test": 12000}
    many = {
        "datasets": DEFAULT["datasets"] | {"synthetic_linear": DEFAULT["datasets"]["synthetic_linear"] | {"rows": rows}}
    }
    wide = study(entry(samples=12000), shards=3, **many)
    # Thirteen evaluations for each sample, in blocks of 65,536.
    assert {cell.shards for cell in wide.cells} == {1}
    assert [cell.shards for cell in wide.gradients.values()] == [1, 3]

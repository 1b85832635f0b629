import json

import pytest
import torch

from approxgrad.gradients.directional.budgeted_directions import Directions
from approxgrad.gradients.published.sources import Sampling, Smoothing, Surrogate
from approxgrad.gradients.source import Source, source_of, sources
from approxgrad.methods.attribution import attribute_with
from approxgrad.methods.method import METHODS
from approxgrad.study.needs import spectrum_path
from problems import RecordingModel
from small_studies import entry, faults, study

SALIENCY = METHODS["saliency"]()
INTEGRATED = METHODS["integrated_gradients"](n_steps=5)
PUBLISHED = METHODS["integrated_gradients_published"](n_steps=3)
KINDS = [
    Directions("cosine", (2,)),
    Directions("haar", (2,), scheme="central"),
    Directions("random", (2,), step=0.5),
    Smoothing("spsa", (2,)),
    Smoothing("gaussian", (2,), step=0.5),
    Sampling("geex", (2,), sigma=0.2),
    Sampling("gefa", (2,)),
    Surrogate("kernel_shap", (2,)),
    Surrogate("lime", (2,)),
]


def ids(kind):
    return kind.family


@pytest.mark.parametrize("features", [1, 3, 12])
@pytest.mark.parametrize("budget", [2, 3, 7, 40, 61])
@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_costs_are_what_is_evaluated(kind, budget, features):
    if kind.variant == "kernel_shap" and features == 1:
        return  # refused
    source = Source(kind.only(budget, "float32"), budget)
    x = torch.linspace(-1, 1, 2 * features).reshape(2, features)
    for method, values in ((SALIENCY, 1), (INTEGRATED, 1), (PUBLISHED, features)):
        if kind.along_path and method is not INTEGRATED:
            continue
        model = RecordingModel(lambda x: x.square().sum(dim=1))
        made = source.kind.gradient(budget, seed=1)
        made.check_rows, made.batch_size = False, 16
        starts = torch.arange(features) / 8 if values > 1 else torch.zeros(features)
        attribute_with(method, model, x, None, made, starts, check_rows=False)
        spent = len(model.rows)
        assert spent == 2 * method.evaluations(source, (features,), values)
        if method is not PUBLISHED:
            assert spent <= 2 * budget


def test_names_tell_the_budget_and_options_that_differ_from_the_defaults():
    names = [source.name for kind in KINDS for source in sources(kind)]
    assert names == [
        "cosine-n2",
        "haar-central-n2",
        "random-step0.5-n2",
        "spsa-n2",
        "gaussian-step0.5-n2",
        "geex-sigma0.2-n2",
        "gefa-n2",
        "kernel_shap-n2",
        "lime-n2",
    ]
    assert KINDS[2].label == "random directions, step 0.5"
    assert Directions("cosine", (2,), pilots=5, step_unit="spread").family == "cosine-pilots5-spread"
    for kind in KINDS:
        for own in sources(kind.only(1000, "float64")):
            assert source_of(json.loads(json.dumps(own.entry))) == own


def test_families_have_a_look_whatever_their_options():
    for kind in KINDS:
        assert kind.family in kind.colours
        assert kind.family in kind.markers


def test_a_source_may_be_given_twice_with_other_budgets():
    own = [{"smoothing": "spsa", "budgets": budgets} for budgets in ([4, 8], [8, 20])]
    names = [cell.gradient.name for cell in study(entry(*own)).cells]
    assert names == ["exact", "spsa-n4", "spsa-n8", "spsa-n20"]


def test_only_methods_with_a_path_take_a_whole_attribution():
    own = {"sampling": "gefa", "budgets": [10]}
    made = study(entry(own, methods=["saliency", "integrated_gradients", "integrated_gradients_published"]))
    assert {cell.method for cell in made.cells if cell.gradient.name == "gefa-n10"} == {"integrated_gradients"}
    assert faults(entry(own)) == [
        "experiments[0].gradients: gefa-n10 attributes along a whole path, which is not for saliency; add a method of "
        "the kind integrated_gradients, or leave it out"
    ]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"budgets": [1]}, "budgets[0]: got 1, expected at least 2"),
        ({"budgets": ["200"]}, "budgets[0]: got '200', expected an integer"),
        ({"budgets": [2.0]}, "budgets[0]: got 2.0, expected an integer"),
        ({"budgets": []}, "budgets: got [], expected at least 1 value(s)"),
        ({"budgets": [200, 200]}, "budgets: got [200, 200], expected no value twice (200 is)"),
        ({"budgets": 200}, "budgets: got 200, expected a list"),
        ({}, "budgets: is missing"),
    ],
)
def test_budgets_that_do_not_fit_are_refused_in_one_line(options, fault):
    for own in ({"directions": "cosine"}, {"smoothing": "spsa"}, {"sampling": "geex"}, {"surrogate": "lime"}):
        assert faults(entry(own | options)) == [f"gradients.g0_0.{fault}"]


def test_pilots_order_directions_that_have_an_order():
    own = {"directions": "cosine", "budgets": [4, 8], "pilots": 3}
    made = study(entry(own, methods=["saliency", "input_x_gradient", "integrated_gradients"]))
    path = "results/spectra/dataset=synthetic_linear/model=mlp/gradient=cosine-pilots3/part-0.parquet"
    ((key, pilots),) = made.spectra.items()
    assert (key, pilots.evaluations(12)) == (path, 39)
    assert {spectrum_path(cell) for cell in made.evaluating if not cell.gradient.is_exact} == {path}
    assert {spectrum_path(cell) for cell in made.evaluating if cell.gradient.is_exact} == {""}
    assert faults(entry(own | {"directions": "random"})) == [
        "gradients.g0_0.pilots: only directions of cosine, haar, pixels have them, not random; leave it out"
    ]


def test_a_width_of_noise_that_nothing_has_is_refused():
    (fault,) = faults(entry({"sampling": "gefa", "budgets": [4], "sigma": 0.1}))
    assert fault == "gradients.g0_0.sigma: is an option of geex, not of gefa; leave it out"

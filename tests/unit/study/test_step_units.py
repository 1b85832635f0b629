"""Steps of a study in units of spreads, along random directions, and along the paths of its methods."""

import json

import numpy as np
import pytest
import torch

from approxgrad import DirectionalDifference, FiniteDifference, attribute
from approxgrad.descriptions import read
from approxgrad.gradients.source import SOURCES, source_of, sources
from approxgrad.models.model_files import load_model
from approxgrad.storage.splits import Split, read_input_spread, read_mean_input, write_split
from approxgrad.storage.step_tables import write_choice
from approxgrad.study.cells import attribute_cell
from approxgrad.study.chosen_steps import choose_model_step
from approxgrad.study.needs import needs_training_rows
from approxgrad.study.subjects import feature_spread
from small_cells import saved_perceptron
from small_studies import difference, entry, faults, study

CPU = torch.device("cpu")
FEATURES, SAMPLES, SEED = 4, 3, 5
SALIENCY, INTEGRATED = {"attribution": "saliency"}, {"attribution": "integrated_gradients", "n_steps": 5}


def one(entry):
    kind = next(name for name in SOURCES if name in entry)
    (own,) = sources(read(SOURCES[kind], entry))
    return own


@pytest.fixture
def files(tmp_path):
    """Weights, test and training split of a regression whose last feature is constant in the training rows."""
    for seed, part in enumerate(("test", "train")):
        random = np.random.default_rng(seed)
        features = (random.normal(size=(300, FEATURES)) * [0.1, 1, 40, 1]).astype(np.float32)
        if part == "train":
            features[:, 3] = 7
        own = Split(features, features[:, 0].copy(), None, (FEATURES,), (), (0.5,), (2.0,))
        write_split(tmp_path / f"{part}.parquet", own, {})
    parts = {"test": tmp_path / "test.parquet", "training": tmp_path / "train.parquet"}
    return saved_perceptron(tmp_path, FEATURES) | parts


def spread():
    features = (np.random.default_rng(1).normal(size=(300, FEATURES)) * [0.1, 1, 40, 1]).astype(np.float32)
    own = features.astype(float).std(axis=0) / 2
    own[3] = np.median(own[:3])
    return torch.from_numpy(own)


def cell(files, gradient, method=SALIENCY, **changes):
    options = {"samples": SAMPLES, "sample_seed": 11, "memory_mib": None, "device": CPU, "seed": SEED}
    return attribute_cell(**files | options | changes, gradient=one(gradient).entry, method=method)[0]


def attributed(files, result, source, **options):
    model = load_model(files["weights"], CPU)
    inputs = torch.from_numpy(result.inputs)
    return attribute(model, inputs, gradient=source, **options).numpy()


# Names


@pytest.mark.parametrize(
    ("gradient", "name", "setting_name"),
    [
        ({"difference": "central", "steps": [0.3]}, "central-h0.3", "step"),
        ({"difference": "central", "steps": [0.3], "step_unit": "spread"}, "central-spread-h0.3", "step_per_spread"),
        ({"difference": "forward", "steps": ["path"]}, "forward-path", "step_per_path"),
        ({"difference": "forward", "steps": ["path"], "dtypes": ["float64"]}, "forward-path-float64", "step_per_path"),
        ({"orthogonal": "central", "steps": [3]}, "orthogonal-central-h3", "directional_step"),
        ({"orthogonal": "forward", "steps": ["auto"]}, "orthogonal-forward-auto", "directional_step"),
        (
            {"orthogonal": "central", "steps": [3], "step_unit": "spread"},
            "orthogonal-central-spread-h3",
            "directional_step_per_spread",
        ),
    ],
)
def test_names_tell_what_steps_are_multiples_of(gradient, name, setting_name):
    own = one(gradient)
    assert (own.name, own.kind.setting_name) == (name, setting_name)
    assert own.family in own.kind.colours
    assert own.family in own.kind.markers
    assert own.kind.setting_label
    assert source_of(json.loads(json.dumps(own.entry))) == own


def test_families_of_one_study_are_drawn_apart():
    gradients = [
        difference("forward", [0.1, "path"]),
        {"difference": "forward", "steps": [0.3], "step_unit": "spread"},
        {"orthogonal": "central", "steps": [1, 3]},
    ]
    families = study(entry(*gradients, methods=["integrated_gradients"])).families("synthetic_linear")
    assert list(families) == ["exact", "forward", "forward-spread", "forward-path", "orthogonal-central"]
    assert len({look["label"] for look in families.values()}) == 5
    assert families["forward-path"]["settings"] == []
    assert families["orthogonal-central"]["settings"] == [1, 3]


# Cells


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
@pytest.mark.parametrize("method", [SALIENCY, INTEGRATED])
def test_orthogonal_directions_cost_what_the_plan_says_and_come_from_the_seed(files, method, scheme):
    gradient = {"orthogonal": scheme, "steps": [0.5]}
    result = cell(files, gradient, method)
    assert result.metadata["model_evaluations"] == SAMPLES * result.metadata["evaluations"]
    name, options = method["attribution"], {key: value for key, value in method.items() if key == "n_steps"}
    source = DirectionalDifference(0.5, scheme, seed=SEED)
    expected = attributed(files, result, source, method=name, **options)
    np.testing.assert_allclose(result.attribution, expected, rtol=1e-5, atol=1e-6)
    assert not np.array_equal(result.attribution, cell(files, gradient, method, seed=SEED + 1).attribution)


@pytest.mark.parametrize("kind", ["difference", "orthogonal"])
def test_steps_in_spreads_are_multiples_of_each_features_standard_deviation(files, kind):
    result = cell(files, {kind: "central", "steps": [0.3], "step_unit": "spread"})
    source = (FiniteDifference if kind == "difference" else DirectionalDifference)(0.3 * spread(), "central")
    if kind == "orthogonal":
        source.seed = SEED
    np.testing.assert_allclose(result.attribution, attributed(files, result, source), rtol=1e-4, atol=1e-6)
    assert result.metadata["setting"] == 0.3
    assert result.metadata["rounding_step"] == pytest.approx(0.3 * float(spread().min()), rel=1e-5)


def test_a_budget_is_no_step_of_which_rounding_is_known(files):
    for kind in ({"directions": "cosine", "step_unit": "spread"}, {"smoothing": "spsa", "step_unit": "spread"}):
        metadata = cell(files, kind | {"budgets": [4]}).metadata
        assert (metadata["setting"], metadata["rounding_step"]) == (4, None)


def test_steps_in_spreads_need_the_training_rows(files):
    gradient = {"difference": "forward", "steps": [0.3], "step_unit": "spread"}
    own = study(entry(gradient, difference()))
    cells = {cell.gradient.name: cell for cell in own.evaluating}
    assert needs_training_rows(own, cells["forward-spread-h0.3"])
    assert not needs_training_rows(own, cells["forward-h0.1"])
    with pytest.raises(ValueError, match=r"^step_unit: spread needs the training split$"):
        cell(files, gradient, training=None)


def test_the_spread_of_large_numbers_keeps_its_digits(tmp_path):
    features = 1e8 + np.random.default_rng(0).normal(size=(9000, 2)) * [1, 1e-3]
    own = Split(features, np.zeros(9000, np.float32), None, (2,), (), (1e8,), (2.0,))
    write_split(tmp_path / "train.parquet", own, {})
    np.testing.assert_allclose(read_input_spread(tmp_path / "train.parquet"), features.std(axis=0) / 2, rtol=1e-4)


def test_images_have_a_spread_for_each_feature_and_a_normalisation_for_each_channel(tmp_path):
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    own = Split(features, np.zeros(50, np.int64), None, (2, 2, 2), ("a",), (0.0, 1.0), (1.0, 4.0))
    write_split(tmp_path / "train.parquet", own, {})
    expected = own.model_inputs().astype(float).std(axis=0)
    np.testing.assert_allclose(feature_spread(tmp_path / "train.parquet", (2, 2, 2)), expected, rtol=1e-5)


def test_training_rows_that_are_all_the_same_have_no_spread(tmp_path):
    own = Split(np.full((5, 3), 1.1, np.float32), np.zeros(5, np.float32), None, (3,), (), (0.0,), (1.0,))
    write_split(tmp_path / "train.parquet", own, {})
    with pytest.raises(ValueError, match=r"^step_unit: all features of .* are constant, so they have no spread"):
        feature_spread(tmp_path / "train.parquet", (3,))


@pytest.mark.parametrize("kind", ["difference", "orthogonal"])
@pytest.mark.parametrize("path", [{}, {"baseline": "mean", "n_steps": 4}])
def test_a_step_is_chosen_in_spreads(files, tmp_path, kind, path):
    gradient = {kind: "central", "steps": ["auto"], "step_unit": "spread"}
    options = {"samples": 20, "sample_seed": 11, "seed": 3, "memory_mib": None, "device": CPU}
    choice, metadata = choose_model_step(**files, path_options=path, gradient=one(gradient).entry, **options)
    assert metadata["samples"] == 20
    write_choice(tmp_path / "choice.parquet", choice, {})
    method = {"attribution": "integrated_gradients", **path} if path else SALIENCY
    chosen = cell(files, gradient, method, choice=tmp_path / "choice.parquet", samples=20)
    fixed = cell(files, gradient | {"steps": [choice.step]}, method, samples=20)
    np.testing.assert_array_equal(chosen.attribution, fixed.attribution)
    exact = attributed(
        files,
        fixed,
        "exact",
        method=method["attribution"],
        **({"n_steps": 4, "baselines": torch.from_numpy(read_mean_input(files["training"]))} if path else {}),
    )
    errors, sizes = np.linalg.norm(fixed.attribution - exact, axis=1), np.linalg.norm(exact, axis=1)
    # A row may meet a kink.
    assert np.median(errors[sizes > 0] / sizes[sizes > 0]) < 1e-2


# Paths


@pytest.mark.parametrize("scheme", ["forward", "backward", "central"])
def test_steps_along_the_path_cost_what_the_plan_says(files, scheme):
    result = cell(files, {"difference": scheme, "steps": ["path"]}, INTEGRATED)
    assert result.metadata["model_evaluations"] == SAMPLES * result.metadata["evaluations"]
    assert (result.metadata["setting"], result.metadata["setting_name"]) == (1 / 5, "step_per_path")
    source = FiniteDifference("path", scheme)
    expected = attributed(files, result, source, method="integrated_gradients", n_steps=5)
    np.testing.assert_allclose(result.attribution, expected, rtol=1e-5, atol=1e-6)
    lengths = np.linalg.norm(result.inputs, axis=1)
    assert result.metadata["rounding_step"] == pytest.approx(np.median(lengths) / 5 / np.sqrt(FEATURES), rel=1e-5)


def test_only_methods_with_such_steps_have_cells_with_them():
    methods = ["saliency", "integrated_gradients", "integrated_gradients_published"]
    own = study(entry(difference("forward", [0.1, "path"]), methods=methods))
    assert [cell.method for cell in own.cells if cell.gradient.name == "forward-path"] == ["integrated_gradients"]
    assert len([cell for cell in own.cells if cell.gradient.name == "forward-h0.1"]) == 3


def test_a_study_none_of_whose_methods_has_such_steps_is_refused():
    (said,) = faults(entry(difference("forward", [0.1, "path"])))
    assert said == (
        "experiments[0].gradients: forward-path attributes along a whole path, which is not for saliency; add a method "
        "of the kind integrated_gradients, or leave it out"
    )


@pytest.mark.parametrize(
    ("gradient", "said"),
    [
        ({"difference": "forward", "steps": ["paths"]}, "gradients.g0_0.steps[0]"),
        ({"orthogonal": "forward", "steps": ["path"]}, "gradients.g0_0.steps[0]"),
        ({"difference": "forward", "steps": [1], "step_unit": "metre"}, "gradients.g0_0.step_unit"),
    ],
)
def test_words_that_there_are_not(gradient, said):
    assert any(line.startswith(said) for line in faults(entry(gradient)))

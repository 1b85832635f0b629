import json
from dataclasses import asdict, dataclass

import numpy as np
import pytest
import torch

from approxgrad import CompiledModel, FiniteDifference, attribute
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.gradients.source import exact_source
from approxgrad.methods.method import METHODS
from approxgrad.methods.path_ends import path_ends
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.seeds import draw_samples
from approxgrad.storage.attributions import SOURCE_COLUMNS, read_attributions, write_attributions
from approxgrad.storage.splits import Split, read_split, write_split
from approxgrad.storage.step_tables import write_choice
from approxgrad.storage.table_checks import TableError
from approxgrad.study import cells, shards, subjects
from approxgrad.study.cells import attribute_cell
from approxgrad.study.shards import merged
from approxgrad.study.subjects import baseline_values
from compilers import needs_compiler
from small_cells import saved_perceptron
from small_studies import source

CPU = torch.device("cpu")
FEATURES, SAMPLES, PATH_STEPS, SEED = 4, 3, 5, 11
BASELINES = {"zero": 1, "mean": FEATURES, 0.25: 1, (0.5, 1.0, 0.5, 1.0): 2}


@dataclass
class Chosen:
    """A stand-in of approxgrad.steps.choice.StepChoice."""

    step: float
    scheme: str
    noise: float
    curvature: float | None
    evaluations: int


def split(rows, seed, **changes):
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, FEATURES)).astype(np.float32)
    columns = {"target": random.normal(size=rows).astype(np.float32), "effects": features / 2}
    return Split(features, feature_shape=(FEATURES,), **columns | changes)


@pytest.fixture
def files(tmp_path):
    """Weights, test and training split of a regression."""
    write_split(tmp_path / "test.parquet", split(8, 1, mean=(0.5,), std=(2.0,)), {})
    write_split(tmp_path / "train.parquet", split(20, 2, mean=(0.5,), std=(2.0,)), {})
    return saved_perceptron(tmp_path, FEATURES) | {"test": tmp_path / "test.parquet", "training": None}


def test_names_and_origins_travel_with_the_rows(files, tmp_path):
    names = {"feature_names": tuple("abcd"), "feature_groups": ("a", "b", "b", "d")}
    origin = np.array([str(10 * row) for row in range(8)])
    write_split(tmp_path / "test.parquet", split(8, 1, origin=origin, notes=("something was done",), **names), {})
    assert read_split(tmp_path / "test.parquet").notes == ("something was done",)
    result = cell(files, {"attribution": "saliency"})
    write_attributions(tmp_path / "own.parquet", result)
    found = read_attributions(tmp_path / "own.parquet")
    assert found.origin.tolist() == [str(10 * row) for row in found.sample]
    assert (found.names.features, found.names.shown, found.names.classes) == (tuple("abcd"), ("a", "b", "d"), ())
    totals = found.names.totals(found.attribution)
    np.testing.assert_array_equal(totals[:, 1], found.attribution[:, 1] + found.attribution[:, 2])


def gradient(scheme, step=0.5, dtype="float32"):
    return exact_source(dtype) if scheme == "exact" else source(step, dtype, scheme)


def cost(method, scheme, baseline_values=1):
    """Evaluations for the samples of a cell."""
    options = {name: value for name, value in method.items() if name == "n_steps"}
    own = METHODS[method["attribution"]](**options)
    return SAMPLES * own.evaluations(gradient(scheme), (FEATURES,), baseline_values)


def cell(files, method, scheme="forward", step=0.5, dtype="float32", **changes):
    options = {"gradient": gradient(scheme, step, dtype).entry, "samples": SAMPLES, "sample_seed": SEED}
    result, seconds = attribute_cell(**files | options | {"memory_mib": None, "device": CPU} | changes, method=method)
    assert seconds > 0
    return result


def path_method(name, baseline):
    return {
        "attribution": name,
        "baseline": list(baseline) if isinstance(baseline, tuple) else baseline,
        "n_steps": PATH_STEPS,
    }


@pytest.mark.parametrize("scheme", ["exact", "forward", "backward", "central"])
@pytest.mark.parametrize("method", ["gradient", "saliency", "input_x_gradient"])
def test_gradient_methods_cost_what_the_cost_model_says(files, method, scheme):
    result = cell(files, {"attribution": method}, scheme)
    assert result.metadata["model_evaluations"] == cost({"attribution": method}, scheme)
    assert result.metadata["model_evaluations"] == SAMPLES * result.metadata["evaluations"]


@pytest.mark.parametrize("scheme", ["exact", "forward", "backward", "central"])
@pytest.mark.parametrize("baseline", BASELINES, ids=str)
@pytest.mark.parametrize("method", ["integrated_gradients", "integrated_gradients_published"])
def test_path_methods_cost_what_the_cost_model_says(files, method, baseline, scheme):
    training = files["test"].with_name("train.parquet") if baseline == "mean" else None
    result = cell(files, path_method(method, baseline), scheme, training=training)
    assert result.metadata["model_evaluations"] == cost(path_method(method, baseline), scheme, BASELINES[baseline])
    assert result.metadata["model_evaluations"] == SAMPLES * result.metadata["evaluations"]


def test_maps_are_those_of_the_drawn_rows(files):
    result = cell(files, {"attribution": "saliency"})
    rows = draw_samples(8, SAMPLES, SEED)
    part = split(8, 1, mean=(0.5,), std=(2.0,)).rows(rows)
    np.testing.assert_array_equal(result.sample, rows)
    np.testing.assert_array_equal(result.inputs, part.model_inputs())
    np.testing.assert_array_equal(result.truth, part.effects)
    assert result.target is None
    model = load_model(files["weights"], CPU)
    maps = attribute(model, torch.from_numpy(part.model_inputs()), gradient=FiniteDifference(0.5))
    np.testing.assert_allclose(result.attribution, maps.numpy(), rtol=1e-5, atol=1e-6)


def test_a_baseline_reaches_the_attribution(files):
    zero, mean, number = (
        cell(files, path_method("integrated_gradients", baseline), training=files["test"].with_name("train.parquet"))
        for baseline in ("zero", "mean", 1.5)
    )
    assert not np.allclose(zero.attribution, mean.attribution)
    assert not np.allclose(zero.attribution, number.attribution)


@pytest.mark.parametrize("baseline", BASELINES, ids=str)
@pytest.mark.parametrize("method", ["integrated_gradients", "integrated_gradients_published"])
def test_path_methods_keep_the_outputs_at_both_ends(files, method, baseline):
    training = files["test"].with_name("train.parquet")
    result = cell(files, path_method(method, baseline), training=training)
    start = baseline_values(list(baseline) if isinstance(baseline, tuple) else baseline, training, (FEATURES,))
    model = load_model(files["weights"], CPU)
    with torch.inference_mode():
        ends = [
            model(torch.from_numpy(np.array(rows)))[:, 0]
            for rows in (result.inputs, np.broadcast_to(start, (1, FEATURES)))
        ]
    for got, expected in zip((result.output, result.baseline_output), ends, strict=True):
        assert (got.shape, got.dtype) == ((SAMPLES,), np.float64)
        # The same sums of at most six float32 products in batches of another size.
        np.testing.assert_allclose(got, expected.expand(SAMPLES), rtol=6 * 1.2e-7, atol=6 * 1.2e-7)


def test_methods_without_a_path_have_no_ends(files):
    result = cell(files, {"attribution": "saliency"})
    assert result.output is None
    assert result.baseline_output is None


def test_classes_are_explained_by_their_own_output(tmp_path):
    torch.manual_seed(0)
    description = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 2, "hidden": [6], "dropout": 0.0}
    model = build_model(**description).eval()
    save_model(tmp_path / "weights", model, description)
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    data = split(8, 1, target=labels, effects=None, classes=("a", "b"))
    write_split(tmp_path / "test", data, {})
    result = cell(
        {"model": {"kind": "mlp"}, "weights": tmp_path / "weights", "test": tmp_path / "test", "training": None},
        {"attribution": "saliency"},
        "exact",
    )
    assert result.truth is None
    np.testing.assert_array_equal(result.target, labels[result.sample])
    inputs = torch.from_numpy(result.inputs).requires_grad_()
    chosen = model(inputs)[range(SAMPLES), result.target.tolist()].sum()
    np.testing.assert_allclose(result.attribution, torch.autograd.grad(chosen, inputs)[0].abs(), rtol=1e-5, atol=1e-7)
    ends = path_ends(model, inputs.detach(), torch.ones(1, FEATURES), torch.from_numpy(result.target), 100)
    with torch.inference_mode():
        for end, points in zip(ends, (inputs, torch.ones(SAMPLES, FEATURES)), strict=True):
            expected = model(points)[range(SAMPLES), result.target.tolist()]
            np.testing.assert_allclose(end, expected, rtol=6 * 1.2e-7, atol=6 * 1.2e-7)


def test_metadata_describes_the_cell_and_survives_the_file(files, tmp_path):
    method = path_method("integrated_gradients", 0.25)
    result = cell(files, method, "central", memory_mib=64)
    write_attributions(tmp_path / "cell.parquet", result)
    metadata = read_attributions(tmp_path / "cell.parquet").metadata
    assert json.dumps(metadata, sort_keys=True) == json.dumps(result.metadata, sort_keys=True)
    assert {name: metadata[name] for name in SOURCE_COLUMNS} == {
        "family": "central",
        "setting": 0.5,
        "setting_name": "step",
        "chosen": False,
        "dtype": "float32",
        "evaluations": PATH_STEPS * 2 * FEATURES,
    }
    assert (metadata["gradient"], metadata["signed"], metadata["method"]) == ("central-h0.5", True, method)
    assert metadata["step_choice"] is None
    assert metadata["normalisation"] == {"mean": [0.5], "std": [2.0]}
    assert metadata["feature_shape"] == [FEATURES]
    assert metadata["device"] == "cpu"
    assert metadata["batch_size"] >= 1


def test_metadata_say_whether_maps_have_a_sign(files):
    signed = {name: cell(files, {"attribution": name}).metadata["signed"] for name in ("saliency", "gradient")}
    assert signed == {"saliency": False, "gradient": True}


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "integrated_gradients_published"])
def test_float64_maps_are_those_of_a_model_in_float64(files, method):
    options = {"attribution": method} if method == "saliency" else path_method(method, 0.25)
    maps = {dtype: cell(files, options, "central", dtype=dtype) for dtype in ("float32", "float64")}
    inputs = maps["float64"].inputs
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, maps["float32"].inputs)
    assert {dtype: result.attribution.dtype for dtype, result in maps.items()} == {
        "float32": np.float32,
        "float64": np.float64,
    }
    others = {} if method == "saliency" else {"baselines": 0.25, "n_steps": PATH_STEPS}
    expected = attribute(
        load_model(files["weights"], CPU).double(),
        torch.from_numpy(inputs).double(),
        method=method,
        gradient=FiniteDifference(0.5, "central"),
        **others,
    )
    # Sums of a dozen terms of order one are off by a few eps; in float32 they would be off by 1e-7.
    np.testing.assert_allclose(maps["float64"].attribution, expected.numpy(), rtol=0, atol=1e-13)
    assert maps["float64"].metadata["dtype"] == "float64"


@needs_compiler
def test_a_compiled_model_changes_finite_differences_by_rounding_only(files, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        "approxgrad.study.ready_cells.CompiledModel", lambda model: compiled.append(model) or CompiledModel(model)
    )
    own, as_it_is = (cell(files, {"attribution": "saliency"}, compile_model=value) for value in (True, False))
    assert (own.metadata["compiled"], as_it_is.metadata["compiled"], len(compiled)) == (True, False, 1)
    assert own.metadata["model_evaluations"] == as_it_is.metadata["model_evaluations"]
    # A dozen terms of order one, each rounded, over the step.
    np.testing.assert_allclose(
        own.attribution, as_it_is.attribution, rtol=0, atol=2 * 12 * np.finfo(np.float32).eps / 0.5
    )
    exact = cell(files, {"attribution": "saliency"}, "exact", compile_model=True)
    assert (exact.metadata["compiled"], len(compiled)) == (False, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_is_attributed_without_weights_and_never_compiled(files, tmp_path, monkeypatch, dtype):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_function.py").write_text("def predict(rows):\n    return (rows**2).sum(axis=1)\n")
    plain = files | {"model": {"kind": "function", "function": "own_function:predict"}, "weights": None}
    result = cell(plain, {"attribution": "input_x_gradient"}, "central", dtype=dtype, compile_model=True)
    assert result.metadata["compiled"] is False
    # Sums of four squares below 100, each rounded, over the step, times an input below ten.
    rounding = 2 * 4 * 100 * np.finfo(dtype).eps / 0.5 * 10
    np.testing.assert_allclose(result.attribution, 2 * result.inputs.astype(dtype) ** 2, rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", [{"attribution": "saliency"}, path_method("integrated_gradients", "zero")])
def test_a_chosen_step_is_taken_from_its_table(files, tmp_path, method, dtype):
    choice = Chosen(step=0.25, scheme="central", noise=1e-7, curvature=None, evaluations=17)
    write_choice(tmp_path / "choice.parquet", choice, {})
    chosen = cell(files, method, "central", step="auto", dtype=dtype, choice=tmp_path / "choice.parquet")
    fixed = cell(files, method, "central", step=0.25, dtype=dtype)
    np.testing.assert_array_equal(chosen.attribution, fixed.attribution)
    name = "central-auto" if dtype == "float32" else "central-auto-float64"
    differing = {"step_choice": asdict(choice), "chosen": True, "gradient": name}
    assert chosen.metadata == fixed.metadata | differing
    assert chosen.metadata["setting"] == 0.25
    with pytest.raises(TableError, match=r"holds a step for the scheme 'central', expected 'forward'$"):
        cell(files, method, step="auto", choice=tmp_path / "choice.parquet")
    with pytest.raises(ValueError, match=r"^step: auto needs the table of a chosen step$"):
        cell(files, method, step="auto")


class Neighbours(torch.nn.Module):
    """A linear model whose outputs depend on the other rows of the batch, and which keeps the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, inputs):
        self.sizes.append(len(inputs))
        return (inputs * torch.arange(1, FEATURES + 1) + inputs.mean(dim=0)).sum(dim=1, keepdim=True)


@pytest.fixture
def neighbours(monkeypatch):
    model = Neighbours()
    monkeypatch.setattr(subjects, "open_model", lambda *_: model)
    return model


EVERY_METHOD = [
    {"attribution": "saliency"},
    {"attribution": "input_x_gradient"},
    path_method("integrated_gradients", "mean"),
    path_method("integrated_gradients_published", 0.25),
]


@pytest.mark.parametrize("scheme", ["exact", "forward"])
@pytest.mark.parametrize("method", EVERY_METHOD, ids=lambda method: method["attribution"])
def test_rows_that_see_each_other_are_refused_unless_they_are_evaluated_one_by_one(files, neighbours, method, scheme):
    files["training"] = files["test"].with_name("train.parquet")
    with pytest.raises(RowError, match=r"^model: outputs differ by .*; batch_size=1 evaluates rows one by one;"):
        cell(files, method, scheme)
    neighbours.sizes.clear()
    one_by_one = cell(files, method, scheme, batch_size=1)
    assert set(neighbours.sizes) == {1}
    assert one_by_one.metadata["batch_size"] == 1
    # Alone, a row is its own mean.
    start = baseline_values(method.get("baseline", 0), files["training"], (FEATURES,))
    factors = {"saliency": 1, "integrated_gradients_published": (one_by_one.inputs - start) * (PATH_STEPS + 1) / 10}
    expected = factors.get(method["attribution"], one_by_one.inputs - start) * np.arange(2, FEATURES + 2)
    np.testing.assert_allclose(one_by_one.attribution, np.broadcast_to(expected, (SAMPLES, FEATURES)), rtol=1e-4)


def test_the_check_is_counted_apart_and_can_be_switched_off(files, neighbours):
    unchecked = cell(files, {"attribution": "saliency"}, check_rows=False)
    # Three rows alone, and a batch of six, to see how much memory they take.
    assert unchecked.metadata["check_evaluations"] == 9
    checked = cell(files, {"attribution": "saliency"}, batch_size=1)
    # One row, twice.
    assert checked.metadata["check_evaluations"] == 2
    counts = {result.metadata["model_evaluations"] for result in (checked, unchecked)}
    assert counts == {cost({"attribution": "saliency"}, "forward")}


def test_every_shard_checks_the_same_rows(files, neighbours, monkeypatch):
    seen = []

    class Noted(FiniteDifference):
        def prepare(self, model, inputs, *arguments, **options):
            seen.append(inputs[0].numpy())
            return super().prepare(model, inputs, *arguments, **options)

    monkeypatch.setattr("approxgrad.gradients.finite_differences.FiniteDifference", Noted)
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 1)
    options = {"gradient": gradient("forward").entry, "samples": SAMPLES, "sample_seed": SEED}
    options |= {"method": {"attribution": "saliency"}, "memory_mib": None, "device": CPU, "batch_size": 1}
    parts = [attribute_cell(**files, **options, shard=(number, 5))[0] for number in range(1, 6)]
    # Of five shards of three samples, some are empty.
    assert sorted(len(part.sample) for part in parts) == [0, 0, 1, 1, 1]
    assert merged([part.metadata for part in parts])["check_evaluations"] == 2
    rows = split(8, 1, mean=(0.5,), std=(2.0,)).rows(draw_samples(8, 8, SEED)).model_inputs()
    assert len(seen) == 5
    assert all(np.array_equal(own, rows) for own in seen)


def test_lost_steps_are_those_of_all_blocks(files, monkeypatch):
    original = cells.attribute_with

    def attribute_losing_two(method, model, points, target, gradient, baselines):
        gradient.lost_steps += 2
        return original(method, model, points, target, gradient, baselines)

    monkeypatch.setattr(cells, "attribute_with", attribute_losing_two)
    monkeypatch.setattr(shards, "BLOCK_EVALUATIONS", 1)
    assert cell(files, {"attribution": "saliency"}).metadata["lost_steps"] == 2 * SAMPLES


def test_a_memory_budget_makes_batches_smaller_and_changes_no_map(files):
    wide = {"architecture": "mlp", "input_shape": (FEATURES,), "outputs": 1, "hidden": [60000], "dropout": 0.0}
    torch.manual_seed(0)
    save_model(files["weights"], build_model(**wide), wide)
    small, large = (cell(files, {"attribution": "saliency"}, memory_mib=limit) for limit in (1, None))
    assert small.metadata["batch_size"] < large.metadata["batch_size"]
    np.testing.assert_allclose(small.attribution, large.attribution, rtol=1e-3, atol=1e-5)


def test_too_many_samples_are_refused(files):
    with pytest.raises(ValueError, match=r"^samples: got 9, expected 1 to 8, the number of test rows$"):
        cell(files, {"attribution": "saliency"}, samples=9)

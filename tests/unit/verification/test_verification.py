import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from approxgrad.models.model_files import build_model
from approxgrad.models.saved import save_model
from approxgrad.provenance.dependencies import PACKAGE_ROOT
from approxgrad.provenance.document import described
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.study.study import Study
from approxgrad.verification.comparison import (
    Finding,
    VerificationError,
    _like,
    _table_difference,
    cell_tolerance,
    conclusion,
    described_cell,
    differences,
    files_of,
    map_difference,
    map_tolerance,
    origin_difference,
    value_difference,
    write_findings,
)
from approxgrad.verification.recomputation import Origin, with_absolute_paths

MLP = {"input_shape": [3], "outputs": 1, "architecture": "mlp", "hidden": [4], "dropout": 0.0}
CONFIG = Path(__file__).resolve().parents[3] / "config" / "config.yaml"
SCRIPT = str(PACKAGE_ROOT.parent / "scripts" / "attribute.py")
EPS = float(np.finfo(np.float32).eps)


def attributions(path, maps, origin=None, **metadata):
    source = {"family": "forward", "setting": 0.1, "setting_name": "step", "chosen": False, "evaluations": 4}
    document = source | {"dtype": "float32", "provenance": origin or {}}
    inputs = np.ones((len(maps), 3), np.float32)
    write_attributions(path, Attributions(np.arange(len(maps)), maps, inputs, None, None, document | metadata))
    return path


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


def test_one_bit_of_one_map_is_found(tmp_path, maps):
    first = attributions(tmp_path / "a.parquet", maps)
    assert value_difference(first, attributions(tmp_path / "b.parquet", maps), None) == ""
    maps[1, 2] = np.nextafter(maps[1, 2], np.float32(9))
    found = value_difference(first, attributions(tmp_path / "c.parquet", maps), None)
    assert found.startswith("attribution of row 1 is [")


def test_another_cost_or_batch_is_found(tmp_path, maps):
    paths = [attributions(tmp_path / f"{size}.parquet", maps, batch_size=size) for size in (8, 16)]
    assert value_difference(*paths, None) == "batch_size is 8 in the file, 16 now"


def test_under_other_conditions_maps_are_compared_with_a_tolerance(tmp_path, maps):
    first = attributions(tmp_path / "a.parquet", maps)
    second = attributions(tmp_path / "b.parquet", maps * np.float32(1 + 8 * EPS))
    assert value_difference(first, second, 10 * EPS) == ""
    assert "of their norm, expected at most" in value_difference(first, second, 6 * EPS)
    assert map_difference(maps, maps[:1], 1.0) == "shape (2, 3) in the file, (1, 3) now"


def test_the_tolerance_grows_with_the_terms_of_the_sums_and_the_inverse_of_the_step(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_model(path, build_model(**MLP), MLP)
    # Sums of 3 and of 4 products.
    assert map_tolerance(path, "float32") == 2 * 7 * EPS
    assert map_tolerance(path, "float32", 5.0 / 0.01) == pytest.approx(2 * 7 * EPS * 501)
    assert map_tolerance(path, "float64") == 2 * 7 * np.finfo(np.float64).eps
    assert map_tolerance(path, "float32", np.inf) == np.inf


def asked(method="saliency", models=None, experiments=None, gradients=None, **source):
    entry = {"datasets": ["synthetic_linear"], "models": ["mlp"], "methods": [method], "gradients": ["own"]}
    own = {"own": gradients or {"difference": "forward", "steps": [0.1]} | source}
    config = yaml.safe_load(CONFIG.read_text())
    own_experiments = experiments or [entry | {"samples": 2}]
    config |= {"gradients": own, "experiments": own_experiments} | ({} if models is None else {"models": models})
    return Study(config)


@pytest.fixture
def tolerance(tmp_path, monkeypatch, maps):
    """How far maps with a step of 0.1 may be apart, given what the reference says of rounding."""
    monkeypatch.chdir(tmp_path)
    save_model("weights.safetensors", build_model(**MLP), MLP)

    def found(scale, weights="weights.safetensors", step=0.1, **source):
        study = asked(**source)
        exact, cell = study.cells
        Path(exact.path).parent.mkdir(parents=True, exist_ok=True)
        attributions(exact.path, maps, rounding_scale=scale)
        again = attributions(tmp_path / "again.parquet", maps, rounding_step=step)
        return cell_tolerance(study, cell, weights, again)

    return found


@pytest.mark.parametrize("scale", [None, -1.0, "5.0"], ids=str)
def test_without_a_tolerance_only_equal_maps_agree(tolerance, maps, scale):
    assert tolerance(5.0) == pytest.approx(2 * 7 * EPS * 51)
    unknown = tolerance(scale)
    assert map_difference(maps, maps, unknown) == ""
    assert "no tolerance is known" in map_difference(maps, np.nextafter(maps, np.float32(9)), unknown)


@pytest.mark.parametrize("step", [None, 0.0])
def test_there_is_no_tolerance_for_models_without_weights_and_without_steps(tolerance, step):
    assert tolerance(5.0, weights=None) == np.inf
    assert tolerance(5.0, step=step) == np.inf
    assert tolerance(5.0, step=0.2, step_unit="spread") == pytest.approx(2 * 7 * EPS * 26)


@pytest.mark.parametrize(("form", "rounds"), [("onnx", True), ("int8-static", False)])
def test_a_network_in_an_onnx_file_rounds_like_the_one_that_it_comes_from(form, rounds):
    models = yaml.safe_load(CONFIG.read_text())["models"] | {"own": {"exported": {"of": "mlp", "as": form}}}
    experiment = {"datasets": ["synthetic_linear"], "models": ["own"], "methods": ["saliency"], "gradients": ["own"]}
    study = asked(models=models, experiments=[experiment | {"samples": 2}])
    cell = next(cell for cell in study.cells if cell.model == "own")
    expected = "results/models/dataset=synthetic_linear/model=mlp/weights.safetensors" if rounds else None
    assert _like(study, cell) == expected


def test_files_are_those_that_a_cell_comes_from():
    study = asked(steps=["auto"])
    exact, cell = study.cells
    files = files_of(study, cell)
    assert list(files) == ["data", "weights", "step", "gradient", "metrics"]
    assert files["gradient"] in study.gradients
    assert files["step"] in study.choices
    assert list(files_of(study, exact)) == ["data", "weights", "gradient", "metrics"]
    study = asked("integrated_gradients_mean", gradients={"directions": "cosine", "budgets": [9], "pilots": 2})
    assert list(files_of(study, study.cells[1])) == ["data", "weights", "spectrum", "metrics"]
    assert files_of(study, study.cells[1])["spectrum"] in study.spectra
    study = asked("integrated_gradients_mean")
    assert list(files_of(study, study.cells[1])) == ["data", "weights", "metrics"]


def test_metrics_of_other_conditions_are_compared_at_their_own_size():
    def table(error, cosine):
        return pa.table({"relative_error": [error], "cosine": [cosine]})

    assert _table_difference(table(4e-15, 1e-17), table(4e-15 * (1 + 1e-14), -1e-17), 1e-13) == ""
    assert _table_difference(table(4e-15, 0.5), table(5e-15, 0.5), 1e-13).startswith("relative_error of row 0")


def test_other_rounding_of_a_network_stays_within_the_tolerance(tmp_path):
    torch.manual_seed(0)
    options = {"input_shape": [30], "outputs": 1, "architecture": "mlp", "hidden": [64, 64], "dropout": 0.0}
    network = build_model(**options).eval()
    save_model(tmp_path / "weights.safetensors", network, options)
    inputs = torch.randn(20, 30, dtype=torch.float64)

    def gradient(dtype):
        points = inputs.to(dtype).requires_grad_()
        return torch.autograd.grad(network.to(dtype)(points).sum(), points)[0].double().numpy()

    exact, rounded = gradient(torch.float64), gradient(torch.float32)
    assert map_difference(rounded, exact, 0.0)
    assert map_difference(rounded, exact, map_tolerance(tmp_path / "weights.safetensors", "float32")) == ""


def test_a_file_of_other_code_configuration_or_input_is_found(tmp_path, maps):
    rows = tmp_path / "rows.csv"
    rows.write_text("1")
    now = Origin({"step": 0.1, "versions": {"numpy": "2"}}, [SCRIPT], {"test": str(rows)})
    recorded = described(now.parameters, now.code, now.inputs)
    path = str(attributions(tmp_path / "a.parquet", maps, origin=recorded))
    assert origin_difference(path, now) == ""
    # Other libraries are for the tolerance.
    assert origin_difference(path, Origin({**now.parameters, "versions": {}}, now.code, now.inputs)) == ""
    other_step = Origin({**now.parameters, "step": 0.2}, now.code, now.inputs)
    assert origin_difference(path, other_step) == "config.step is 0.1 in the file, 0.2 now"
    other_code = Origin(now.parameters, [SCRIPT, str(PACKAGE_ROOT / "study" / "cells.py")], now.inputs)
    assert origin_difference(path, other_code).startswith("code is '")
    rows.write_text("2")
    assert origin_difference(path, now).startswith("inputs.test is '")
    assert "cannot be read" in origin_difference(str(tmp_path / "b.parquet"), now)


def test_differences_name_the_entry():
    recorded, now = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"b": 2, "c": [1, 2]}, "e": 1}
    assert differences(recorded, now) == [
        "a.b is 1 in the file, 2 now",
        "d is 1 in the file, None now",
        "e is None in the file, 1 now",
    ]
    assert differences(recorded, recorded) == []


def test_findings_end_in_a_table_and_one_line(tmp_path):
    good, bad = Finding("x", "x.parquet", "values", ""), Finding("y", "y.parquet", "metrics", "other")
    write_findings(tmp_path / "cells.csv", [good, bad])
    with (tmp_path / "cells.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["agrees"] for row in table] == ["True", "False"]
    assert table[1] == {"cell": "y", "file": "y.parquet", "check": "metrics", "difference": "other", "agrees": "False"}
    assert conclusion([good]) == "1 cell(s), 1 checks, all agree"
    assert described_cell([good]) == "x: agrees"
    assert described_cell([bad]) == "y: differs in metrics of y.parquet"
    with pytest.raises(VerificationError, match=r"^y: metrics of y\.parquet: other; and 1 more cell\(s\)$"):
        conclusion([good, bad, Finding("z", "z", "values", "other")])


def test_own_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("")
    config = yaml.safe_load(CONFIG.read_text())
    columns = {"kind": "table", "task": "regression", "features": ["a"], "target": "b"}
    config["datasets"] |= {
        "one": columns | {"path": "a.csv"},
        "parts": columns | {"files": {"train": "b.csv", "test": "c.csv"}},
    }
    mlp = {"architecture": "mlp", "hidden": [4], "dropout": 0.0}
    far = {"repository": "owner/name", "file": "far.pt"}
    config["models"] |= {"own": mlp | {"weights": {"file": "c.pt"}}, "far": mlp | {"weights": far}}
    study = Study(config | {"extensions": ["own.py"]})
    expected = study.document
    expected["datasets"]["one"]["path"] = str(tmp_path / "a.csv")
    expected["datasets"]["parts"]["files"] |= {"train": str(tmp_path / "b.csv"), "test": str(tmp_path / "c.csv")}
    expected["models"]["own"]["weights"]["file"] = str(tmp_path / "c.pt")
    expected["extensions"] = [str(tmp_path / "own.py")]
    assert with_absolute_paths(study) == expected

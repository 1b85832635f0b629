"""Shapley values of trees as what Integrated Gradients of a study are compared with."""

import functools

import numpy as np
import pyarrow as pa
import pytest
import torch

from approxgrad import TreeModel, attribute, tree_shap
from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.figures.figure import reference_label
from approxgrad.models.tree_shap import ShapleyValues
from approxgrad.report.wording import setting
from approxgrad.storage.attributions import write_attributions
from approxgrad.storage.splits import Split, write_split
from approxgrad.study.cells import attribute_cell
from small_studies import difference, entry, faults, study
from tree_models import FEATURES, data, fitted

SHAPLEY = {"shapley": "trees"}
PATH = difference("central", ["path"])
TREES = {"trees": "xgboost", "file": "trees.json"}
TRAINING = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
NAMES = ("synthetic_linear", "boosted", "integrated_gradients")


def shapley_study(*experiments):
    return study(*experiments, models={"boosted": TREES})


def compared(**changes):
    given = {"models": ["boosted"], "methods": ["integrated_gradients"], "reference": "shapley"}
    return entry(PATH, SHAPLEY, **given | changes)


def cell(folder, gradient, **changes):
    model = {"kind": "trees", "trees": "xgboost", "file": str(folder / "trees.json")}
    given = {"model": model, "weights": None, "test": folder / "test.parquet", "training": None}
    return attribute_cell(
        **given,
        method={"attribution": "integrated_gradients", "n_steps": 8} | changes,
        gradient=gradient,
        samples=3,
        sample_seed=0,
        memory_mib=None,
        device=torch.device("cpu"),
    )[0]


@pytest.fixture
def folder(tmp_path):
    fitted("xgboost", 0).save_model(tmp_path / "trees.json")
    rows = data(0)[0][:6].astype(np.float32)
    write_split(tmp_path / "test.parquet", Split(rows, rows[:, 0].copy(), None, (FEATURES,), ()), {})
    return tmp_path


def test_a_cell_holds_the_values_of_the_library_at_no_evaluation(folder):
    start = [0.5] * FEATURES
    found = cell(folder, {"kind": "shapley", **SHAPLEY}, baseline=start)
    expected = tree_shap(TreeModel(folder / "trees.json"), found.inputs, np.array(start, np.float32))
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-6)
    np.testing.assert_allclose(found.attribution.sum(axis=1), found.output - found.baseline_output, rtol=1e-4)
    named = {name: found.metadata[name] for name in ("gradient", "family", "setting", "model_evaluations")}
    assert named == {"gradient": "shapley", "family": "shapley", "setting": None, "model_evaluations": 0}


def test_what_is_compared_with_it_says_so(folder):
    paths = []
    for gradient in ({"kind": "shapley", **SHAPLEY}, {"kind": "difference", **difference("central", ["path"])}):
        paths.append(folder / f"{gradient['kind']}.parquet")
        write_attributions(paths[-1], cell(folder, gradient))
    table = evaluate_method(paths[:1], paths[1:])
    assert set(table["reference"].to_pylist()) == {"shapley"}
    assert min(table["pearson"].to_pylist()) > 0.8
    # It stands in for precisions that it has none of.
    other = folder / "float64.parquet"
    found = cell(folder, {"kind": "difference", **difference("central", ["path"])})
    found.metadata["dtype"] = "float64"
    write_attributions(other, found)
    assert isinstance(evaluate_method(paths[:1], [other]), pa.Table)


def test_a_study_compares_each_method_with_its_own_reference():
    other = entry(difference(steps=[0.1, 1]), models=["boosted"], reference="forward-h1")
    own = shapley_study(compared(), other)
    assert own.exact(*NAMES).gradient.name == "shapley"
    assert own.exact(*NAMES[:2], "saliency").gradient.name == "forward-h1"
    assert [cell.gradient.name for cell in own.cells if own.is_reference(cell)] == ["shapley", "forward-h1"]
    assert reference_label(own, NAMES[2], *NAMES[:2]) == "TreeSHAP (another quantity)"
    looks = own.families("synthetic_linear")["shapley"]
    assert (looks["label"], looks["settings"]) == ("TreeSHAP (another quantity)", [])
    assert setting(float("nan"), looks) == looks["label"]


def test_one_method_has_one_reference():
    (line,) = faults(compared(), compared(reference="central-path"), models={"boosted": TREES})
    assert line.startswith("experiments[1].reference: got central-path, elsewhere it is shapley for synthetic_linear, ")


def test_it_may_stand_beside_another_reference_and_the_truth():
    own = shapley_study(compared(reference="central-path"))
    assert [cell.gradient.name for cell in own.approximated(*NAMES)] == ["shapley"]


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        (
            compared(methods=["integrated_gradients", "saliency"]),
            "experiments[0].reference: shapley attributes along a whole path, which is not for saliency, so it cannot "
            "be a reference for it; expected another source",
        ),
        (
            entry(SHAPLEY, methods=["integrated_gradients"]),
            "experiments[0].gradients: g0_0 needs trees, which mlp does not have; leave one of them out",
        ),
    ],
)
def test_what_has_no_such_values_is_refused(experiment, said):
    models = {"boosted": TREES, "mlp": {"architecture": "mlp", "hidden": [3], "dropout": 0, "training": TRAINING}}
    assert faults(experiment, models=models) == [said]


@pytest.mark.parametrize("wrap", [lambda model: model, functools.partial])
def test_in_python_they_take_the_place_of_integrated_gradients(wrap):
    rows, model = data(0)[0][:4], wrap(TreeModel(fitted("xgboost", 0)))
    # Rows with the same and with other baselines.
    starts = torch.from_numpy(np.stack([rows[1], rows[1], rows[3], rows[0]]).astype(np.float32))
    options = {"method": "integrated_gradients", "baselines": starts}
    found = attribute(model, rows, gradient=ShapleyValues(), **options)
    expected = [tree_shap(model, row[None], start)[0] for row, start in zip(rows, starts.numpy(), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"^gradient: Shapley values are attributions"):
        attribute(model, rows, gradient=ShapleyValues())
    with pytest.raises(ValueError, match=r"^model: has no trees"):
        attribute(lambda own: own[:, 0], rows, gradient=ShapleyValues(), method="integrated_gradients")

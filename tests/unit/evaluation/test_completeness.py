"""Completeness: the sum of the attributions against the difference of the outputs."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, attribute
from approxgrad.evaluation.completeness import residuals_table
from approxgrad.gradients.source import exact_source
from approxgrad.methods.path_ends import explained_outputs, path_ends
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.study.grid import Cell
from approxgrad.study.path_methods import complete_methods, path_cells, with_variants
from figure_data import described, source_of

EPS = 2.0**-23
ROWS, FEATURES = 5, 4


def written(path, maps, ends, family="exact", setting=None):
    metadata = described(family, setting)
    inputs = np.zeros((len(maps), 1), np.float32)
    write_attributions(path, Attributions(np.arange(len(maps)) + 7, maps, inputs, None, None, metadata, *ends))
    return path


def test_residuals_are_sums_minus_differences(tmp_path):
    maps = np.array([[1, 2], [0.5, -1], [1, 1]], np.float32)
    ends = np.array([5.0, 1.0, 2.0]), np.array([1.0, 3.0, 2.0])
    path = written(tmp_path / "a.parquet", maps, ends, "forward", 0.5)
    frame = residuals_table({"attributions": [path]}, {"methods": ["ig"]}).to_pandas()
    assert frame[
        ["method", "gradient", "family", "setting", "setting_name", "chosen", "dtype"]
    ].drop_duplicates().to_numpy().tolist() == [["ig", "forward-h0.5", "forward", 0.5, "step", False, "float32"]]
    assert frame["sample"].tolist() == [7, 8, 9]
    assert frame["attribution_sum"].tolist() == [3, -0.5, 2]
    assert frame["residual"].tolist() == [3 - 4, -0.5 + 2, 2]
    assert frame["relative_residual"].iloc[:2].tolist() == [-1 / 4, 1.5 / 2]
    assert np.isnan(frame["relative_residual"].iloc[2])


def test_sums_are_taken_in_float64(tmp_path):
    maps = np.full((1, 3), 2.0**24, np.float32)
    maps[0, 1:] = 1, 1
    path = written(tmp_path / "a.parquet", maps, (np.array([2.0**24]), np.array([0.0])))
    assert residuals_table({"attributions": [path]}, {"methods": ["ig"]})["residual"].to_pylist() == [2]


def test_integrated_gradients_are_complete_and_the_published_variant_is_not(tmp_path):
    torch.manual_seed(0)
    weight, rows = torch.rand(FEATURES) + 0.5, torch.rand(ROWS, FEATURES) + 0.5
    model = lambda x: (x * weight).sum(dim=1) ** 2  # noqa: E731 - its exact path integral is known
    baseline, steps = torch.zeros(1), 8
    ends = path_ends(model, rows, baseline, None, 100)
    paths, methods = [], []
    for method in ("integrated_gradients", "integrated_gradients_published"):
        for gradient in ("exact", FiniteDifference(0.5, "central")):
            maps = attribute(model, rows, method=method, gradient=gradient, baselines=0, n_steps=steps)
            name = f"{method}-{gradient}.parquet"
            paths.append(written(tmp_path / name, maps.numpy(), ends))
            methods.append(method)
    frame = residuals_table({"attributions": paths}, {"methods": methods}).to_pandas()
    worst = frame["relative_residual"].abs().groupby(frame["method"], sort=False).agg(["min", "max"])
    # The gradient is linear along the path, where Gauss-Legendre nodes and central differences are exact; what is left
    # is float32: outputs below 100 over a step of 0.5 and weights of the quadrature.
    assert worst["max"].iloc[0] < 100 * EPS
    # At path point k/n the gradient times the input is 2 k/n of the output, and the published variant weights it by
    # another k/n: its sum is 2 times the mean of (k/n)^2 of the output.
    expected = abs((2 * steps + 1) * (steps + 1) / (3 * steps**2) - 1)
    np.testing.assert_allclose(worst.iloc[1], expected, rtol=0, atol=100 * EPS)


def test_outputs_do_not_depend_on_the_batches(monkeypatch):
    rows = torch.arange(12.0).reshape(6, 2)
    model = torch.nn.Identity()
    whole = explained_outputs(model, rows, torch.tensor([0, 1, 0, 1, 0, 1]), 100)
    np.testing.assert_array_equal(whole, [0, 3, 4, 7, 8, 11])
    np.testing.assert_array_equal(explained_outputs(model, rows, torch.tensor([0, 1, 0, 1, 0, 1]), 4), whole)


def test_a_model_that_changes_its_inputs_leaves_the_callers_alone():
    rows = torch.ones(2, 3)
    assert explained_outputs(lambda x: x.mul_(2).sum(dim=1), rows, None, 100).tolist() == [6, 6]
    assert (rows == 1).all()


def test_files_without_outputs_are_named(tmp_path):
    path = written(tmp_path / "old.parquet", np.ones((2, 2), np.float32), (None, None))
    with pytest.raises(TableError, match=r"old.parquet: lacks the outputs at input and baseline; attribute it again$"):
        residuals_table({"attributions": [path]}, {"methods": ["ig"]})


@dataclass(frozen=True)
class Method:
    path: bool = True
    complete: bool = True


METHODS = {"ig": Method(), "mean": Method(complete=False), "saliency": Method(False, False)}


def study(*cells):
    """What is asked of a study; "mean" is compared with "ig"."""
    return SimpleNamespace(
        cells=[Cell("d", "m", method, gradient, 5) for method, gradient in cells],
        method=METHODS.get,
        is_reference=lambda cell: cell.gradient.is_exact,
        reference=lambda method: "ig" if method == "mean" else method,
    )


def test_only_paths_in_the_lowest_precision_without_chosen_settings_are_checked():
    fixed, fixed64, auto = source_of("forward", 0.5), source_of("forward", 0.5, "float64"), source_of("forward", "auto")
    cells = [("ig", exact_source()), ("ig", fixed), ("ig", auto), ("ig", fixed64), ("saliency", fixed)]
    checked = path_cells(study(*cells), "d", "m")
    assert [(cell.method, cell.gradient.name) for cell in checked] == [("ig", "exact"), ("ig", "forward-h0.5")]
    # The precision is that of the approximated attributions, where there are any.
    checked = path_cells(study(("ig", exact_source()), ("ig", exact_source("float64")), ("ig", fixed64)), "d", "m")
    assert [cell.gradient.name for cell in checked] == ["exact-float64", "forward-h0.5-float64"]
    assert path_cells(study(*cells), "d", "other") == []


def test_methods_that_should_be_complete_and_their_variants():
    own = study(("ig", exact_source()), ("mean", source_of("forward", 0.5)), ("saliency", exact_source()))
    assert complete_methods(own) == [("d", "m", "ig")]
    assert with_variants(own, "d", "m", "ig") == ["ig", "mean"]

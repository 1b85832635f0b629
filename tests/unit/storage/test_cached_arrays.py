"""Cached maps in the original study's format."""

import os
from pathlib import Path

import numpy as np
import pytest

from approxgrad.evaluation.metric_tables import arrays_table
from approxgrad.evaluation.metrics import compare
from approxgrad.storage.cached_arrays import find_arrays, read_arrays
from approxgrad.storage.table_checks import TableError

SHARED = Path(os.environ.get("APPROXGRAD_SHARED", Path(__file__).resolve().parents[4] / "shared"))
PATTERN = "CNN_{method}_{samples}_{step}.npz"
METHODS = {"Sal": "saliency", "GxI": "input_x_gradient", "Int": "integrated_gradients_published"}
STEPS = {"1e-5": 1e-5, "5e-5": 5e-5, "low": 1e-4, "medium": 0.01, "mediumhigh": 0.5, "high": 1.0}
NAMES = {"exact": "arr1", "approximated": "arr2"}


def write(path, exact, approximated):
    np.savez(path, arr1=exact, arr2=approximated)


def test_names_are_decoded_ordered_and_the_larger_file_wins(tmp_path):
    for name in (
        "CNN_Int_20_low.npz",
        "CNN_Sal_50_high.npz",
        "CNN_Sal_50_medium.npz",
        "CNN_Sal_50_mediumhigh.npz",
        "CNN_Sal_20_medium.npz",
        "CNN_Sal_50_1e-5.npz",
        "CNN_Unknown_50_low.npz",
        "CNN_Sal_50_low.txt",
        "CNN_Sal_x_low.npz",
    ):
        (tmp_path / name).touch()
    found = find_arrays(tmp_path, PATTERN, METHODS, STEPS)
    assert [(file.method, file.step, file.samples) for file in found] == [
        ("saliency", 1e-5, 50),
        ("saliency", 0.01, 50),
        ("saliency", 0.5, 50),
        ("saliency", 1.0, 50),
        ("integrated_gradients_published", 1e-4, 20),
    ]


def test_pattern_may_leave_out_the_samples_and_its_other_signs_are_literal(tmp_path):
    (tmp_path / "a+Sal.(low)").touch()
    assert [file.samples for file in find_arrays(tmp_path, "a+{method}.({step})", METHODS, STEPS)] == [0]
    assert find_arrays(tmp_path / "missing", PATTERN, METHODS, STEPS) == []


def test_measures_are_those_of_the_two_arrays(tmp_path):
    exact, approximated = np.random.default_rng(0).normal(size=(2, 6, 30)).astype(np.float32)
    write(tmp_path / "a.npz", exact, approximated)
    table = arrays_table(
        {"arrays": [tmp_path / "a.npz"]}, {"steps": [0.01], "scheme": "forward", "arrays": NAMES}
    ).to_pandas()
    assert table["gradient"].unique().tolist() == ["forward-h0.01"]
    assert table["reference"].unique().tolist() == ["exact"]
    assert table["sample"].tolist() == list(range(6))
    np.testing.assert_array_equal(table["relative_error"], compare(approximated, exact)["relative_error"])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"arr1": np.ones((2, 3))}, "has no array 'arr2', only arr1"),
        ({"arr1": np.ones((2, 3)), "arr2": np.ones((2, 4))}, "two arrays of one shape"),
        ({"arr1": np.ones(3), "arr2": np.ones(3)}, "two arrays of one shape"),
        ({"arr1": np.ones((2, 3)), "arr2": np.full((2, 3), np.nan)}, "'arr2' does not hold only finite numbers"),
        ({"arr1": np.array([["a"]]), "arr2": np.array([["b"]])}, "'arr1' does not hold only finite numbers"),
        ({"arr1": np.array([[{}]]), "arr2": np.array([[{}]])}, "cannot be read as npz"),
    ],
)
def test_unfit_arrays_are_one_clear_error(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TableError, match=words):
        read_arrays(tmp_path / "a.npz", NAMES)


def test_files_that_are_no_arrays_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK but no archive")
    with pytest.raises(TableError, match=r"a\.npz: cannot be read"):
        read_arrays(tmp_path / "a.npz", NAMES)


PUBLISHED_MEDIANS = {
    ("saliency", 1e-5): 0.956,
    ("saliency", 1e-4): 0.999,
    ("saliency", 0.01): 0.989,
    ("saliency", 0.5): 0.608,
    ("saliency", 1.0): 0.450,
    ("input_x_gradient", 1e-5): 0.968,
    ("input_x_gradient", 1e-4): 0.999,
    ("input_x_gradient", 0.01): 0.990,
    ("input_x_gradient", 0.5): 0.656,
    ("input_x_gradient", 1.0): 0.508,
    ("integrated_gradients_published", 1e-4): 0.938,
    ("integrated_gradients_published", 0.01): 0.939,
    ("integrated_gradients_published", 0.5): 0.824,
    ("integrated_gradients_published", 1.0): 0.699,
}


def test_published_maps_give_the_published_medians():
    folder = SHARED / "published" / "attributions"
    if not folder.is_dir():
        pytest.skip(f"the published maps are not there: {folder}")
    files = {(file.method, file.step): file for file in find_arrays(folder, PATTERN, METHODS, STEPS)}
    for key, median in PUBLISHED_MEDIANS.items():
        table = arrays_table(
            {"arrays": [files[key].path]}, {"steps": [key[1]], "scheme": "forward", "arrays": NAMES}
        ).to_pandas()
        # The medians are published to three digits.
        assert table["pearson"].median() == pytest.approx(median, abs=5e-4), key

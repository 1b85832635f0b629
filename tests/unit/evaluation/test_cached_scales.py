"""Files of cached maps that are left out or look as if they were of another model."""

import os
from pathlib import Path

import numpy as np
import pytest

from approxgrad.evaluation.cached_scales import ANOTHER, LEFT_OUT, scale_notes, scales_table
from approxgrad.storage.cached_arrays import find_arrays, matching_arrays

SHARED = Path(os.environ.get("APPROXGRAD_SHARED", Path(__file__).resolve().parents[4] / "shared"))
PATTERN = "CNN_{method}_{samples}_{step}.npz"
METHODS = {"Sal": "saliency", "GxI": "input_x_gradient", "Int": "integrated_gradients_published"}
STEPS = {"1e-5": 1e-5, "5e-5": 5e-5, "low": 1e-4, "medium": 0.01, "mediumhigh": 0.5, "high": 1.0}


def table(folder):
    used = {file.path for file in find_arrays(folder, PATTERN, METHODS, STEPS)}
    files = matching_arrays(folder, PATTERN, METHODS, STEPS)
    described = [
        {
            "source": "thesis",
            "method": file.method,
            "step": file.step,
            "used": file.path in used,
            "names": {"exact": "arr1", "approximated": "arr2"},
        }
        for file in files
    ]
    found, _ = scales_table({"arrays": [file.path for file in files]}, {"files": described})
    return found


def write(folder, name, scale, rows=5):
    exact = scale * np.random.default_rng(len(name)).normal(size=(rows, 30))
    np.savez(folder / name, arr1=exact, arr2=exact)
    return np.median(np.abs(exact).max(axis=1))


def test_maps_of_another_scale_and_files_left_out_are_told(tmp_path):
    sizes = [write(tmp_path, f"CNN_Sal_20_{step}.npz", 1) for step in ("1e-5", "low", "medium", "high")]
    other = write(tmp_path, "CNN_Sal_20_mediumhigh.npz", 30)
    write(tmp_path, "CNN_Sal_5_low.npz", 1)
    # Its exact maps are that of its own model, so nothing else shows it.
    found = table(tmp_path).set_index("file")
    assert found.loc["CNN_Sal_20_mediumhigh.npz", "remark"] == ANOTHER
    assert found.loc["CNN_Sal_20_mediumhigh.npz", "size"] == pytest.approx(other, rel=1e-12)
    assert found.loc["CNN_Sal_5_low.npz", "remark"] == LEFT_OUT
    assert not found.loc["CNN_Sal_5_low.npz", "used"]
    assert (found["remark"] == "").sum() == len(sizes)
    notes = scale_notes(table(tmp_path), "thesis", "saliency")
    assert len(notes) == 2
    assert any(note.startswith(f"CNN_Sal_20_mediumhigh.npz: {ANOTHER} (") for note in notes)
    assert scale_notes(table(tmp_path), "thesis", "input_x_gradient") == []


def test_smaller_maps_are_told_too_and_of_two_files_none_can_be_the_odd_one(tmp_path):
    for step in ("1e-5", "low", "medium"):
        write(tmp_path, f"CNN_Sal_20_{step}.npz", 1)
    write(tmp_path, "CNN_Sal_20_high.npz", 0.01)
    for step, scale in (("low", 1), ("high", 1000)):
        write(tmp_path, f"CNN_GxI_20_{step}.npz", scale)
    found = table(tmp_path)
    assert found.loc[found["remark"] != "", "file"].tolist() == ["CNN_Sal_20_high.npz"]


def test_a_file_that_is_left_out_may_be_broken(tmp_path):
    write(tmp_path, "CNN_Sal_20_low.npz", 1)
    (tmp_path / "CNN_Sal_5_low.npz").write_bytes(b"no archive")
    found = table(tmp_path).set_index("file")
    remark = found.loc["CNN_Sal_5_low.npz", "remark"]
    assert remark.startswith(f"{LEFT_OUT}; cannot be read (")
    assert "\n" not in remark


def test_maps_of_zeros_are_no_error(tmp_path):
    for step in ("1e-5", "low", "medium"):
        write(tmp_path, f"CNN_Sal_20_{step}.npz", 0)
    assert (table(tmp_path)["remark"] == "").all()


def test_the_maps_of_the_thesis_have_two_files_of_another_model():
    folder = SHARED / "published" / "attributions"
    if not folder.is_dir():
        pytest.skip(f"the published maps are not there: {folder}")
    found = table(folder)
    other = found[found["remark"].str.contains(ANOTHER)]
    assert other["file"].tolist() == ["CNN_GxI_20_1e-5.npz", "CNN_GxI_20_low.npz"]
    # Values of 600 where others have 30.
    assert (other["ratio"] > 25).all()
    assert not other["used"].any()

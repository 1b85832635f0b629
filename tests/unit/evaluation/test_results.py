"""The results of a study as data frames with names."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from approxgrad import read_results
from approxgrad.storage.attributions import Attributions, write_attributions
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import write_table

NAMES = {
    "feature_names": ["age", "city=Lima", "city=Oslo"],
    "feature_groups": ["age", "city", "city"],
    "classes": ["no", "yes"],
}
MAPS = np.arange(6.0).reshape(2, 3)


def attributions(folder, model, gradient="exact", **changes):
    metadata = {
        "feature_shape": [3],
        "normalisation": {"mean": [0], "std": [1]},
        "gradient": gradient,
        "family": gradient.partition("-")[0],
        "setting": None if gradient == "exact" else 0.1,
        "setting_name": "" if gradient == "exact" else "step",
        "chosen": False,
        "dtype": "float32",
        "evaluations": 4,
        **NAMES,
        **changes,
    }
    path = folder / f"attributions/dataset=own/model={model}/method=saliency/gradient={gradient}/part-0.parquet"
    path.parent.mkdir(parents=True)
    classes = np.array([1, 0]) if metadata["classes"] else None
    result = Attributions(np.array([7, 5]), MAPS, (MAPS / 2).astype(np.float32), classes, None, metadata)
    write_attributions(path, result)


def test_maps_have_a_row_for_each_feature(tmp_path):
    attributions(tmp_path, "a")
    attributions(tmp_path, "a", "forward-h0.1")
    attributions(tmp_path, "b", feature_names=[], feature_groups=[], classes=[])
    found = read_results("attributions", tmp_path, model="a", gradient="forward-h0.1")
    assert found["attribution"].tolist() == MAPS.ravel().tolist()
    assert found["feature"].tolist() == NAMES["feature_names"] * 2
    assert found["target"].tolist() == ["yes"] * 3 + ["no"] * 3
    assert found["sample"].tolist() == [7] * 3 + [5] * 3
    assert set(found["setting"]) == {0.1}
    totals = found.groupby(["sample", "group"])["attribution"].sum()
    assert totals[7, "city"] == 3
    assert totals[5, "city"] == 9
    assert list(found.columns[:4]) == ["dataset", "model", "method", "gradient"]
    plain = read_results("attributions", tmp_path, model="b")
    assert plain["feature"].tolist() == [0, 1, 2] * 2
    assert "target" not in plain
    assert len(read_results("attributions", tmp_path)) == 18


def test_other_tables_are_as_they_are(tmp_path):
    for model, value in (("a", 1.0), ("b", 2.0)):
        path = tmp_path / f"metrics/dataset=own/model={model}/method=saliency/part-0.parquet"
        path.parent.mkdir(parents=True)
        write_table(path, pa.table({"sample": [3, 4], "pearson": [value, None]}), {})
    (tmp_path / "summary").mkdir()
    write_table(tmp_path / "summary" / "metrics.parquet", pa.table({"mean": [1.5]}), {})
    found = read_results(folder=tmp_path)
    assert found["model"].tolist() == ["a", "a", "b", "b"]
    assert read_results("metrics", tmp_path, model="b")["pearson"].iloc[0] == 2
    pd.testing.assert_frame_equal(read_results("summary/metrics", tmp_path), pd.DataFrame({"mean": [1.5]}))


@pytest.mark.parametrize(
    ("table", "keys", "expected"),
    [
        ("metric", {}, r"metric: holds no table; .* has attributions"),
        ("attributions", {"model": "c"}, r"attributions: has no file with model=c"),
        ("attributions", {"step": "c"}, r"does not say its step; expected one of dataset, model, method, gradient"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, table, keys, expected):
    attributions(tmp_path, "a")
    with pytest.raises(TableError, match=expected):
        read_results(table, tmp_path, **keys)

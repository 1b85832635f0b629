import re

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

import own_tables
from approxgrad.datasets.faults import DatasetError
from own_tables import ARRAYS, COLUMNS, column, frame, prepare, table


@pytest.fixture(params=["csv", "parquet"])
def write(request, tmp_path):
    return lambda data, name="table": own_tables.write(tmp_path / f"{name}.{request.param}", data)


# Columns


def test_one_file_is_split_at_random(write):
    data = frame()
    options = COLUMNS | {"path": write(data), "effects": ["effect of a", "effect of b"]}
    parts = prepare(options)
    assert {name: len(part.target) for name, part in parts.items()} == {"train": 24, "validation": 6, "test": 10}
    assert sorted(np.concatenate([part.target for part in parts.values()])) == list(range(40))
    for part in parts.values():
        rows = data.iloc[part.target.astype(int)]
        np.testing.assert_array_equal(part.features, rows[["a", "b"]].to_numpy(np.float32))
        np.testing.assert_array_equal(part.effects, rows[["effect of a", "effect of b"]].to_numpy(np.float32))
        assert (part.features.dtype, part.target.dtype, part.effects.dtype) == (np.float32,) * 3
        assert (part.feature_shape, part.classes, part.mean, part.std) == ((2,), (), (0.0,), (1.0,))
    again, other = prepare(options), prepare(options, seed=1)
    assert again["test"].target.tolist() == parts["test"].target.tolist() != other["test"].target.tolist()


def test_counts_instead_of_shares(write):
    parts = prepare(COLUMNS | {"path": write(frame()), "validation": 3, "test": 5})
    assert [len(part.target) for part in parts.values()] == [32, 3, 5]
    assert parts["test"].effects is None


@pytest.mark.parametrize("with_validation", [True, False])
def test_one_file_for_each_part(write, with_validation):
    names = ["train", "validation", "test"] if with_validation else ["train", "test"]
    data = {name: frame(20, seed) for seed, name in enumerate(names)}
    # The effects are asked of the test rows only.
    data["train"] = data["train"].drop(columns="effect of a")
    files = {name: write(own, name) for name, own in reversed(data.items())}
    options = COLUMNS | {"files": files, "effects": ["effect of a", "effect of b"]}
    parts = prepare(options)
    np.testing.assert_array_equal(parts["test"].features, data["test"][["a", "b"]].to_numpy(np.float32))
    np.testing.assert_array_equal(
        parts["test"].effects, data["test"][["effect of a", "effect of b"]].to_numpy(np.float32)
    )
    if with_validation:
        assert [part.target.tolist() for part in parts.values()] == [own["y"].tolist() for own in data.values()]
    else:
        assert len(parts["validation"].target) == 3
        together = [*parts["train"].target, *parts["validation"].target]
        assert sorted(together) == data["train"]["y"].tolist()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes", "maybe"], ("maybe", "no", "yes")),
        ([10, 9, 2], ("2", "9", "10")),
        ([True, False, True], ("False", "True")),
        ([0.5, -1.0, 0.5], ("-1.0", "0.5")),
        (["NA", "None", "nan"], ("NA", "None", "nan")),
    ],
)
def test_labels_of_any_kind_become_numbers(write, labels, classes):
    data = frame(42).assign(label=np.resize(np.array(labels), 42))
    parts = prepare(COLUMNS | {"path": write(data), "task": "classification", "target": "label", "features": ["y"]})
    order = sorted(set(labels))
    for part in parts.values():
        assert part.classes == classes
        assert part.target.dtype == np.int64
        assert part.target.tolist() == [order.index(labels[int(row) % 3]) for row in column(part, 0)]
    # Classes keep their proportions.
    assert np.ptp(np.bincount(parts["train"].target)) <= (1 if len(classes) == 3 else 10)


def test_standardising_uses_the_training_rows(write):
    data = frame().assign(a=5.0)
    parts = prepare(COLUMNS | {"path": write(data), "normalisation": "standardise"})
    inputs = parts["train"].model_inputs()
    # Float32 numbers of order one, added up over 24 rows.
    np.testing.assert_allclose(inputs.mean(axis=0), [0, 0], atol=24 * 1.2e-7)
    np.testing.assert_allclose(inputs.std(axis=0), [0, 1], atol=24 * 1.2e-7)
    assert all(part.mean == parts["train"].mean for part in parts.values())
    assert abs(parts["test"].model_inputs()[:, 1].mean()) > 1e-3
    assert parts["train"].std[0] == 1


def test_numbers_for_the_normalisation(write):
    path = write(frame())
    parts = prepare(COLUMNS | {"path": path, "normalisation": {"mean": [1, 2], "std": [3]}})
    assert (parts["test"].mean, parts["test"].std) == ((1, 2), (3,))
    with pytest.raises(DatasetError, match=r"normalisation.std: got 3 numbers, expected 1 or 2"):
        prepare(COLUMNS | {"path": path, "normalisation": {"mean": [0], "std": [3, 3, 3]}})
    # What is 0 or infinite in single precision.
    with pytest.raises(DatasetError, match=r"normalisation.std: got 1e-50, expected numbers from 1.2e-38 to 3.4e\+38"):
        prepare(COLUMNS | {"path": path, "normalisation": {"mean": [0], "std": [1e-50]}})
    with pytest.raises(DatasetError, match=r"normalisation.mean: got -1e\+39, expected numbers from -3.4e\+38 to"):
        prepare(COLUMNS | {"path": path, "normalisation": {"mean": [0, -1e39], "std": [1]}})


# Tables that are something else


@pytest.mark.parametrize(
    ("data", "changes", "expected"),
    [
        (frame(), {"features": ["a", "effect_of_a"]}, r"has no column 'effect_of_a', only b, .* \(did you mean eff"),
        (frame(), {"target": "z"}, r"has no column 'z', only b, effect of a, a, effect of b, y, label, text$"),
        (frame(), {"features": ["a", "text"]}, r"column text, row 1: got 'x', expected a finite number"),
        (
            frame().replace({"a": {frame()["a"][6]: np.nan}}),
            {},
            r"lacks values, first in row 7 of 40: column a \(1\); `missing: drop` .*, `missing: mean`",
        ),
        (frame().replace({"y": {4.0: np.inf}}), {}, r"column y, row 5: got 'inf', expected a finite number"),
        (frame().replace({"y": {4.0: 1e39}}), {}, r"column y, row 5: got '1e\+39', expected a finite number"),
        (
            frame().replace({"label": {"yes": None}}),
            {"task": "classification", "target": "label"},
            r"lacks values, first in row 2 of 40: column label \(10\); `missing: drop` leaves such rows out$",
        ),
        (frame(), {"task": "classification", "target": "text"}, r"target is always x, expected several labels"),
        (frame(), {"task": "classification", "target": "y"}, r"no training row has the class \d+.0, expected each"),
        (frame(0), {}, r"has no rows"),
        (
            frame(4),
            {"test": 2, "validation": 1},
            r"test and validation: leaves 1 of 4 rows to train on, expected at least",
        ),
        (frame(), {"test": 100}, r"test and validation: leaves 0 of [0-9,]+ rows"),
    ],
)
def test_tables_that_do_not_fit_are_refused(write, data, changes, expected):
    with pytest.raises(DatasetError, match=expected) as failure:
        prepare(COLUMNS | {"path": write(data)} | changes)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.date_range("2020", periods=40), r"column a: contains datetime64\[\w+\], expected numbers"),
        ([[1.0, 2.0]] * 40, r"column a, row 1: got '\[1. 2.\]', expected a finite number"),
    ],
)
def test_dates_and_lists_are_no_numbers(tmp_path, values, expected):
    path = tmp_path / "table.parquet"
    frame().assign(a=values).to_parquet(path)
    with pytest.raises(DatasetError, match=expected):
        prepare(COLUMNS | {"path": str(path)})


def test_a_column_that_was_an_index_is_found(tmp_path):
    frame().set_index("a").to_parquet(tmp_path / "table.parquet")
    parts = prepare(COLUMNS | {"path": str(tmp_path / "table.parquet")})
    np.testing.assert_array_equal(
        column(parts["test"], 0), frame()["a"].to_numpy(np.float32)[parts["test"].target.astype(int)]
    )


def test_parts_must_not_mix_numbers_and_text(write):
    data = {"train": frame(20).assign(label=np.resize([1, 2], 20)), "test": frame(20)}
    files = {name: write(own, name) for name, own in data.items()}
    with pytest.raises(DatasetError, match=r"train.* and .*test.*: target mixes numbers and text"):
        prepare(COLUMNS | {"files": files, "task": "classification", "target": "label"})


def test_a_class_that_only_the_test_file_has_is_named(write):
    data = {"train": frame(20).query("label != 'maybe'"), "test": frame(20)}
    files = {name: write(own, name) for name, own in data.items()}
    with pytest.raises(DatasetError, match=r"target: no training row has the class maybe"):
        prepare(COLUMNS | {"files": files, "task": "classification", "target": "label"})


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", None, r"x.csv: no such file"),
        ("x.parquet", None, r"x.parquet: no such file"),
        ("x.csv", b"", r"x.csv: cannot be read as csv; it is empty$"),
        ("x.csv", b"a,b,y\n1,2,3\n1,2,3,4\n", r"x.csv: cannot be read as csv \(.*line 3, saw 4"),
        ("x.csv", b"a,b,y\n1,2,3,4\n1,2,3,4\n", r"x.csv: row 1 has more fields than the header"),
        ("x.csv", b"a,b,y\n\xff,2,3\n", r"x.csv: cannot be read as csv \(.*utf-8"),
        ("x.csv", b"a,b,b,y\n1,2,3,4\n", r"x.csv: has the column 'b' 2 times, expected it once"),
        ("x.csv", b"a;b;y\n1;2;3\n", r"x.csv: has no column 'a', only a;b;y .*separator: ';'"),
        ("x.parquet", b"no parquet", r"x.parquet: cannot be read as parquet \("),
        ("x.npz", None, r"x.npz: no such file"),
        ("x.npz", b"no arrays", r"x.npz: cannot be read as npz without unpickling \("),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, expected):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    options = ARRAYS | {"arrays": {"all": ["X", "y"]}} if name.endswith(".npz") else COLUMNS
    with pytest.raises(DatasetError, match=expected):
        prepare(options | {"path": str(path)})


# What the configuration says


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"path": "a.csv", "test": 0.5}, None),
        ({"path": "a.csv", "test": 7}, 7),
        ({"files": {"train": "a.csv", "test": "b.csv"}, "test": 7}, None),
        ({"path": "a.npz", "arrays": {"all": ["X", "y"]}, "test": 7}, 7),
        ({"path": "a.npz", "arrays": {"train": ["X", "y"]}, "test": 7}, None),
    ],
)
def test_the_number_of_test_rows_where_it_is_known(options, rows):
    assert table({"task": "regression"} | options).test_rows == rows


def own(**options):
    return table({"task": "regression"} | options)


NAMED = {"features": ["a"], "target": "y"}


def test_what_is_known_of_a_table():
    plain = own(path="a.csv", **NAMED)
    assert (plain.is_image, plain.has_truth, plain.feature_shape, plain.training_rows) == (False, False, (1,), None)
    assert plain.sources("own") == ["a.csv"]
    assert own(path="a.csv", effects=["e"], **NAMED).has_truth
    arrays = {"train": ["X", "y"], "test": ["X", "y"]}
    assert not own(path="a.npz", arrays=arrays).has_truth
    assert own(path="a.npz", arrays=arrays).feature_shape is None
    assert own(path="/a/../a.npz", arrays=arrays | {"effects": "e"}).has_truth
    both = own(files={"test": "b.parquet", "train": "a.csv"}, **NAMED)
    assert both.own_files == {"files.train": "a.csv", "files.test": "b.parquet"}
    assert both.sources("own") == ["a.csv", "b.parquet"]
    assert not any(dataset.faults() for dataset in (plain, both, own(path="/a/../a.npz", arrays=arrays)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (NAMED, "path: expected either `path` "),
        (NAMED | {"path": "a.csv", "files": {"train": "a.csv", "test": "b.csv"}}, "path: expected either `path` "),
        (NAMED | {"path": "../a.csv"}, r"path: got '../a.csv', expected a path without '..' or an absolute one"),
        (NAMED | {"path": " "}, r"path: is empty, expected a path"),
        (NAMED | {"path": "a\0.csv"}, r"path: got 'a\\x00.csv', expected printable characters"),
        (NAMED | {"files": {"train": "a.csv", "test": "a/../b.csv"}}, r"files.test: got 'a/../b.csv', expected a path"),
        (NAMED | {"path": "a.xlsx"}, r"path: got 'a.xlsx', a spreadsheet; save the sheet as .csv"),
        (
            NAMED | {"files": {"train": "a.npz", "test": "b.csv"}},
            r"files.train: got 'a.npz', .* .csv or .parquet; .csv, .tsv",
        ),
        ({"path": "a.csv", "target": "y"}, "features: expected `features` and `target`"),
        ({"path": "a.csv", "features": ["a"]}, "features: expected `features` and `target`"),
        ({"path": "a.csv", "features": ["a", "y"], "target": "y"}, "target: got 'y', which is among the features"),
        ({"path": "a.csv", "features": ["a", "b", "a"], "target": "y"}, "features: got 'a' twice, expected it once"),
        (NAMED | {"path": "a.csv", "effects": ["c", "d"]}, "effects: got 2 columns, expected 1"),
        ({"path": "a.csv", "arrays": {"all": ["X", "y"]}}, "arrays: expected `path` with one .npz file"),
        (NAMED | {"path": "a.npz", "arrays": {"all": ["X", "y"]}}, "arrays: stands instead of `features`"),
        ({"path": "a.npz", "arrays": {"effects": "e"}}, "arrays: expected either `all` or `train` and `test`"),
        ({"path": "a.npz", "arrays": {"train": ["X", "y"]}}, "arrays: expected `train` and `test` together"),
        (NAMED | {"path": "a.csv", "normalisation": {"mean": [0, 1], "std": [1]}}, "normalisation.mean: got 2 numbers"),
    ],
)
def test_options_that_contradict_each_other_are_faults(options, expected):
    (fault,) = own(**options).faults()
    assert re.match(expected, fault)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"files": {"train": "a.csv"}}, ("files", "test")),
        ({"path": ""}, ("path",)),
        ({"features": []}, ("features",)),
        ({"normalisation": "standard"}, ("normalisation",)),
        ({"normalisation": {"mean": [0]}}, ("normalisation",)),
        ({"normalisation": {"mean": [0], "std": [0]}}, ("normalisation",)),
        ({"test": 1.5}, ("test",)),
        ({"test": 0}, ("test",)),
        ({"test": True}, ("test",)),
        ({"feature": ["a"]}, ("feature",)),
        ({"arrays": {"all": ["X"]}}, ("arrays", "all")),
        ({"task": "ranking"}, ("task",)),
    ],
)
def test_options_of_other_types_or_out_of_bounds_are_refused(options, key):
    with pytest.raises(ValidationError) as error:
        own(**options)
    assert {fault["loc"][: len(key)] for fault in error.value.errors()} == {key}

"""What is a label, in files with types and without."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from approxgrad.datasets.faults import DatasetError
from own_tables import COLUMNS, column, prepare


def labelled(tmp_path, labels, name="own.csv"):
    path = tmp_path / name
    values = np.resize(np.array(labels, object), 60)
    path.write_text("a,y\n" + "".join(f"{row},{label}\n" for row, label in enumerate(values)), encoding="utf-8")
    return str(path)


def classes(path, **changes):
    options = COLUMNS | {"task": "classification", "features": ["a"]} | ({"path": path} if path else {}) | changes
    parts = prepare(options)
    return parts["train"].classes, parts


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["1", "01"], ["01", "1"]),
        (["1.0", "1"], ["1", "1.0"]),
        (["10", "9", "2.50"], ["2.50", "9", "10"]),
        (["1e3", "01e1"], ["01e1", "1e3"]),
        (["NA", "null", "None", "nan"], ["NA", "None", "nan", "null"]),
        (["yes", "Yes"], ["Yes", "yes"]),
        (["true", "True"], ["True", "true"]),
        ([" cat", " dog"], ["cat", "dog"]),
        (["inf", "1"], ["1", "inf"]),
        (["2020-01-02", "2020-01-01"], ["2020-01-01", "2020-01-02"]),
        (["1e99999999999999999999", "5"], ["1e99999999999999999999", "5"]),
        ([f"{number / 2}" for number in range(1, 11)], [f"{number / 2}" for number in range(1, 11)]),
    ],
)
def test_labels_in_text_are_what_stands_there(tmp_path, labels, expected):
    found, parts = classes(labelled(tmp_path, labels))
    assert list(found) == expected
    for part in parts.values():
        assert [labels[int(row) % len(labels)].strip() for row in column(part, 0)] == [found[n] for n in part.target]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat", " cat", "dog"], r"own.csv: target has the labels ' cat' and 'cat', which look the same; expected one"),
        (["cat", "cat\t"], r"target has the labels 'cat' and 'cat\\t', which look the same"),
        (["a b", "a  b"], r"target has the labels 'a  b' and 'a b', which look the same"),
        (["1", " 1"], r"target has the labels ' 1' and '1', which look the same"),
        (["caf\u00e9", "cafe\u0301"], r"target has the labels 'cafe\\u0301' and 'caf\\xe9', which look the same"),
        (["cat", "  "], r"column y, row 2: is missing, expected a label"),
        (["cat", ""], r"lacks values, first in row 2 of 60: column y \(30\)"),
        (np.random.default_rng(0).normal(size=40), r"target has 40 different values with a fraction such as 0.1257"),
        (np.arange(21) + 0.5, r"21 different values with a fraction .*; expected `task: regression`, or labels"),
        (np.arange(60), r"no training row has the class \d+, .* there; 60 labels in 60 rows may be numbers, `task"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, labels, expected):
    with pytest.raises(DatasetError, match=expected):
        classes(labelled(tmp_path, labels))


def test_labels_of_two_files_are_compared(tmp_path):
    files = {"train": labelled(tmp_path, ["cat", "dog"], "a.csv"), "test": labelled(tmp_path, ["cat ", "dog"], "b.csv")}
    with pytest.raises(DatasetError, match=r"a.csv and .*b.csv: target has the labels 'cat' and 'cat ', which look"):
        classes(None, files=files)
    # Numbers alone are no other kind of label if they are among the other file's.
    files = {"train": labelled(tmp_path, ["1", "2", "x"], "a.csv"), "test": labelled(tmp_path, ["2", "1"], "b.csv")}
    assert classes(None, files=files)[0] == ("1", "2", "x")
    # A file without types beside one with them.
    pd.DataFrame({"a": np.arange(40.0), "y": np.resize([9, 10], 40)}).to_parquet(tmp_path / "b.parquet")
    files = {"train": labelled(tmp_path, ["10", "9"]), "test": str(tmp_path / "b.parquet")}
    found, parts = classes(None, files=files)
    assert (found, parts["test"].target.tolist()) == (("9", "10"), [0, 1] * 20)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([2, 10] * 20), ("2", "10")),
        (pa.array(["2", "10"] * 20), ("10", "2")),
        (pa.array(["1", "01"] * 20), ("01", "1")),
        # Whoever makes text of numbers means labels.
        (pa.array([f"{number}.5" for number in range(30)] * 2), tuple(sorted(f"{number}.5" for number in range(30)))),
        (pa.array(["b", "a"] * 20).dictionary_encode(), ("a", "b")),
        (pa.array([True, False] * 20), ("False", "True")),
        (pa.array([2**64 - 1, 2**64 - 2] * 20, pa.uint64()), ("18446744073709551614", "18446744073709551615")),
        (pa.array([Decimal("2.50"), Decimal("1.00")] * 20, pa.decimal128(12, 2)), ("1.00", "2.50")),
        (pa.array([b"b", b"a"] * 20), ("a", "b")),
        (pa.array(["b", "a"] * 20, pa.large_string()), ("a", "b")),
    ],
)
def test_labels_with_types_keep_them(tmp_path, labels, expected):
    pq.write_table(pa.table({"a": np.arange(float(len(labels))), "y": labels}), tmp_path / "own.parquet")
    assert classes(str(tmp_path / "own.parquet"))[0] == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(range(40), pa.timestamp("us")), r"column y: contains datetime64\[us\], expected labels: text, num"),
        (
            pa.array(range(40), pa.timestamp("us", "UTC")),
            r"column y, row 1: got the Timestamp 1970.*, expected a label",
        ),
        (pa.array(range(40), pa.date32()), r"column y, row 1: got the date 1970-01-01, expected a label: "),
        (pa.array([[1], [2]] * 20), r"column y, row 1: got the ndarray \[1\], expected a label: "),
        (pa.array([b"a", b"\xff"] * 20), r"column y, row 2: got b'\\xff', expected text in UTF-8"),
        (pa.array([1, None] * 20), r"lacks values, first in row 2 of 40: column y \(20\)"),
        (pa.nulls(40), r"lacks values, first in row 1 of 40: column y \(40\)"),
        (pa.array(np.random.default_rng(0).normal(size=40)), r"target has 40 different values with a fraction"),
    ],
)
def test_what_has_a_type_of_no_label_is_refused(tmp_path, labels, expected):
    pq.write_table(pa.table({"a": np.arange(40.0), "y": labels}), tmp_path / "own.parquet")
    with pytest.raises(DatasetError, match=expected):
        classes(str(tmp_path / "own.parquet"))

"""Numbers of tables on their way into single precision, and the types in which they come."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import own_tables
from approxgrad.datasets.faults import DatasetError
from approxgrad.storage.splits import read_mean_input, read_split, write_split
from own_tables import COLUMNS, column, frame, prepare

TIMES = 1_700_000_000 + 60 * np.arange(90)
CLASSES = COLUMNS | {"task": "classification", "target": "label", "features": ["time", "a"]}
STANDARDISE = {"normalisation": "standardise"}


@pytest.fixture(params=["csv", "parquet"])
def write(request, tmp_path):
    return lambda data: own_tables.write(tmp_path / f"own.{request.param}", data)


@pytest.mark.parametrize("factor", [1, 10**9], ids=["seconds", "nanoseconds"])
@pytest.mark.parametrize("normalisation", ["standardise", {"mean": [1.7e9, 0], "std": [1e3, 1]}])
def test_numbers_are_normalised_before_they_are_rounded(write, tmp_path, factor, normalisation):
    times = factor * TIMES
    if not isinstance(normalisation, str):
        normalisation = {key: [factor * first, second] for key, (first, second) in normalisation.items()}
    parts = prepare(CLASSES | {"path": write(frame(90).assign(time=times)), "normalisation": normalisation})
    inputs = np.concatenate([part.model_inputs()[:, 0] for part in parts.values()])
    mean, std = parts["train"].mean[0], parts["train"].std[0]
    np.testing.assert_array_equal(np.sort(inputs), ((times - mean) / std).astype(np.float32))
    assert len(np.unique(inputs)) == 90
    # Nor are they rounded on their way through the file, where the mean of the training rows is read, too.
    write_split(tmp_path / "train.parquet", parts["train"], {})
    read = read_split(tmp_path / "train.parquet").model_inputs()
    np.testing.assert_array_equal(read, parts["train"].model_inputs())
    np.testing.assert_allclose(
        read_mean_input(tmp_path / "train.parquet"), read.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("value", [0.1, 1_700_000_000, 1e30])
def test_a_constant_is_exactly_zero(write, tmp_path, value):
    parts = prepare(COLUMNS | {"path": write(frame(90).assign(a=value))} | STANDARDISE)
    assert (parts["train"].mean[0], parts["train"].std[0]) == (value, 1)
    assert all((part.model_inputs()[:, 0] == 0).all() for part in parts.values())
    write_split(tmp_path / "train.parquet", parts["train"], {})
    assert read_mean_input(tmp_path / "train.parquet")[0] == 0


@pytest.mark.parametrize(
    ("changes", "options", "expected"),
    [
        ({"time": TIMES}, {}, r"column time: single precision, .* moves its values by 0.02 of their spread; shift"),
        ({"time": TIMES}, {"normalisation": {"mean": [1e9], "std": [1]}}, r"column time: single precision, "),
        ({"time": np.append(TIMES[1:], 0)}, {}, r"column time: single precision, "),
        ({"time": TIMES}, {"task": "regression", "features": ["a"], "target": "time"}, r"column time: single precis"),
        ({"time": 1e-60 * np.arange(90)}, {}, r"column time: single precision, "),
        ({"time": np.append(np.arange(89.0), 1e39)}, {}, r"column time, row 90: got '1e\+39', expected a finite"),
        (
            {"time": np.arange(90.0)},
            {"normalisation": {"mean": [0], "std": [1e-37]}},
            r"column time, row 36: got '35.0', expected a finite number in single precision",
        ),
        ({"time": 1e-200 * np.arange(90)}, STANDARDISE, r"column time: got values from 0 to 8.9e-199, whose variance"),
        ({"time": 1e300 * np.arange(90)}, STANDARDISE, r"column time: got values from 0 to 8.9e\+301, whose variance"),
        (
            {"time": 1_234_567_890_123_456_789 + np.arange(90)},
            STANDARDISE,
            r"column time, row 1: got 1234567890123456789, which has too many digits: double precision keeps 15;",
        ),
    ],
)
def test_what_precision_would_lose_is_refused(write, changes, options, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(CLASSES | {"path": write(frame(90).assign(**changes))} | options)


def test_values_that_become_equal_are_refused_however_far_they_spread(write):
    many = frame(20_000).assign(time=TIMES[0] + 60 * np.arange(20_000))
    with pytest.raises(DatasetError, match=r"column time: single precision, .* by 8e-05 of their spread"):
        prepare(CLASSES | {"path": write(many)})


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.random.default_rng(0).standard_cauchy(90) ** 3, id="heavy tails"),
        pytest.param(np.append(np.random.default_rng(0).normal(size=89), 1e12), id="an outlier"),
        pytest.param(np.resize([0.3, 0.1 + 0.2, 0.5], 90), id="rounding errors of double precision"),
        pytest.param(101325 + np.random.default_rng(0).normal(0, 100, 90).round(1), id="pressures"),
        pytest.param(np.append(np.zeros(80), np.arange(10) / 10), id="mostly zero"),
    ],
)
def test_what_precision_loses_without_harm_is_not_refused(write, values):
    parts = prepare(CLASSES | {"path": write(frame(90).assign(time=values))})
    assert parts["train"].features.dtype == np.float32


@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_integers_of_any_length_in_text(tmp_path, digits):
    numbers = [f"{row}{'0' * (digits - 2)}" for row in range(10, 50)]
    labels = [f"{row % 2}{'0' * (digits - 2)}1" for row in range(10, 50)]
    path = tmp_path / "long.csv"
    rows = (f"{row},{number},{label}" for row, number, label in zip(range(40), numbers, labels, strict=True))
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n")
    parts = prepare(COLUMNS | {"path": str(path), "features": ["a"], "task": "classification"})
    for part in parts.values():
        assert [part.classes[n][0] for n in part.target] == [str(int(row) % 2) for row in column(part, 0)]
    options = COLUMNS | {"path": str(path), "features": ["b"], "target": "a"}
    if digits == 30:
        for part in prepare(options).values():
            expected = [float(numbers[int(row)]) for row in part.target]
            np.testing.assert_array_equal(column(part, 0), np.array(expected, np.float32))
    else:
        with pytest.raises(DatasetError, match=r"column b, row 1: got '1000+\.\.\., expected a finite number"):
            prepare(options)


# Types of features


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([Decimal("2.50"), Decimal("1.00")] * 20, pa.decimal128(12, 2)), [2.5, 1]),
        (pa.array([True, False] * 20), [1, 0]),
        (pa.array([7, 5] * 20).dictionary_encode(), [7, 5]),
        (pa.array(np.array([1.5, -2] * 20, np.float16)), [1.5, -2]),
        (pa.array([2**64 - 1, 2**63] * 20, pa.uint64()), [2.0**64, 2.0**63]),
        (pa.array([1, None] * 20), r"lacks values, first in row 2 of 40: column a \(20\)"),
        (pa.array([2**64 - 1, 2**64 - 2] * 20, pa.uint64()), r"column a, row 1: got 18446744073709551615, which has"),
        (pa.array(range(40), pa.timestamp("us", "UTC")), r"column a, row 1: got '1970-01-01 00:00:00\+00:00', expect"),
        (pa.array(range(40), pa.date32()), r"column a, row 1: got '1970-01-01', expected a finite number"),
        (pa.array(["x", "y"] * 20).dictionary_encode(), r"column a, row 1: got 'x', expected a finite number"),
        (pa.array([{"x": 1}] * 40), r"column a, row 1: got .*, expected a finite number"),
    ],
)
def test_features_of_other_types_are_numbers_or_refused(tmp_path, values, expected):
    pq.write_table(pa.table({"a": values, "y": np.arange(40.0)}), tmp_path / "own.parquet")
    options = COLUMNS | {"path": str(tmp_path / "own.parquet"), "features": ["a"]}
    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=expected):
            prepare(options)
    else:
        part = prepare(options)["train"]
        assert column(part, 0).tolist() == [expected[int(row) % 2] for row in part.target]

"""Names of data sets, models and methods stay text wherever a table is read."""

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from approxgrad.study.names import check_name

READ_AS_SOMETHING_ELSE = [
    *(
        "1",
        "007",
        "123",
        "99999999999999999999999",
        "1_000",
        "1e5",
        "1E-5",
        "0e0",
        "9e999",
        "0x1F",
        "0X0",
        "0b1",
        "0o17",
    ),
    *("2024-01-01", "2024-1-1", "20240101", "10-20-30", "2024-01-01T1030", "20240101T103000Z"),
    *("nan", "NaN", "NA", "null", "None", "inf", "Infinity", "true", "False", "TRUE", "yes", "No", "epoch"),
]
NAMES = [
    *("digits", "x1", "1a", "3d", "1e", "e5", "0xyz", "resnet-18", "2024-01-photos", "cifar10", "nancy", "info", "T5"),
]


def read_back(name, folder):
    """Return what pandas makes of a name in a path of partitions and in CSV, and YAML of it as a key."""
    place = folder / f"dataset={name}"
    place.mkdir()
    pq.write_table(pa.table({"a": [1.0]}), place / "part-0.parquet")
    column = pd.read_parquet(folder)["dataset"].iloc[0]
    return column, pd.read_csv(io.StringIO(f"dataset,a\n{name},1\n"))["dataset"].iloc[0], *yaml.safe_load(f"{name}: 1")


@pytest.mark.parametrize("name", READ_AS_SOMETHING_ELSE)
def test_names_that_are_read_back_as_something_else_are_refused(name):
    with pytest.raises(ValueError, match=f"such as x{name}$"):
        check_name(name)
    assert check_name(f"x{name}") == f"x{name}"


@pytest.mark.parametrize("name", NAMES)
def test_other_names_come_back_as_they_are(name, tmp_path):
    assert check_name(name) == name
    assert read_back(name, tmp_path) == (name, name, name)

import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from approxgrad.storage.attributions import (
    ATTRIBUTION_SCHEMA,
    OPTIONAL_COLUMNS,
    SOURCE_COLUMNS,
    Attributions,
    read_attributions,
    write_attributions,
)
from approxgrad.storage.files import try_writing, write_atomically
from approxgrad.storage.row_groups import METADATA_KEY
from approxgrad.storage.splits import Split, read_mean_input, read_split, write_split
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.tables import read_table, write_table

GENERATOR = np.random.default_rng(0)


def floats(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


IMAGES = Split(
    features=floats(5, 12),
    target=np.array([0, 1, 1, 0, 1]),
    feature_shape=(3, 2, 2),
    classes=("cat", "dog"),
    mean=(0.5, 0.25, -1.0),
    std=(0.5, 2.0, 4.0),
)
ROWS = Split(features=floats(4, 3), target=floats(4), effects=floats(4, 3), feature_shape=(3,))


def origin(**changes):
    """What the metadata say of a gradient source."""
    own = {"family": "forward", "setting": 0.1, "setting_name": "step", "chosen": False, "dtype": "float32"}
    return own | {"evaluations": 4} | changes


def result(features=3, **changes):
    metadata = origin() | {"feature_shape": [features]}
    own = Attributions(np.arange(4), floats(4, features), floats(4, features), None, None, metadata)
    return dataclasses.replace(own, **changes)


def assert_same(read, written):
    for field in dataclasses.fields(written):
        got, expected = getattr(read, field.name), getattr(written, field.name)
        if isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        else:
            assert got == expected


# Data sets


@pytest.mark.parametrize("split", [IMAGES, ROWS], ids=["images", "rows"])
def test_a_split_comes_back(tmp_path, split):
    write_split(tmp_path / "data" / "test.parquet", split, {"source": "generated"})
    assert_same(read_split(tmp_path / "data" / "test.parquet"), split)
    assert read_table(tmp_path / "data" / "test.parquet")[1]["source"] == "generated"


def test_model_inputs_are_normalised_by_channel(tmp_path):
    inputs = IMAGES.model_inputs()
    assert (inputs.shape, inputs.dtype) == ((5, 3, 2, 2), np.float32)
    for channel, (mean, std) in enumerate([(0.5, 0.5), (0.25, 2), (-1, 4)]):
        expected = (IMAGES.features.reshape(5, 3, 2, 2)[:, channel] - np.float32(mean)) / np.float32(std)
        np.testing.assert_array_equal(inputs[:, channel], expected)
    np.testing.assert_array_equal(ROWS.model_inputs(), ROWS.features)
    write_split(tmp_path / "test.parquet", IMAGES, {})
    # The mean of five float32 numbers below 8 and the normalisation are rounded a few times.
    np.testing.assert_allclose(
        read_mean_input(tmp_path / "test.parquet"), inputs.mean(axis=0), rtol=0, atol=8 * 8 * 1.2e-7
    )


def test_outputs_and_rows_of_a_split():
    assert (IMAGES.outputs, ROWS.outputs) == (2, 1)
    chosen = ROWS.rows(np.array([3, 0]))
    assert_same(
        chosen,
        dataclasses.replace(
            ROWS, features=ROWS.features[[3, 0]], target=ROWS.target[[3, 0]], effects=ROWS.effects[[3, 0]]
        ),
    )
    assert IMAGES.rows(np.array([1])).effects is None


# Attributions


@pytest.mark.parametrize("target", [None, np.array([3, 1, 0, 2])], ids=["no target", "target"])
@pytest.mark.parametrize("truth", [None, floats(4, 3)], ids=["no truth", "truth"])
@pytest.mark.parametrize("setting", [None, 0.1])
def test_attributions_come_back(tmp_path, target, truth, setting):
    metadata = origin(setting=setting, options={"n": [1, 2]})
    written = result(target=target, truth=truth, metadata=metadata)
    write_attributions(tmp_path / "part-0.parquet", written)
    read = read_attributions(tmp_path / "part-0.parquet")
    assert_same(read, dataclasses.replace(written, attribution=written.attribution.astype(np.float64)))


def test_pandas_reads_a_folder_of_both_precisions_without_rounding(tmp_path):
    values = GENERATOR.normal(size=(4, 3))
    parts = {"forward-h0.1": values.astype(np.float32), "forward-h0.1-float64": values}
    for name, maps in parts.items():
        part = result(attribution=maps, metadata=origin(dtype=str(maps.dtype)))
        write_attributions(tmp_path / f"gradient={name}" / "part-0.parquet", part)
    frame = pd.read_parquet(tmp_path)
    for name, maps in parts.items():
        rows = frame[frame["gradient"] == name]
        np.testing.assert_array_equal(np.stack(rows["attribution"]), maps)
        assert set(rows["dtype"]) == {str(maps.dtype)}


def test_pandas_reads_a_folder_of_data_sets_that_differ_in_features(tmp_path):
    parts = {"digits": result(3, target=np.array([3, 1, 0, 2])), "synthetic": result(5, truth=floats(4, 5))}
    for name, part in parts.items():
        write_attributions(tmp_path / f"dataset={name}" / "gradient=forward-h0.1" / "part-0.parquet", part)
    frame = pd.read_parquet(tmp_path)
    assert set(frame.columns) == {*ATTRIBUTION_SCHEMA.names, "dataset", "gradient"}
    assert len(frame) == 8
    for name, part in parts.items():
        rows = frame[frame["dataset"] == name]
        np.testing.assert_array_equal(np.stack(rows["attribution"]), part.attribution)
        np.testing.assert_array_equal(np.stack(rows["input"]), part.inputs)
    assert frame.groupby("dataset", observed=True)[["target", "truth"]].count().to_dict("index") == {
        "digits": {"target": 4, "truth": 0},
        "synthetic": {"target": 0, "truth": 4},
    }
    assert set(frame["setting"]) == {0.1}


def test_every_row_tells_its_gradient_source(tmp_path):
    own = {"exact": origin(family="exact", setting=None, setting_name="", evaluations=1)}
    own["forward-auto"] = origin(chosen=True)
    own["random-n8"] = origin(family="random", setting=8, setting_name="evaluations", dtype="float64", evaluations=8)
    for name, metadata in own.items():
        write_attributions(tmp_path / f"gradient={name}" / "part-0.parquet", result(metadata=metadata))
    frame = pd.read_parquet(tmp_path).set_index("gradient")
    assert list(frame.columns[2:8]) == SOURCE_COLUMNS
    kinds = {"setting": "float64", "chosen": "bool", "evaluations": "int64"}
    assert {name: str(frame[name].dtype) for name in kinds} == kinds
    for name, metadata in own.items():
        rows = frame.loc[[name], SOURCE_COLUMNS].astype(object)
        assert len(rows) == 4
        assert (rows.where(rows.notna(), None) == pd.Series(metadata)).drop(columns="setting").all(axis=None)
        expected = np.nan if metadata["setting"] is None else metadata["setting"]
        np.testing.assert_array_equal(rows["setting"].astype(float), np.full(4, expected))


# Files that are not what they should be


@pytest.mark.parametrize("read", [read_split, read_attributions])
def test_files_that_are_no_tables_of_the_package_are_refused(tmp_path, read):
    path = tmp_path / "part-0.parquet"
    with pytest.raises(TableError, match=r"part-0.parquet: no such file"):
        read(path)
    write_attributions(path, result())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TableError, match=r"part-0.parquet: cannot be read as parquet \("):
        read(path)
    path.write_text("sample,target\n")
    with pytest.raises(TableError, match=r"part-0.parquet: cannot be read as parquet \("):
        read(path)
    pd.DataFrame({"features": [[1.0]]}).to_parquet(path)
    with pytest.raises(TableError, match=r"part-0.parquet: has no metadata of approxgrad"):
        read(path)


def test_metadata_that_is_no_document_is_refused(tmp_path):
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.table({"sample": [1]}).replace_schema_metadata({METADATA_KEY: b"{"}), path)
    with pytest.raises(TableError, match=r"part-0.parquet: cannot be read"):
        read_table(path)


def test_outputs_at_both_ends_of_a_path_come_back_and_may_be_missing(tmp_path):
    path = tmp_path / "part-0.parquet"
    # No float32 numbers, so that a loss of precision shows.
    written = result(output=np.arange(4) + 0.1, baseline_output=np.arange(4) / 3)
    write_attributions(path, written)
    read = dataclasses.replace(written, attribution=written.attribution.astype(np.float64))
    assert_same(read_attributions(path), read)
    table, document = read_table(path)
    write_table(path, table.drop_columns(OPTIONAL_COLUMNS), document)
    assert_same(read_attributions(path), dataclasses.replace(read, output=None, baseline_output=None))


@pytest.mark.parametrize("column", ["sample", "target", "attribution", "input", "truth"])
def test_a_missing_column_of_attributions_is_named(tmp_path, column):
    path = tmp_path / "part-0.parquet"
    write_attributions(path, result())
    table, document = read_table(path)
    write_table(path, table.drop_columns([column]), document)
    with pytest.raises(TableError, match=rf"part-0.parquet: lacks the columns {column}$"):
        read_attributions(path)


def test_columns_that_the_metadata_tell_too_may_be_missing(tmp_path):
    # As in files of version 0.1, which have no column of the precision and float32 maps.
    path = tmp_path / "part-0.parquet"
    write_attributions(path, result())
    table, document = read_table(path)
    maps = table["attribution"].cast(pa.list_(pa.float32()))
    old = table.set_column(table.column_names.index("attribution"), "attribution", maps)
    write_table(path, old.drop_columns(SOURCE_COLUMNS), document)
    np.testing.assert_array_equal(
        read_attributions(path).attribution, maps.combine_chunks().flatten().to_numpy().reshape(4, 3)
    )


@pytest.mark.parametrize("missing", ["features", "target", "feature_shape", "normalisation"])
def test_a_missing_part_of_a_split_is_named(tmp_path, missing):
    path = tmp_path / "test.parquet"
    write_split(path, ROWS, {})
    table, document = read_table(path)
    if missing in table.column_names:
        table = table.drop_columns([missing])
    document.pop(missing, None)
    write_table(path, table, document)
    with pytest.raises(TableError, match=rf"test.parquet: lacks .*{missing}.*, so it is not part of a data set"):
        read_split(path)


@pytest.mark.parametrize(
    "lists", [[[1.0], [1.0, 2.0], [1.0], [1.0]], [[1.0], [1.0, 2.0, 3.0], [], []], [[1.0], None, [1.0], [1.0]]]
)
def test_lists_of_different_length_are_refused(tmp_path, lists):
    path = tmp_path / "part-0.parquet"
    write_attributions(path, result())
    table, document = read_table(path)
    place = table.column_names.index("attribution")
    write_table(path, table.set_column(place, "attribution", pa.array(lists, pa.list_(pa.float32()))), document)
    with pytest.raises(TableError, match=r"part-0.parquet: column attribution does not hold lists of one length"):
        read_attributions(path)


# Writing


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "part-0.parquet"

    def fail(temporary):
        temporary.write_text("half a file")
        raise RuntimeError("disk full")

    for before in ([], ["part-0.parquet"]):
        with pytest.raises(RuntimeError, match="disk full"):
            write_atomically(path, fail)
        assert [file.name for file in tmp_path.iterdir()] == before
        path.write_text("the old file")
    assert path.read_text() == "the old file"


def test_a_written_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "new" / "part-0.parquet"

    def write(temporary):
        assert not path.exists()
        assert temporary.parent == path.parent  # on the same disk, so that the renaming is atomic
        assert temporary.suffix == path.suffix
        temporary.write_text("all of it")

    write_atomically(path, write)
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_folders_are_tried_before_the_work_and_left_as_they_are(tmp_path):
    (tmp_path / "file").touch()
    try_writing([tmp_path / "new" / "a", tmp_path / "b"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "new"]
    with pytest.raises(OSError, match=r"/file/c: cannot be written \((File exists|Not a directory)\)"):
        try_writing([tmp_path / "b", tmp_path / "file" / "c"])


def test_metadata_is_strict_json_in_a_fixed_order(tmp_path):
    path = tmp_path / "part-0.parquet"
    table = pa.table({"sample": [1]})
    write_table(path, table, {"b": 1, "a": [0.1]})
    assert pq.read_schema(path).metadata[METADATA_KEY] == json.dumps({"a": [0.1], "b": 1}).encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_table(path, table, {"step": float("nan")})
    assert read_table(path)[1] == {"a": [0.1], "b": 1}

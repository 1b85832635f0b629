"""Digests in files: others read the files as before, and what is read is what was written."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.provenance.document import ProvenanceError, read_provenance
from approxgrad.storage.row_groups import document_schema, write_row_groups
from approxgrad.storage.seals import MARK, WEIGHTS_KEY, SealError, check_weights, sealed_weights
from approxgrad.storage.table_checks import TableError
from approxgrad.storage.table_file import TableFile
from approxgrad.storage.tables import read_table, write_table

ROWS, GROUP = 12, 5
NETWORK = {"architecture": "mlp", "input_shape": (3,), "outputs": 2, "hidden": [4], "dropout": 0.1}


def table():
    values = np.random.default_rng(0).normal(size=(ROWS, 4))
    return pa.table(
        {"row": np.arange(ROWS), "value": values[:, 0], "map": pa.array(list(values), pa.list_(pa.float64()))}
    )


@pytest.fixture
def path(tmp_path):
    """A table in three row groups."""
    path = tmp_path / "part-0.parquet"
    write_row_groups(path, document_schema(table().schema, {"a": 1, "provenance": {"b": 2}}), [table()], GROUP)
    return path


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_others_read_a_sealed_file_as_if_it_were_not(path):
    assert MARK in path.read_bytes()
    assert pq.read_table(path).replace_schema_metadata().equals(table())
    pd.testing.assert_frame_equal(pd.read_parquet(path), table().to_pandas())
    assert pq.read_metadata(path).num_row_groups == 3


def test_a_file_written_anew_by_others_has_no_digests_and_is_read(path):
    again = path.with_name("again.parquet")
    pq.write_table(pq.read_table(path), again)
    assert MARK not in again.read_bytes()
    found, document = read_table(again)
    assert found.replace_schema_metadata().equals(table())
    assert document["a"] == 1


def test_only_what_is_read_is_checked(path):
    group = pq.read_metadata(path).row_group(2)
    (column,) = (group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == "value")
    flip(path, column.data_page_offset)
    file = TableFile(path)
    assert file.read(["row", "map"]).num_rows == ROWS
    assert file.take([0, 9], ["value"]).num_rows == 2
    for read in (
        lambda: file.take([10], ["value"]),
        lambda: file.read(),
        lambda: list(file.pieces(["value"])),
        lambda: list(file.batches(["row", "value"], 3)),
    ):
        with pytest.raises(TableError, match=r"part-0\.parquet: cannot be read as parquet \(it is damaged: its digest"):
            read()


def test_every_bit_behind_the_values_counts(path):
    content = path.read_bytes()
    mark = content.index(MARK)
    for place in (*range(mark - 36, mark), *range(mark + len(MARK), len(content), 11), *range(-8, 0)):
        flip(path, place, place % 8)
        with pytest.raises(TableError, match=r"part-0\.parquet: "):
            TableFile(path)
        with pytest.raises(ProvenanceError, match=r"part-0\.parquet: "):
            read_provenance(path)
        path.write_bytes(content)
    for place in range(mark, mark + len(MARK)):
        flip(path, place)
        assert read_table(path)[0].replace_schema_metadata().equals(table())
        path.write_bytes(content)
    assert read_provenance(path) == {"b": 2}


def test_a_table_is_sealed_whatever_its_columns_are_called(tmp_path):
    columns = {name: np.arange(3.0) for name in ("a", "a.b", "a.b.c", "ü")}
    columns["list.element"] = pa.array([[1.0], [], [2.0]])
    write_table(tmp_path / "a.parquet", pa.table(columns), {})
    write_table(tmp_path / "b.parquet", pa.table(columns), {})
    content = (tmp_path / "a.parquet").read_bytes()
    assert content == (tmp_path / "b.parquet").read_bytes()
    for name in columns:
        assert read_table(tmp_path / "a.parquet", [name])[0][name].to_pylist() == pa.table(columns)[name].to_pylist()
    write_table(tmp_path / "empty.parquet", pa.table(columns).slice(0, 0), {})
    assert read_table(tmp_path / "empty.parquet")[0].num_rows == 0


# Weights


def network():
    torch.manual_seed(0)
    return build_model(**NETWORK)


def test_others_read_sealed_weights_as_if_they_were_not(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_model(path, network(), NETWORK | {"provenance": {"b": "ü"}})
    again = tmp_path / "again.safetensors"
    save_model(again, network(), NETWORK | {"provenance": {"b": "ü"}})
    assert path.read_bytes() == again.read_bytes()
    own = network().state_dict()
    found = load_file(path)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)
    assert read_provenance(path) == {"b": "ü"}
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"approxgrad", WEIGHTS_KEY}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int8, torch.bool])
def test_weights_of_every_type_are_sealed(tmp_path, dtype):
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.ones(3).to(dtype), 'b"\\': torch.zeros(0).to(dtype), "c": torch.tensor(1).to(dtype)}
    path.write_bytes(sealed_weights(save(tensors)))
    check_weights(path)
    assert {name: value.tolist() for name, value in load_file(path).items()} == {
        name: value.tolist() for name, value in tensors.items()
    }
    flip(path, -1)
    with pytest.raises(SealError, match="its digest does not fit"):
        check_weights(path)


def test_weights_without_a_digest_are_loaded(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(network().state_dict(), metadata={"approxgrad": json.dumps(NETWORK)}))
    model = load_model(path, torch.device("cpu"))
    assert torch.equal(model.network[0].weight, network().network[0].weight)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]", b"a,b\n1,2\n" * 9])
def test_other_files_are_passed_over(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    check_weights(tmp_path / "x")


def test_text_that_looks_like_a_digest_is_not_taken_for_it(tmp_path):
    path = tmp_path / "weights.safetensors"
    text = json.dumps({WEIGHTS_KEY: "0" * 64}, separators=(",", ":"))
    path.write_bytes(sealed_weights(save({"a": torch.ones(2)}, metadata={"approxgrad": text})))
    check_weights(path)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["approxgrad"] == text

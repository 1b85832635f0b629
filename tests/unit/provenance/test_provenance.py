import json
import os
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from approxgrad import read_provenance
from approxgrad.models.model_files import build_model, load_model
from approxgrad.models.saved import save_model
from approxgrad.provenance.dependencies import PACKAGE_ROOT
from approxgrad.provenance.digests import LARGEST_READ, PIECES, code_digest, content_digest, file_state, input_digest
from approxgrad.provenance.document import ProvenanceError, joined_provenance, provenance
from approxgrad.storage.tables import write_table
from approxgrad.study.shards import merged

SCRIPT = PACKAGE_ROOT.parent / "scripts" / "attribute.py"
MLP = {"input_shape": [3], "outputs": 1, "architecture": "mlp", "hidden": [2], "dropout": 0.0}


class Names(dict):
    """What Snakemake gives a script: values by name."""

    code = property(lambda self: self["code"])


def job(tmp_path, **parameters):
    test = tmp_path / "rows.csv"
    test.write_text("1,2\n")
    parameters = Names({"step": 0.1, "method": ("a", 1), "versions": {"code": "c", "numpy": "2"}, **parameters})
    inputs = Names(code=[str(SCRIPT)], test=str(test), training=[])
    return SimpleNamespace(params=parameters, input=inputs)


def write(path, values=(1.0, 2.0), **metadata):
    write_table(path, pa.table({"value": list(values)}), metadata)
    return path


def test_the_document_says_what_a_result_came_from(tmp_path, monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    document = provenance(job(tmp_path, states=["x"]), {"device": "cpu"})
    assert set(document) == {"approxgrad", "code", "config", "inputs", "libraries", "machine", "python", "script"}
    assert document["script"] == "attribute.py"
    assert document["config"] == {"step": 0.1, "method": ["a", 1]}
    assert document["libraries"] == {"numpy": "2"}
    assert document["inputs"] == {"test": content_digest(tmp_path / "rows.csv")}
    assert document["machine"]["device"] == "cpu"
    assert document["machine"]["environment"]["MKL_CBWR"] == "AVX2"
    assert "SOMETHING_ELSE" not in document["machine"]["environment"]
    (tmp_path / "again").mkdir()
    assert provenance(job(tmp_path / "again"), {"device": "cpu"}) == document


def test_it_is_read_back_from_tables_and_weights(tmp_path):
    document = provenance(job(tmp_path))
    table = write(tmp_path / "a.parquet", provenance=document)
    weights = tmp_path / "a.safetensors"
    save_model(weights, build_model(**MLP), MLP | {"provenance": document})
    assert read_provenance(table) == read_provenance(weights) == document
    assert load_model(weights, torch.device("cpu"))(torch.ones(2, 3)).shape == (2, 1)


def test_weights_have_the_same_bytes_again(tmp_path):
    model, document = build_model(**MLP), provenance(job(tmp_path))
    for name in "ab":
        save_model(tmp_path / name, model, MLP | {"provenance": document})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parts_from_several_machines_are_one_result_but_not_of_several_codes():
    parts = [
        {"code": "a", "machine": {"device": name, "environment": {}}, "libraries": {"torch": number}}
        for name, number in (("cpu", "1"), ("gpu", "1"), ("cpu", "2"))
    ]
    whole = {"device": "cpu, gpu", "environment": {}}
    assert joined_provenance(parts) == {"code": "a", "machine": whole, "libraries": {"torch": "1, 2"}}
    assert joined_provenance(parts[:1]) == parts[0]
    cost = {
        "model_evaluations": 1,
        "check_evaluations": 9,
        "lost_steps": 0,
        "batch_size": 1,
        "device": "cpu",
        "versions": {},
        "rounding_ratios": [],
    }
    assert merged([{**cost, "provenance": part} for part in parts])["provenance"] == joined_provenance(parts)
    with pytest.raises(ProvenanceError, match="code differs between parts of one result"):
        joined_provenance([parts[0], parts[0] | {"code": "b"}])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_text("nothing"), "cannot be read"),
        (lambda path: write(path), "does not say what it came from"),
    ],
    ids=["missing", "no table", "earlier version"],
)
def test_a_file_that_does_not_say_is_refused(tmp_path, make, words):
    path = tmp_path / "a.parquet"
    make(path)
    with pytest.raises(ProvenanceError, match=f"a.parquet: {words}"):
        read_provenance(path)


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1")
    first = content_digest(tmp_path)
    (tmp_path / "in" / "a").touch()
    assert content_digest(tmp_path) == first
    (tmp_path / "in" / "a").rename(tmp_path / "in" / "b")
    second = content_digest(tmp_path)
    (tmp_path / "in" / "b").write_text("2")
    assert len({first, second, content_digest(tmp_path)}) == 3


def test_the_digest_of_several_files_follows_their_order(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    assert input_digest([a]) == input_digest(a) == content_digest(a)
    assert len({input_digest([a, b]), input_digest([b, a]), input_digest(a)}) == 3


def test_the_digest_of_code_follows_contents_and_not_the_working_directory(tmp_path, monkeypatch):
    files = [SCRIPT, PACKAGE_ROOT / "study" / "cells.py"]
    first = code_digest(files)
    monkeypatch.chdir(tmp_path)
    assert code_digest([os.path.relpath(path) for path in reversed(files)]) == first
    assert code_digest(files[:1]) != first


def test_the_state_of_a_small_file_is_its_content_and_of_a_large_one_its_time(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    assert file_state(small) == "missing"
    small.write_text("1")
    with large.open("wb") as file:
        file.truncate(LARGEST_READ + 1)
    states = file_state(small), file_state(large)
    os.utime(small, (0, 0))
    os.utime(large, (0, 0))
    assert file_state(small) == states[0] == content_digest(small)
    assert file_state(large) != states[1]
    assert json.dumps(states)


def test_a_large_file_of_the_same_size_and_time_is_another_one(tmp_path):
    path, states = tmp_path / "large", []
    with path.open("wb") as file:
        file.truncate(LARGEST_READ + 1)
    for place in (0, LARGEST_READ // (PIECES - 1), LARGEST_READ):
        with path.open("rb+") as file:
            file.seek(place)
            file.write(b"1")
        os.utime(path, (0, 0))
        states.append(file_state(path))
    assert len(set(states)) == 3

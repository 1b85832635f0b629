"""What services answered is kept: nothing is paid twice, and nothing of another model is taken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from approxgrad import FiniteDifference, ServiceModel, attribute
from approxgrad.gradients.evaluating.rows import RowError
from approxgrad.models.kind import ModelError
from approxgrad.models.services import answers
from approxgrad.models.services.answers import Answers, row_keys
from stub_services import FEATURES, Service, http_service, network

ROWS = np.random.default_rng(1).normal(size=(9, FEATURES)).astype(np.float32)
EXPECTED = network(ROWS).astype(np.float32)
REFERENCE = np.arange(6, dtype=np.float32).reshape(2, 3)
SERVICE = {"address": "http://127.0.0.1:1", "model": "m"}


def opened(folder, address, **options):
    return ServiceModel(address, **{"model": "m", "pause": 0.01, "cache": folder, **options})


def files(folder):
    return sorted(folder.rglob("*.answers"))


@pytest.fixture
def store(tmp_path):
    def make(version="1", reference=REFERENCE, tolerance=0.01, **options):
        return Answers(tmp_path, SERVICE, version, reference, tolerance, **options)

    return make


def test_a_second_model_asks_nothing_but_its_probes_whatever_the_batches(tmp_path):
    with http_service() as (service, address):
        with opened(tmp_path, address, batch_size=2, concurrency=3) as model:
            first = model(ROWS)
        asked = sum(service.asked)
        with opened(tmp_path, address, batch_size=5) as model:
            assert np.array_equal(model(ROWS[::-1]), first[::-1])
            assert (model.rows_sent, model.rows_from_cache) == (8, 9)
        assert sum(service.asked) == asked + 16  # At the beginning and at the end.


def test_equal_rows_of_a_call_are_asked_once(tmp_path):
    with http_service() as (service, address):
        model = opened(tmp_path, address)
        rows = ROWS[[0, 1, 0, 0, 1]]
        assert np.array_equal(model(rows), EXPECTED[[0, 1, 0, 0, 1]])
        assert service.asked[-1] == 2
        assert model.rows_from_cache == 3


def test_an_interrupted_attribution_goes_on_where_it_was(tmp_path):
    rows = torch.from_numpy(ROWS)
    source = FiniteDifference(0.01, "central", batch_size=12)
    with http_service() as (service, address):
        expected = attribute(opened(tmp_path / "other", address), rows, target=1, gradient=source)
        model = opened(tmp_path / "own", address, batch_size=4)
        done = len(service.asked)
        service.faults = [None] * 12 + ["wrong"]
        with pytest.raises(ValueError, match="answers 400"):
            attribute(model, rows, target=1, gradient=source)
        paid = sum(service.asked[done:-1])
        again = opened(tmp_path / "own", address, batch_size=4)
        before = again.rows_sent
        assert torch.equal(attribute(again, rows, target=1, gradient=source), expected)
        whole = opened(tmp_path / "third", address)
        begin = whole.rows_sent
        attribute(whole, rows, target=1, gradient=source)
        assert paid >= 30
        assert again.rows_sent - before == whole.rows_sent - begin - paid


def test_answers_of_another_model_are_passed_over_or_refused(tmp_path):
    with http_service() as (service, address):
        opened(tmp_path, address)(ROWS)
        service.change = lambda outputs: outputs + 0.5
        model = opened(tmp_path, address)
        assert np.array_equal(model(ROWS), (network(ROWS) + 0.5).astype(np.float32))
        assert model.rows_from_cache == 0
        with pytest.raises(ModelError, match=r"holds answers of another model.*remove that folder"):
            opened(tmp_path, address, only_model=True)
        service.change = None
        model = opened(tmp_path, address)
        assert np.array_equal(model(ROWS), EXPECTED)
        assert model.rows_from_cache == len(ROWS)


def test_a_header_may_choose_the_model(tmp_path):
    with http_service() as (service, address):
        opened(tmp_path, address, headers={"Host": "one.example.com"}, only_model=True)(ROWS)
        service.change = lambda outputs: outputs + 0.5
        opened(tmp_path, address, headers={"Host": "two.example.com"}, only_model=True)(ROWS)


@pytest.mark.parametrize("metadata", [{"versions": ["2"]}, {"outputs": [{"name": "y2", "datatype": "FP32"}]}])
def test_another_version_is_another_model(tmp_path, metadata):
    with http_service() as (service, address):
        opened(tmp_path, address)(ROWS)
        service.metadata = metadata
        if "outputs" in metadata:
            with pytest.raises(ModelError, match="output: got 'y2', expected one of y"):
                opened(tmp_path, address)
        else:
            model = opened(tmp_path, address)
            model(ROWS)
            assert model.rows_from_cache == 0


def test_what_another_model_may_have_answered_is_not_kept(tmp_path):
    with http_service() as (service, address):
        model = opened(tmp_path, address, check_every=1000)
        model(ROWS[:3])
        model.check()
        service.change = lambda outputs: outputs * 2
        model(ROWS[3:])
        with pytest.raises(ModelError, match="other numbers"):
            model.check()
        service.change = None
        again = opened(tmp_path, address)
        assert np.array_equal(again(ROWS), EXPECTED)
        assert again.rows_from_cache == 3


@pytest.mark.parametrize("change", ["random", "batch"])
def test_a_cache_does_not_hide_rows_that_are_not_independent_or_repeatable(tmp_path, change):
    random = np.random.default_rng(0)
    changes = {
        "random": lambda outputs: outputs + random.normal(size=outputs.shape) / 1e4,
        "batch": lambda outputs: outputs - outputs.mean(),
    }
    with http_service(Service(change=changes[change])) as (_, address):
        with pytest.raises(RowError, match=r"outputs differ by .* check_rows=False"):
            opened(tmp_path, address)
        opened(tmp_path, address, check_rows=False)
        if change == "batch":
            opened(tmp_path / "one", address, batch_size=1)(ROWS)


def test_rows_are_told_apart_by_numbers_type_and_shape():
    rows = np.zeros((1, 4), np.float32)
    others = [rows.reshape(1, 2, 2), rows.astype(np.float64)[:, :2], rows.view(np.int32), -rows]
    keys = [row_keys(own)[0] for own in (rows, *others)]
    assert len(set(keys)) == len(keys)
    assert row_keys(np.zeros((2, 8), np.float32)[:, ::2])[0] == keys[0]


def test_any_number_of_processes_store_at_the_same_time(tmp_path, store):
    code = (
        "import sys, numpy as np\n"
        "from approxgrad.models.services.answers import Answers, row_keys\n"
        f"store = Answers({str(tmp_path)!r}, {SERVICE!r}, '1', np.arange(6, dtype=np.float32).reshape(2, 3), 0.01)\n"
        "for number in range(50):\n"
        "    rows = np.full((4, 2), 1000 * int(sys.argv[1]) + number) + np.arange(4)[:, None] / 8\n"
        "    store.add(row_keys(rows), np.repeat(rows[:, :1], 3, axis=1).astype(np.float32))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    rows = np.concatenate(
        [np.full((4, 2), 1000.0 * n + i) + np.arange(4)[:, None] / 8 for n in range(3) for i in range(50)]
    )
    known, found = store().find(row_keys(rows))
    assert known.all()
    assert np.array_equal(found[:, 2], rows[:, 0].astype(np.float32))


@pytest.mark.parametrize("damage", ["torn", "zeros", "flipped", "torn head", "other"])
def test_damaged_records_are_passed_over_and_all_others_found(tmp_path, store, damage):
    rows = np.arange(20.0).reshape(10, 2)
    own = store()
    own.add(row_keys(rows), np.repeat(rows[:, :1], 3, axis=1).astype(np.float32))
    (path,) = files(tmp_path)
    content = path.read_bytes()
    begin = content.index(b"\n") + 1
    size = (len(content) - begin) // 10
    expected = {"torn": 9, "zeros": 8, "flipped": 9, "torn head": 0, "other": 0}[damage]
    changed = {
        "torn": content[:-5],
        "zeros": content[: -2 * size] + bytes(2 * size),
        "flipped": content[: begin + 20] + bytes([content[begin + 20] ^ 1]) + content[begin + 21 :],
        "torn head": content[: begin // 2],
        "other": b"[1]\n" + content[begin:],
    }[damage]
    path.write_bytes(changed)
    again = store()
    known, found = again.find(row_keys(rows))
    assert known.sum() == expected
    assert np.array_equal(found[known][:, 0], rows[known][:, 0].astype(np.float32))
    again.add(row_keys(rows[~known]), np.repeat(rows[~known][:, :1], 3, axis=1).astype(np.float32))
    assert store().find(row_keys(rows))[0].all()


def test_many_answers_are_found_again(store, monkeypatch):
    monkeypatch.setattr(answers, "RECENT", 64)
    own = store()
    rows = np.arange(1000.0).reshape(500, 2)
    for start in range(0, 500, 30):
        part = rows[start : start + 30]
        own.add(row_keys(part), np.repeat(part[:, :1], 3, axis=1).astype(np.float32))
    order = np.random.default_rng(0).permutation(500)
    for each in (own, store()):
        known, found = each.find(row_keys(rows[order]))
        assert known.all()
        assert np.array_equal(found[:, 1], rows[order][:, 0].astype(np.float32))
        assert not each.find(row_keys(rows + 0.5))[0].any()


def test_a_row_takes_20_bytes_more_than_its_answer(tmp_path, store):
    own = store()
    own.add(row_keys(np.zeros((1, 2))), REFERENCE[:1])
    before = files(tmp_path)[0].stat().st_size
    own.add(row_keys(np.ones((100, 2)) * np.arange(100)[:, None]), np.zeros((100, 3), np.float32))
    assert files(tmp_path)[0].stat().st_size - before == 100 * (20 + 3 * 4)


def test_the_reference_is_that_of_the_first_file(store):
    store().add(row_keys(np.zeros((1, 2))), REFERENCE[:1])
    second = store(reference=REFERENCE + 0.001)
    assert np.array_equal(second.reference, REFERENCE)
    second.add(row_keys(np.ones((1, 2))), REFERENCE[:1])
    assert np.array_equal(store(reference=REFERENCE - 0.001).reference, REFERENCE)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with http_service() as (_, address):
        model = opened(tmp_path / "file", address)
        with pytest.raises(OSError, match=r"file/.*: answers cannot be stored \(Not a directory\)"):
            model(ROWS)


def test_a_write_that_fails_leaves_whole_records(tmp_path, store, monkeypatch):
    own = store()
    own.add(row_keys(np.zeros((1, 2))), REFERENCE[:1])
    before = files(tmp_path)[0].read_bytes()
    real = Path.open

    class Full:
        """A file on a disk that is full after some bytes."""

        def __init__(self, file):
            self._file, self._left = file, 7

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def tell(self):
            return self._file.tell()

        def truncate(self, size):
            return self._file.truncate(size)

        def write(self, content):
            if not self._left:
                raise OSError(28, os.strerror(28))
            taken, self._left = self._file.write(content[: self._left]), 0
            return taken

    monkeypatch.setattr(Path, "open", lambda path, *args, **options: Full(real(path, *args, **options)))
    with pytest.raises(OSError, match=r"answers cannot be stored .No space left"):
        own.add(row_keys(np.ones((3, 2))), np.zeros((3, 3), np.float32))
    monkeypatch.undo()
    assert files(tmp_path)[0].read_bytes() == before
    own.add(row_keys(np.full((1, 2), 5.0)), REFERENCE[1:])
    assert store().find(row_keys(np.full((1, 2), 5.0)))[0].all()


def test_the_head_of_a_file_says_whose_answers_it_holds(tmp_path):
    with http_service() as (_, address):
        opened(tmp_path, address)(ROWS)
    head = json.loads(files(tmp_path)[0].read_bytes().partition(b"\n")[0])
    assert head["service"]["address"] == address
    assert (head["version"], head["checked"], head["dtype"]) == ("1", True, "<f4")

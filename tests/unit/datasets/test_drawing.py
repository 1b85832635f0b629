import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from approxgrad.datasets.drawing import UNLIMITED, Limit, rest_faults, rows_of, stratified
from approxgrad.datasets.faults import address_faults, path_faults
from approxgrad.datasets.normalisation import Normalisation


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.data())
def test_a_draw_is_a_partition_in_proportion_to_the_classes(labels, data):
    labels = np.array(labels)
    count, seed = data.draw(st.integers(0, len(labels))), data.draw(st.integers(0, 2**63 - 1))
    drawn, left = stratified(labels, count, seed)
    assert len(drawn) == count
    assert sorted([*drawn, *left]) == list(range(len(labels)))
    assert list(drawn) == sorted(drawn)
    assert list(left) == sorted(left)
    for label in set(labels.tolist()):
        exact = count * np.mean(labels == label)
        # Each class is spread evenly, so only the rounding of every class can put one row more or less.
        assert abs(np.sum(labels[drawn] == label) - exact) <= len(set(labels.tolist())) / 2 + 0.5
    if count:
        assert set(stratified(labels, count - 1, seed)[0]) < set(drawn)


@pytest.mark.parametrize("sizes", [[40, 40, 40], [20, 80, 20], [4, 100, 16]])
def test_classes_are_drawn_in_proportion(sizes):
    labels = np.repeat([0, 1, 2], sizes)
    drawn, _ = stratified(labels, 30, 0)
    assert np.bincount(labels[drawn]).tolist() == [size // 4 for size in sizes]


def test_a_draw_is_random_and_follows_the_seed():
    labels = np.zeros(1000, int)
    first, again, other = (set(stratified(labels, 500, seed)[0]) for seed in (1, 1, 2))
    assert first == again
    # Two independent halves share half of their rows, give or take the spread of a hypergeometric draw (8).
    assert abs(len(first & other) - 250) < 50


def test_amounts():
    assert [rows_of(amount, 50) for amount in (0.1, 0.101, 1, 7, 7.0, 80)] == [5, 6, 1, 7, 7, 80]
    assert UNLIMITED.faults(0, 0) == Limit(5, 6).faults(5, 6) == []
    assert Limit(5, 6).faults(4, 5) == [
        "limit.train: got 5, expected at most 4, the rows that there are",
        "limit.test: got 6, expected at most 5, the rows that there are",
    ]
    assert rest_faults("test", 2, 9) == []
    assert rest_faults("test", 1, 1800) == ["test: leaves 1 of 1,800 rows to train on, expected at least 2"]
    assert rest_faults("test", -3, 6) == ["test: leaves 0 of 6 rows to train on, expected at least 2"]


def test_normalisation():
    assert Normalisation((1, 2), (3,)).faults(2) == []
    assert Normalisation((1,), (1, 1, 1)).faults(1) == ["normalisation.std: got 3 numbers, expected 1"]


@pytest.mark.parametrize("path", ["a.csv", "a/b.csv", "/a/../b.csv", "a..csv"])
def test_paths_that_are_allowed(path):
    assert path_faults("path", path) == []


@pytest.mark.parametrize("path", ["../a.csv", "a/../../b.csv", ".."])
def test_relative_paths_stay_in_the_working_directory(path):
    assert path_faults("files.train", path) == [
        f"files.train: got '{path}', expected a path without '..' or an absolute one"
    ]


@pytest.mark.parametrize("address", ["ftp://host/x", "data://x", "../x", "", "file://host/x", "http:///x", "file://"])
def test_addresses_of_other_kinds_are_faults(address):
    (fault,) = address_faults("addresses[1]", address)
    assert fault.startswith(f"addresses[1]: got '{address}', expected https://, http://, file:/// or a local path")


@pytest.mark.parametrize("address", ["https://host/x", "http://host/x", "file:///x", "file://localhost/x", "/x", "a/x"])
def test_addresses_that_can_be_used(address):
    assert address_faults("addresses[0]", address) == []

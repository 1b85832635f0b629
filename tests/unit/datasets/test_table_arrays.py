"""Tables in the arrays of an .npz file."""

from pathlib import Path

import numpy as np
import pytest

from approxgrad.datasets.faults import DatasetError
from own_tables import ARRAYS, prepare

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "published" / "synthetic" / "nonlinear.npz"


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return {"path": str(tmp_path / "own.npz")}

    return save


X = np.random.default_rng(1).normal(size=(20, 3))
Y = np.arange(20.0)


def test_arrays_of_all_rows(save):
    parts = prepare(ARRAYS | save(X=X, y=Y[:, None], e=2 * X) | {"arrays": {"all": ["X", "y"], "effects": "e"}})
    assert [len(part.target) for part in parts.values()] == [12, 3, 5]
    for part in parts.values():
        rows = part.target.astype(int)
        np.testing.assert_array_equal(part.features, X.astype(np.float32)[rows])
        np.testing.assert_array_equal(part.effects, (2 * X).astype(np.float32)[rows])


@pytest.mark.parametrize("kind", [">f8", ">i4", "f2", "longdouble", "U", "?"])
def test_arrays_of_other_types_are_numbers(save, kind):
    values = np.asfortranarray((10 * X).astype(int).astype(kind))
    parts = prepare(
        ARRAYS
        | save(X=values, y=Y.astype(kind if kind in (">f8", ">i4", "U") else "f8"))
        | {"arrays": {"all": ["X", "y"]}}
    )
    for part in parts.values():
        np.testing.assert_array_equal(part.features, values.astype(np.float32)[part.target.astype(int)])


@pytest.mark.parametrize(
    "labels", [np.array(["b", "a"]), np.array([7, 3]), np.array([b"b", b"a"]), np.array([9, 3], ">u2")]
)
def test_arrays_of_the_parts(save, labels):
    labels = np.resize(labels, 20)
    options = ARRAYS | save(a=X, b=labels, c=X + 1, d=labels, e=X) | {"task": "classification"}
    parts = prepare(options | {"arrays": {"train": ["a", "b"], "test": ["c", "d"], "effects": "e"}})
    assert [len(part.target) for part in parts.values()] == [17, 3, 20]
    assert parts["test"].target.tolist() == [1, 0] * 10
    assert parts["test"].classes == tuple(
        map(str, sorted(set(labels.astype(labels.dtype.str.replace("S", "U")).tolist())))
    )
    assert parts["test"].effects is not None
    assert parts["train"].effects is None


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": X, "y": Y}, r"own.npz: has no array 'X', only x, y \(did you mean x\?\)|has no array 'X', only x, y$"),
        ({"X": X, "y": Y[1:]}, r"own.npz: array y has the shape \(19,\), expected \(20,\)"),
        ({"X": X[:, 0], "y": Y}, r"own.npz: array X has the shape \(20,\), expected \(rows, features\)"),
        ({"X": X[:0], "y": Y[:0]}, r"array X has the shape \(0, 3\)"),
        (
            {"X": X, "y": np.where(Y == 3, np.nan, Y)},
            r"own.npz: lacks values, first in row 4 of 20: array y \(1\); `missing: drop` leaves such rows out$",
        ),
        ({"X": np.where(X[2, 1] == X, -np.inf, X), "y": Y}, r"own.npz: array X, column 2, row 3: got '-inf', expected"),
        ({"X": X.astype(complex), "y": Y}, r"own.npz: array X, column 1: contains complex128, expected numbers"),
        ({"X": X, "y": np.zeros(20, [("u", int)])}, r"own.npz: array y: contains \[\('u', '<i8'\)\], expected numbers"),
        ({"X": X, "y": Y.astype("M8[s]")}, r"own.npz: array y: contains datetime64\[s\], expected numbers"),
        ({"X": X.astype(object), "y": Y}, r"own.npz: cannot be read as npz without unpickling \(Object arrays"),
        ({"X": X, "y": Y, "e": X[:, :2]}, r"own.npz: array e has the shape \(20, 2\), expected \(20, 3\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(save, arrays, expected):
    wanted = {"all": ["X", "y"]} | ({"effects": "e"} if "e" in arrays else {})
    with pytest.raises(DatasetError, match=expected):
        prepare(ARRAYS | save(**arrays) | {"arrays": wanted})


def test_parts_must_agree_in_their_features(save):
    options = ARRAYS | save(a=X, b=Y, c=X[:, :2]) | {"arrays": {"train": ["a", "b"], "test": ["c", "b"]}}
    with pytest.raises(DatasetError, match=r"own.npz: c: has 2 features, expected 3 as in .*own.npz: a"):
        prepare(options)


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published data set is not here")
def test_the_published_data_set_can_be_named():
    arrays = {
        "train": ["X_train", "y_train"],
        "validation": ["X_val", "y_val"],
        "test": ["X_test", "y_test"],
        "effects": "true_effects",
    }
    parts = prepare(ARRAYS | {"path": str(PUBLISHED), "arrays": arrays})
    with np.load(PUBLISHED, allow_pickle=False) as file:
        for name, (features, target) in zip(parts, list(arrays.values())[:3], strict=True):
            np.testing.assert_array_equal(parts[name].features, file[features].astype(np.float32))
            np.testing.assert_array_equal(parts[name].target, file[target].astype(np.float32))
        np.testing.assert_array_equal(parts["test"].effects, file["true_effects"].astype(np.float32))

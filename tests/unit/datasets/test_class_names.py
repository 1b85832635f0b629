"""Models may know more classes than the data, and others than in sorted order."""

import numpy as np
import pandas as pd
import pytest

from approxgrad.datasets.class_names import arranged, check_outputs
from approxgrad.datasets.faults import DatasetError
from image_folders import COLOURS, files, identities, photos, prepare
from own_tables import COLUMNS
from own_tables import prepare as prepare_table

NAMED = ["dog", "cow", "elk", "ant", "bee"]


def test_named_classes_number_the_folders(write):
    parts = prepare(write(files()), classes=NAMED)
    for name, part in parts.items():
        assert part.classes == tuple(NAMED)
        assert part.outputs == 5
        assert {NAMED[label] for label in part.target} == {"ant", "bee", "cow"}
        assert [red for red, _, _ in identities(part)] == [COLOURS[NAMED[label]] for label in part.target], name
        # The same images as without the names, in the same order.
        plain = prepare(write(files()))[name]
        np.testing.assert_array_equal(part.features, plain.features)


def test_one_folder_is_enough_for_a_model_that_knows_more(write):
    of_ants = {name: content for name, content in files().items() if "/ant/" in name}
    with pytest.raises(DatasetError, match="class ant only, expected several, or the names of all as `classes`"):
        prepare(write(of_ants))
    assert set(prepare(write(of_ants), classes=NAMED)["test"].target) == {3}


def test_a_folder_that_is_no_class_is_refused(write):
    with pytest.raises(DatasetError, match=r"^classes: the data have bee, expected one of ant, cow, cat$"):
        prepare(write(files()), classes=["ant", "cow", "cat"])


def test_a_class_is_named_once():
    assert photos(classes=["a", "b", "a"]).faults() == ["classes: got 'a' twice, expected it once"]
    assert photos(classes=["a", "b"]).faults() == []


@pytest.mark.parametrize(("labels", "named"), [(["dog", "cat"], ["wolf", "dog", "cat"]), ([3, 7], list("9876543210"))])
def test_named_classes_number_the_labels_of_a_table(tmp_path, labels, named):
    path = tmp_path / "own.csv"
    pd.DataFrame({"a": range(60), "y": labels * 30}).to_csv(path, index=False)
    own = {"task": "classification", "features": ["a"], "path": str(path), "classes": named}
    for part in prepare_table(COLUMNS | own).values():
        assert part.classes == tuple(named)
        assert [named[label] for label in part.target] == [str(labels[int(row) % 2]) for row in part.features[:, 0]]


def test_a_table_of_one_label_is_data_for_a_model_that_knows_more(tmp_path):
    path = tmp_path / "own.csv"
    pd.DataFrame({"a": range(60), "y": ["dog"] * 60}).to_csv(path, index=False)
    own = COLUMNS | {"task": "classification", "features": ["a"], "path": str(path)}
    with pytest.raises(DatasetError, match="target is always dog"):
        prepare_table(own)
    assert set(prepare_table(own | {"classes": ["cat", "dog"]})["test"].target) == {1}


def test_what_the_data_have_must_be_named():
    assert arranged(["b", "a"], None) == ["b", "a"]
    # A folder of a Mac has its accents apart.
    assert arranged(["cafe\u0301", "tea"], ["tea", "caf\u00e9", "milk"]) == ["tea", "cafe\u0301", "milk"]
    with pytest.raises(DatasetError, match="classes: the data have b, expected one of a, c"):
        arranged(["a", "b"], ["a", "c"])


@pytest.mark.parametrize(
    ("outputs", "classes"),
    [(None, ("cat", "dog")), (2, ("cat", "dog")), (12, tuple(map(str, range(10)))), (1, ()), (3, ())],
)
def test_outputs_whose_classes_are_known(outputs, classes):
    check_outputs(outputs, classes)


@pytest.mark.parametrize("classes", [("cat", "dog"), ("1", "2"), ("0", "2")])
def test_more_outputs_than_classes_of_other_names_are_refused(classes):
    with pytest.raises(DatasetError, match=r"outputs: got 1,000, and 2 classes in the data .* as `classes`"):
        check_outputs(1000, classes)

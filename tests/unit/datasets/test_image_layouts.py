"""Folders as people lay them out, and folders that are something else."""

import pytest

from approxgrad.datasets.faults import DatasetError
from image_folders import COLOURS, files, identities, inside, prepare, renamed, zip_of
from pictures import noise, png


def kept(parts):
    """Return the images of each part by class, and see that each is the file that it says it is from."""
    for part in parts.values():
        assert part.classes == ("ant", "bee", "cow")
        for origin, (red, number, _) in zip(part.origin.tolist(), identities(part), strict=True):
            label, file = origin.split("/")[-2:]
            assert COLOURS[label] == red
            assert file.endswith(f"{number}.png")
    return {name: len(part.target) for name, part in parts.items()}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (inside("photos", files()), (18, 6, 12)),
        (inside("archive/of/photos", files()) | {"readme.txt": b""}, (18, 6, 12)),
        (inside("photos", files()) | inside("__MACOSX/photos", files()), (18, 6, 12)),
        (renamed(files(), train="Training", test="TEST"), (18, 6, 12)),
        (renamed(files(), test="val"), (18, 6, 12)),
        (files() | renamed(files(2, 2), train="valid", test="valid"), (24, 6, 12)),
        (renamed(files(), train="", test=""), (18, 9, 9)),
        (inside("photos", renamed(files(), train="", test="")) | {"photos/labels.csv": b""}, (18, 9, 9)),
    ],
    ids=["nested", "deep", "mac", "names", "val for test", "val", "no split", "nested without split"],
)
def test_usual_layouts(write, contents, expected):
    assert tuple(kept(prepare(write(contents))).values()) == expected


def test_a_class_can_be_called_train(write):
    contents = {f"{name}/{n}.png": png(noise(4, 4)) for name in ("bus", "car", "train") for n in range(8)}
    parts = prepare(write(contents), test=3)
    assert parts["test"].classes == ("bus", "car", "train")
    assert [len(part.target) for part in parts.values()] == [15, 6, 3]
    assert parts["test"].origin.tolist() == sorted(parts["test"].origin)


def test_what_systems_leave_in_folders_without_a_split(write):
    contents = renamed(files(), train="", test="")
    others = {
        "ant/Thumbs.db": b"",
        "bee/.DS_Store": b"",
        ".git/config": b"",
        "$RECYCLE.BIN/1.png": b"",
        "cow/~$1.png": b"",
    }
    assert kept(prepare(write(contents | others))) == {"train": 18, "validation": 9, "test": 9}


def without(prefix):
    return {name: content for name, content in files().items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (
            without("test/"),
            r": has no test/ with a folder for each class, only train; with `path` at train/ they are drawn",
        ),
        (without("train/"), r": has no train/ with a folder for each class, only test$"),
        ({f"photos/{name}": b"" for name in files()}, r": photos/train/ant/\d.png: is not an image"),
        (
            {f"{part}/{n}.png": b"" for part in ("train", "test") for n in range(9)},
            r": has no train/ .*, only test, train$",
        ),
        (
            without("test/") | {f"test/{n}.png": b"" for n in range(9)},
            r": has no test/ with a folder for each class, only t",
        ),
        (files() | {"val/ant/1.png": b"", "valid/ant/1.png": b""}, r": has both val/ and valid/, expected one of them"),
        (
            {"inner.zip": b"x", "notes.txt": b""},
            r": has no folder for each class, only inner.zip, notes.txt; unpack the",
        ),
        (files() | {"test/dog/1.png": b""}, r": test/ has the class dog, expected one of train/: ant, bee, cow$"),
        (files() | {"train/dog/": b""}, r": train/dog contains no image$"),
        (files() | {"train/bee /1.png": b""}, r": has the folders 'train/bee' and 'train/bee ', which look the same"),
        (
            files() | {"train/caf\u00e9/1.png": b"", "test/cafe\u0301/1.png": b""},
            r": has the folders 'test/cafe\\u0301' and 'train/caf\\xe9', which look the same; expected one spelling",
        ),
        ({name: data for name, data in files().items() if "/ant/" in name}, r": train/ has the class ant only"),
        (files() | {"test/bee/more/1.png": b""}, r": test/bee/more is a folder, expected images in test/bee$"),
        (files() | {"test/bee/more.zip": zip_of(files())}, r": test/bee/more.zip: is not an image"),
        ({"photos.zip": zip_of(files())}, r": has no folder for each class, only photos.zip; unpack the"),
        (files() | {"train/ant/0.png": b""}, r": train/ant/0.png: is not an image"),
        (files() | {"test/bee/1.txt": b"text"}, r": test/bee/1.txt: is not an image \(of the formats .*JPEG, PNG"),
        (files() | {"train/cow/1.png": b""}, r": train/cow/1.png: is not an image"),
        (files() | {"train/cow/1.png": png(noise(40, 40))[:900]}, r": train/cow/1.png: is a broken image \("),
        (files() | {"train/cow/1.eps": png(noise(4, 4), "EPS")}, r": train/cow/1.eps: is not an image"),
    ],
)
def test_folders_that_are_laid_out_otherwise_are_refused(write, contents, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(write(contents))

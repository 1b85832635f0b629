"""Images in class folders become a data set: draws, links, archives, damaged files."""

import os
import stat
import zipfile

import numpy as np
import pytest

from approxgrad.datasets import image_files
from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.image_files import listing_digest
from image_folders import COLOURS, files, identities, photos, prepare, write_folder, write_zip
from pictures import noise, png


def test_class_folders_become_a_data_set(write):
    # Files elsewhere and hidden files do not matter.
    others = {"readme.txt": b"", "train/notes.txt": b"", "train/ant/.hidden": b"", "train/.x/y": b"", "test/.DS": b""}
    # What systems leave among them.
    others |= {"__MACOSX/train/ant/._1.png": b"", "train/__MACOSX/ant/._1.png": b"", "train/bee/Thumbs.db": b"x"}
    others |= {"test/cow/desktop.ini": b"x", "train/cow/@eaDir/1.png": b"x", "test/bee/._1.png": b"x"}
    parts = prepare(write(files() | others))
    assert {name: len(part.target) for name, part in parts.items()} == {"train": 18, "validation": 6, "test": 12}
    together = identities(parts["train"]) + identities(parts["validation"])
    assert sorted(together) == sorted((red, number, 0) for red in COLOURS.values() for number in range(8))
    assert identities(parts["test"]) == [(red, number, 1) for red in COLOURS.values() for number in range(4)]
    for name, part in parts.items():
        assert part.classes == ("ant", "bee", "cow")
        assert [red for red, _, _ in identities(part)] == [list(COLOURS.values())[label] for label in part.target]
        assert np.bincount(part.target).tolist() == [{"train": 6, "validation": 2, "test": 4}[name]] * 3
        assert part.feature_shape == (3, 4, 4)
        assert (part.features.dtype, part.target.dtype) == (np.float32, np.int64)


def test_folder_and_zip_give_the_same(tmp_path):
    folder = prepare(write_folder(tmp_path / "photos", files()))
    archive = prepare(write_zip(tmp_path / "photos", dict(reversed(files().items()))))
    for name, part in folder.items():
        np.testing.assert_array_equal(part.features, archive[name].features)
        np.testing.assert_array_equal(part.target, archive[name].target)


def test_draws_are_stratified_and_follow_the_seed(write):
    path = write(files())
    whole, small = prepare(path), prepare(path, limit={"train": 9, "test": 6})
    assert np.bincount(small["train"].target).tolist() == [3, 3, 3]
    assert np.bincount(small["test"].target).tolist() == [2, 2, 2]
    assert identities(small["validation"]) == identities(whole["validation"])
    assert set(identities(small["train"])) < set(identities(whole["train"]))
    assert identities(prepare(path, validation=6)["validation"]) == identities(whole["validation"])
    seeds = {tuple(identities(prepare(path, seed)["validation"])) for seed in range(4)}
    assert len(seeds) > 1


def test_only_the_images_that_are_kept_are_read(write, monkeypatch):
    seen = []
    path = write(files())
    for source in (image_files.Folder, image_files.Archive):
        original = source.read
        monkeypatch.setattr(
            source, "read", lambda own, name, original=original: seen.append(name) or original(own, name)
        )
    prepare(path, limit={"train": 2, "test": 1})
    assert len(seen) == len(set(seen)) == 2 + 6 + 1


def test_what_is_known_beforehand():
    assert (photos().test_rows, photos().training_rows, photos().feature_shape) == (None, None, (3, 4, 4))
    assert photos(limit={"train": 2}).test_rows is None
    assert (photos(limit={"test": 3}).test_rows, photos(limit={"train": 2}).training_rows) == (3, 2)
    assert photos("a/b.zip").sources("photos") == ["a/b.zip"]
    assert photos("a/b.zip").faults() == []
    (fault,) = photos("../b.zip").faults()
    assert fault.startswith("path: got '../b.zip', expected a path without")
    own = photos(channels=1, normalisation={"mean": [1, 2, 3], "std": [1]})
    assert own.faults() == ["normalisation.mean: got 3 numbers, expected 1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"validation": 23}, "validation: leaves 1 of [0-9,]+ rows"),
        ({"validation": 99}, "validation: leaves 0 of [0-9,]+ rows"),
        ({"limit": {"train": 19}}, "limit.train: got 19, expected at most 18"),
        ({"limit": {"test": 13}}, "limit.test: got 13, expected at most 12"),
    ],
)
def test_numbers_that_do_not_fit_the_images_are_refused(write, options, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(write(files()), **options)


def test_links_are_followed_and_those_that_lead_nowhere_passed_over(tmp_path):
    folder = write_folder(tmp_path / "photos", files())
    (folder / "train" / "ant").rename(tmp_path / "elsewhere")
    (folder / "train" / "ant").symlink_to(tmp_path / "elsewhere")
    kept = prepare(folder)
    for link in ("train/ant/x.png", "train/dog", "test/bee/x.png", "test/dog"):
        (folder / link).symlink_to("nowhere")
    (folder / "train" / "cow" / "circle.png").symlink_to("circle.png")
    # To read it would never end.
    os.mkfifo(folder / "train" / "cow" / "pipe.png")
    for name, part in prepare(folder).items():
        assert identities(part) == identities(kept[name])


def zip_link(path, name, target):
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo(name)
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)


def test_links_in_an_archive(tmp_path):
    path = write_zip(tmp_path / "photos", files())
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(noise(4, 4)))
    for name, target in [("train/ant/x.png", "no.png"), ("test/dog", "/etc"), ("train/cow/y.png", str(outside))]:
        zip_link(path, name, target)
    assert len(identities(prepare(path)["train"])) == 18
    zip_link(path, "train/bee/0-again.png", "../../test/bee/0.png")
    with pytest.raises(
        DatasetError, match=r"train/bee/0-again.png is a link to test/bee/0.png, expected files instead of links"
    ):
        prepare(path)


def test_names_that_are_no_utf8(tmp_path):
    folder = write_folder(tmp_path / "photos", files())
    for part in ("train", "test"):
        (folder / part / "bee").rename(folder / part / os.fsdecode(b"b\xe9e"))
    parts = prepare(folder)
    assert parts["train"].classes == ("ant", "b\\udce9e", "cow")
    assert len(listing_digest(folder)) == 64


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "bée"), ("cp437", "bée")])
def test_names_in_an_archive_are_utf8_even_where_it_does_not_say_so(tmp_path, encoding, name):
    # Python's zipfile always says so; the same number of bytes, and then the name as other programs write it.
    raw = name.encode(encoding)
    stand_in = "b" * len(raw)
    path = write_zip(
        tmp_path / "photos", {key.replace("/bee/", f"/{stand_in}/"): data for key, data in files().items()}
    )
    path.write_bytes(path.read_bytes().replace(f"/{stand_in}/".encode(), b"/" + raw + b"/"))
    assert prepare(path)["train"].classes == ("ant", name, "cow")


def test_one_member_under_two_names_is_refused(tmp_path):
    path = write_zip(tmp_path / "photos", files() | {"./train//ant/1.png": b""})
    with pytest.raises(DatasetError, match=r"has the member 'train/ant/1.png' twice"):
        prepare(path)


def test_classes_that_differ_in_case_are_two(write):
    contents = files() | {name.replace("/ant/", "/Ant/"): data for name, data in files().items() if "/ant/" in name}
    assert prepare(write(contents))["train"].classes == ("Ant", "ant", "bee", "cow")


def test_a_missing_or_wrong_archive_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"photos.zip: no such folder or .zip file"):
        prepare(tmp_path / "photos.zip")
    (tmp_path / "photos.zip").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"photos.zip: is not a folder and cannot be read as a .zip file"):
        prepare(tmp_path / "photos.zip")


@pytest.mark.parametrize(
    "name", ["../x.png", "train/ant/../../../x.png", "/train/ant/x.png", "train\\ant\\x.png", "C:/train/ant/x.png"]
)
def test_members_outside_of_an_archive_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "photos", files() | {name: b""})
    with pytest.raises(DatasetError, match=r"photos.zip: has the member '.*x.png', expected relative paths inside"):
        prepare(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_member_is_named(tmp_path):
    path = write_zip(tmp_path / "photos", files() | {"train/ant/9.png": b"p" * 500})
    path.write_bytes(path.read_bytes().replace(b"p" * 500, b"q" * 500))
    with pytest.raises(DatasetError, match=r"photos.zip: train/ant/9.png: cannot be read \(Bad CRC-32"):
        prepare(path, validation=2)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "photos", files())
    with pytest.raises(DatasetError, match=r"photos/train/ant/x.png: cannot be read \(.*No such file"):
        image_files.Folder(folder).read("train/ant/x.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(folder), "iterdir", refuse)
    with pytest.raises(DatasetError, match=r"photos: cannot be read \(.*Permission denied"):
        prepare(folder)
    # Asked before any job runs, and the job has the line.
    assert len(listing_digest(folder)) == 64


def test_a_file_that_is_too_large_is_not_read(write, monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_FILE", 70)
    with pytest.raises(DatasetError, match=r"train.ant.\d.png: has \d+ bytes, expected at most 70"):
        prepare(write(files()))

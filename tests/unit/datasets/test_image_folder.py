import os
import stat
import zipfile

import numpy as np
import pytest
from PIL import Image

from approxgrad.datasets import image_files
from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.image_files import listing_digest
from approxgrad.datasets.image_folder import ImageFolder
from approxgrad.descriptions import read
from pictures import noise, png

OPTIONS = {"size": [4, 4], "validation": 0.25}
COLOURS = {"ant": 40, "bee": 120, "cow": 200}


def files(train=8, test=4):
    """Images whose red channel names the class and whose green one is unique."""
    found = {}
    for part, count in (("train", train), ("test", test)):
        for name, red in COLOURS.items():
            for number in range(count):
                found[f"{part}/{name}/{number}.png"] = png(Image.new("RGB", (4, 4), (red, number, part == "test")))
    return found


def write_folder(path, contents):
    for name, content in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).write_bytes(content)
    path.mkdir(exist_ok=True)
    return path


def write_zip(path, contents):
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path.with_suffix(".zip")


@pytest.fixture(params=[write_folder, write_zip], ids=["folder", "zip"])
def write(request, tmp_path):
    return lambda contents: request.param(tmp_path / "photos", contents)


def photos(path="photos", **options):
    return read(ImageFolder, OPTIONS | options | {"path": str(path)})


def prepare(path, seed=0, **options):
    return photos(path, **options).prepare(seed, [path])


def identities(split):
    """Return red, green and blue of every image as numbers of 0 to 255."""
    return [tuple(np.rint(image[:, 0, 0] * 255).astype(int)) for image in split.features.reshape(-1, 3, 4, 4)]


# Splitting


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
        ({"validation": 23}, "validation: leaves 1 rows"),
        ({"validation": 99}, "validation: leaves 0 rows"),
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


# Folders as people lay them out


def renamed(contents, **names):
    """Return files with other first folders; one without a name is left out of their paths."""
    found = {}
    for name, content in contents.items():
        part, _, rest = name.partition("/")
        own = names.get(part, part)
        found[f"{own}/{rest}" if own else rest.replace("/", f"/{part}-")] = content
    return found


def inside(folder, contents):
    return {f"{folder}/{name}": content for name, content in contents.items()}


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


def test_the_listing_follows_the_layout(tmp_path):
    folder = write_folder(tmp_path / "photos", inside("inner", renamed(files(), train="", test="")))
    found = {listing_digest(folder)}
    (folder / "inner" / "ant" / "new.png").write_bytes(b"x")
    found.add(listing_digest(folder))
    (folder / "inner" / "dog").mkdir()
    found.add(listing_digest(folder))
    assert len(found) == 3


# Folders that are something else


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
        (files() | {"test/bee/1.txt": b"text"}, r": test/bee/1.txt: is not an image \(of the formats .*JPEG, PNG"),
        (files() | {"train/cow/1.png": b""}, r": train/cow/1.png: is not an image"),
        (files() | {"train/cow/1.png": png(noise(40, 40))[:900]}, r": train/cow/1.png: is a broken image \("),
        (files() | {"train/cow/1.eps": png(noise(4, 4), "EPS")}, r": train/cow/1.eps: is not an image"),
    ],
)
def test_folders_that_are_laid_out_otherwise_are_refused(write, contents, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(write(contents))


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


# Tracking a folder


@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
def test_the_listing_changes_with_the_images(tmp_path, monkeypatch, small):
    if not small:
        monkeypatch.setattr(image_files, "LARGEST_READ", 0)
    folder = write_folder(tmp_path / "photos", files())
    image = folder / "train" / "ant" / "1.png"
    size = image.stat().st_size
    found = [listing_digest(folder)]
    assert listing_digest(folder) == found[0]
    os.utime(image, ns=(0, 0))
    # Of a small folder the contents count, whatever their time.
    assert (listing_digest(folder) == found[0]) == small
    found.append(listing_digest(folder))
    image.write_bytes(b"x" * size)
    os.utime(image, ns=(0, 0))
    assert (listing_digest(folder) != found[1]) == small
    image.write_bytes(b"longer" * 100)
    os.utime(image, ns=(0, 0))
    found.append(listing_digest(folder))
    image.rename(image.with_name("x.png"))
    found.append(listing_digest(folder))
    image.with_name("x.png").unlink()
    found.append(listing_digest(folder))
    assert len({*found}) == 5 - small


def test_the_listing_does_not_change_with_what_is_passed_over(tmp_path):
    folder = write_folder(tmp_path / "photos", files())
    first = listing_digest(folder)
    write_folder(folder, {"notes.txt": b"", "train/a.txt": b"", "train/ant/.DS_Store": b"", "test/cow/Thumbs.db": b""})
    (folder / "train" / "bee" / "x.png").symlink_to("nowhere")
    assert listing_digest(folder) == first
    (folder / "train" / "dog").mkdir()
    assert listing_digest(folder) != first

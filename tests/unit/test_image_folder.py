import io
import os
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from approxgrad.datasets import image_files, image_folder
from approxgrad.datasets.image_files import listing_digest
from approxgrad.datasets.kinds import DatasetError
from approxgrad.datasets.pixels import decoded, pillow_limits

OPTIONS = {"kind": "image_folder", "size": [4, 4], "channels": 3, "validation": 0.25}
COLOURS = {"ant": 40, "bee": 120, "cow": 200}


def png(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def noise(width, height, mode="RGB", seed=0):
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


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


def prepare(path, seed=0, **options):
    return image_folder.prepare(OPTIONS | options, seed, [path])


def identities(split):
    """Return red, green and blue of every image as numbers of 0 to 255."""
    return [tuple(np.rint(image[:, 0, 0] * 255).astype(int)) for image in split.features.reshape(-1, 3, 4, 4)]


# Splitting


def test_class_folders_become_a_data_set(write):
    # Files elsewhere and hidden files do not matter.
    others = {"readme.txt": b"", "train/notes.txt": b"", "train/ant/.hidden": b"", "train/.x/y": b"", "test/.DS": b""}
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
    read = []
    path = write(files())
    for source in (image_files.Folder, image_files.Archive):
        original = source.read
        monkeypatch.setattr(
            source, "read", lambda own, name, original=original: read.append(name) or original(own, name)
        )
    prepare(path, limit={"train": 2, "test": 1})
    assert len(read) == len(set(read)) == 2 + 6 + 1


def test_what_is_known_beforehand():
    assert image_folder.test_rows(OPTIONS) is None
    assert image_folder.test_rows(OPTIONS | {"limit": {"train": 3}}) is None
    assert image_folder.test_rows(OPTIONS | {"limit": {"test": 3}}) == 3
    assert image_folder.sources("photos", {"path": "a/b.zip"}) == ["a/b.zip"]
    with pytest.raises(DatasetError, match=r"path: got '../b.zip', expected a path without"):
        image_folder.sources("photos", {"path": "../b.zip"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"validation": 23}, "validation: leaves 1 rows"),
        ({"validation": 99}, "validation: leaves 0 rows"),
        ({"limit": {"train": 19}}, "limit.train: got 19, expected at most 18"),
        ({"limit": {"test": 13}}, "limit.test: got 13, expected at most 12"),
        ({"channels": 1, "normalisation": {"mean": [1, 2, 3], "std": [1]}}, "normalisation.mean: got 3 numbers"),
    ],
)
def test_numbers_that_do_not_fit_the_images_are_refused(write, options, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(write(files()), **options)


# Folders that are something else


def without(prefix):
    return {name: content for name, content in files().items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (without("test/"), r": has no test/ with a folder for each class, only train$"),
        (without("train/"), r": has no train/ with a folder for each class, only test$"),
        ({f"photos/{name}": b"" for name in files()}, r": has no train/ .*, only photos$"),
        (files() | {"test/dog/1.png": b""}, r": test/ has the class dog, expected one of train/: ant, bee, cow$"),
        (files() | {"train/dog/": b""}, r": train/dog holds no image$"),
        (files() | {"test/bee/more/1.png": b""}, r": test/bee/more is a folder, expected images in test/bee$"),
        (files() | {"test/bee/1.txt": b"text"}, r": test/bee/1.txt: is no image \(of the formats .*JPEG, PNG"),
        (files() | {"train/cow/1.png": b""}, r": train/cow/1.png: is no image"),
        (files() | {"train/cow/1.png": png(noise(40, 40))[:900]}, r": train/cow/1.png: is a broken image \("),
        (files() | {"train/cow/1.eps": png(noise(4, 4), "EPS")}, r": train/cow/1.eps: is no image"),
    ],
)
def test_folders_that_are_laid_out_otherwise_are_refused(write, contents, expected):
    with pytest.raises(DatasetError, match=expected):
        prepare(write(contents))


def test_a_missing_or_wrong_archive_is_told(tmp_path):
    with pytest.raises(DatasetError, match=r"photos.zip: no such folder or .zip file"):
        prepare(tmp_path / "photos.zip")
    (tmp_path / "photos.zip").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"photos.zip: is no folder and cannot be read as a .zip file"):
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


def test_a_file_that_is_too_large_is_not_read(write, monkeypatch):
    monkeypatch.setattr(image_files, "LARGEST_FILE", 70)
    with pytest.raises(DatasetError, match=r"train.ant.\d.png: has \d+ bytes, expected at most 70"):
        prepare(write(files()))


# Decoding


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (11, 11), (5, 5), (40, 40), (1, 1), (100, 7), (7, 100)])
def test_images_are_resized_as_torchvision_does(size):
    from torchvision.transforms import v2

    image = noise(*size)
    expected = v2.Compose([v2.Resize(5), v2.CenterCrop(5)])(image)
    got = decoded(png(image), (5, 5), 3, "x.png")
    np.testing.assert_array_equal(got, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "window"), [((12, 4), (slice(4, 8), slice(4))), ((4, 12), (slice(4), slice(4, 8)))])
def test_the_centre_is_kept(size, window):
    image = noise(*size)
    got = decoded(png(image), (4, 4), 3, "x.png")
    columns, rows = window
    np.testing.assert_array_equal(got, np.asarray(image)[rows, columns].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(6, 3), (3, 6), (9, 9)])
def test_windows_need_not_be_square(size):
    assert decoded(png(Image.new("RGB", (10, 8), (9, 8, 7))), size, 3, "x.png").shape == (3, *size)
    np.testing.assert_array_equal(decoded(png(noise(6, 3)), (3, 6), 3, "x"), np.asarray(noise(6, 3)).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_other_kinds_of_pixels_are_converted(mode):
    content = png(noise(4, 4).convert(mode))
    image = Image.open(io.BytesIO(content))
    colour, grey = decoded(content, (4, 4), 3, "x.png"), decoded(content, (4, 4), 1, "x.png")
    np.testing.assert_array_equal(colour, np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    np.testing.assert_array_equal(grey, np.asarray(image.convert("L"))[None])


def test_deep_pixels_are_refused():
    content = png(Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000))
    with pytest.raises(DatasetError, match=r"x.png: has more than 8 bits per channel \(mode I;16\)"):
        decoded(content, (4, 4), 1, "x.png")


@pytest.mark.parametrize("limit", [90, 60])
def test_decompression_bombs_are_errors(monkeypatch, limit):
    # Pillow warns from its limit on and raises from the double of it on.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    content = png(noise(11, 11))
    # Whatever the settings of the process are.
    warnings.simplefilter("ignore")
    with pillow_limits(), pytest.raises(DatasetError, match=r"x.png: is too large to decode"):
        decoded(content, (4, 4), 3, "x.png")


def test_a_narrow_image_does_not_explode(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pillow_limits(), pytest.raises(DatasetError, match=r"x.png: is too large .*1 x 5000 would become 32 x 160000"):
        decoded(png(Image.new("RGB", (1, 5000))), (32, 32), 3, "x.png")


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
    image.symlink_to("nowhere")
    found.append(listing_digest(folder))
    assert len({*found}) == 6 - small

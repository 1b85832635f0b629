"""The digest of a folder, which says whether its images have changed."""

import os

import pytest

from approxgrad.datasets import image_files
from approxgrad.datasets.image_files import listing_digest
from image_folders import files, inside, renamed, write_folder


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


def test_the_listing_follows_the_layout(tmp_path):
    folder = write_folder(tmp_path / "photos", inside("inner", renamed(files(), train="", test="")))
    found = {listing_digest(folder)}
    (folder / "inner" / "ant" / "new.png").write_bytes(b"x")
    found.add(listing_digest(folder))
    (folder / "inner" / "dog").mkdir()
    found.add(listing_digest(folder))
    assert len(found) == 3

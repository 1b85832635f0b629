"""Tables, images and archives that no data set is made of."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bad_input import BadInput, Code, experiment

# Tables.

COLUMNS = {"kind": "table", "task": "classification", "path": "t.csv", "features": ["a", "b"], "target": "y"}
ARRAYS = {"kind": "table", "task": "regression", "path": "t.npz", "arrays": {"all": ["x", "y"]}}
ROWS = "".join(f"{row},{row * row},{row % 2}\n" for row in range(1, 41))


def table(what: str, says: str, content: str | bytes, **changes: Any) -> BadInput:
    options = COLUMNS | changes
    data = content.encode() if isinstance(content, str) else content
    config = {"datasets": {"own": options}, "experiments": experiment("own")}
    return BadInput(what, "prepare_data", says, lambda folder: (folder / options["path"]).write_bytes(data), config)


def arrays(what: str, says: str, **values: Any) -> BadInput:
    config = {"datasets": {"own": ARRAYS}, "experiments": experiment("own")}
    return BadInput(what, "prepare_data", says, lambda folder: np.savez(folder / "t.npz", **values), config)


def parquet(cut: int) -> bytes:
    content = io.BytesIO()
    pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0), "y": [0, 1] * 20}).to_parquet(content)
    return content.getvalue()[:cut]


TABLES = [
    table("text for a number", "t.csv: column b, row 2: got 'x', expected a finite number", "a,b,y\n1,2,0\n3,x,1\n"),
    table(
        "a value that is missing",
        "t.csv: lacks values, first in row 1 of 2: column a (1); `missing: drop`",
        "a,b,y\n,2,0\n3,4,1\n",
    ),
    table("NaN among the numbers", "t.csv: column b, row 1: got 'nan', expected a finite number", "a,b,y\n1,nan,0\n"),
    table("infinity among the numbers", "t.csv: column a, row 1: got 'inf', expected a finite", "a,b,y\ninf,2,0\n"),
    table("a field too many", "t.csv: cannot be read as csv (Error tokenizing data", "a,b,y\n1,2,0\n1,2,0,9\n"),
    table("a field too many everywhere", "t.csv: row 1 has more fields than the header", "a,b,y\n1,2,0,9\n1,2,0,9\n"),
    table("no such column", "t.csv: has no column 'b', only a, B, y", "a,B,y\n1,2,0\n", features=["a", "b"]),
    table("no target", "t.csv: has no column 'y', only a, b", "a,b\n1,2\n"),
    table("a column twice", "t.csv: has the column 'a' 2 times, expected it once", "a,b,a,y\n1,2,3,0\n"),
    table("no rows", "t.csv: has no rows", "a,b,y\n"),
    table("an empty file", "t.csv: cannot be read as csv; it is empty", ""),
    table("Latin-1", "t.csv: cannot be read as csv ('utf-8' codec can't decode", b"a,b,y\n1,2,caf\xe9\n"),
    table("one class only", "t.csv: target is always 1, expected several labels", "a,b,y\n1,2,1\n3,4,1\n"),
    table(
        "one label in two spellings",
        "t.csv: target has the labels ' 1' and '1', which look the same",
        "a,b,y\n" + "1,2, 1\n3,4,1\n5,6,0\n" * 9,
    ),
    table(
        "measurements for labels",
        "t.csv: target has 40 different values with a fraction such as 0.5, so it is a continuous number",
        "a,b,y\n" + "".join(f"{row},{row},{row}.5\n" for row in range(40)),
    ),
    table(
        "times that single precision makes equal",
        "t.csv: column b: single precision, in which models are trained, moves its values",
        "a,b,y\n" + "".join(f"{row},{1700000000 + 60 * row},{row % 2}\n" for row in range(40)),
    ),
    table(
        "an integer of four hundred digits",
        "t.csv: column a, row 1: got '999999",
        f"a,b,y\n{'9' * 400},2,0\n" + "1,2,1\n" * 40,
    ),
    table(
        "a target that never changes",
        "t.csv: target is always 1 in the train rows, expected several values",
        "a,b,y\n" + "1,2,1\n" * 40,
        task="regression",
    ),
    table(
        "too few rows",
        "test and validation: leaves 1 of 3 rows to train on, expected at least 2",
        "a,b,y\n1,2,0\n3,4,1\n5,6,0\n",
    ),
    table("a truncated parquet file", "t.parquet: cannot be read as parquet (", parquet(400), path="t.parquet"),
    table("no parquet file at all", "t.parquet: cannot be read as parquet (", ROWS, path="t.parquet"),
    arrays(
        "a matrix for a vector",
        "t.npz: array y has the shape (9, 2), expected (9,)",
        x=np.ones((9, 2)),
        y=np.ones((9, 2)),
    ),
    arrays(
        "images for a matrix", "t.npz: array x has the shape (9, 2, 2), expected", x=np.ones((9, 2, 2)), y=np.ones(9)
    ),
    arrays("no such array", "t.npz: has no array 'y', only x", x=np.ones((9, 2))),
    arrays("objects in an array", "t.npz: cannot be read as npz without unpickling", x=np.array([[{}]]), y=np.ones(1)),
    arrays(
        "NaN in an array",
        "t.npz: lacks values, first in row 1 of 9: array x, column 1 (9), array x, column 2 (9)",
        x=np.full((9, 2), np.nan),
        y=np.ones(9),
    ),
]

# Images.

PHOTOS = {"kind": "image_folder", "path": "photos.zip", "size": [4, 4], "validation": 0.5}


def picture(size: tuple[int, int] = (5, 6), mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(content, "PNG")
    return content.getvalue()


def animation() -> bytes:
    content = io.BytesIO()
    frames = [Image.effect_noise((5, 6), 50) for _ in range(2)]
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    return content.getvalue()


def members(**changes: bytes | None) -> dict[str, bytes]:
    """Two classes of four training images and two test images each, some replaced or left out."""
    names = [
        f"{part}/{label}/{n}.png" for part, count in (("train", 4), ("test", 2)) for label in "ab" for n in range(count)
    ]
    kept = {name: picture() for name in names} | {
        name.replace("__", "/") + ".png": data for name, data in changes.items()
    }
    return {name: data for name, data in kept.items() if data is not None}


def images(what: str, says: str, contents: dict[str, bytes], *more: str, **changes: Any) -> BadInput:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
            for name, data in [*contents.items(), *((name, b"") for name in more)]:
                archive.writestr(name, data)

    config = {"datasets": {"own": PHOTOS | changes}, "experiments": experiment("own", "cnn")}
    return BadInput(what, "prepare_data", says, write, config)


def photos(what: str, says: str, write: Callable[[Path], Any]) -> BadInput:
    config = {"datasets": {"own": PHOTOS}, "experiments": experiment("own", "cnn")}
    return BadInput(what, "prepare_data", says, lambda folder: write(folder / "photos.zip"), config)


def overstated(path: Path) -> None:
    """Write an archive that claims to hold an image of 4 GiB - 1."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members().items():
            archive.writestr(name, data)
        archive.getinfo("train/a/0.png").file_size = 2**32 - 2


IMAGES = [
    images(
        "a text among the images",
        "photos.zip: train/a/0.png: is not an image (of the formats",
        members(train__a__0=b"no"),
    ),
    images("half an image", "photos.zip: train/b/1.png: is a broken image (", members(train__b__1=picture()[:50])),
    images("sixteen bits a channel", "has more than 8 bits per channel", members(train__a__1=picture(mode="I;16"))),
    images(
        "an animation", "train/a/1.png: contains several pictures (frames or pages)", members(train__a__1=animation())
    ),
    images(
        "one class alone",
        "photos.zip: train/ has the class a only, expected several",
        {name: data for name, data in members().items() if "/a/" in name},
    ),
    images(
        "a class in two spellings",
        "photos.zip: has the folders 'test/a ' and 'train/a', which look the same",
        members() | {"test/a /0.png": picture()},
    ),
    images("a class without images", "photos.zip: train/c contains no image", members(), "train/c/"),
    images(
        "a class in the test images only",
        "test/ has the class c, expected one of train/: a, b",
        members(test__c__0=picture()),
    ),
    images(
        "a class with one image, taken for validation",
        "photos.zip: validation leaves no image of train/c to train on, expected one",
        members(train__c__0=picture()),
        validation=0.7,
    ),
    images(
        "no test images",
        "photos.zip: has no test/ with a folder for each class, only train",
        {"train/a/0.png": picture()},
    ),
    images(
        "a folder in a class",
        "train/a/more is a folder, expected images in train/a",
        members(train__a__more__1=picture()),
    ),
    images("a member that leads out", "has the member '../x', expected relative paths inside", members(), "../x"),
    images("a member with an absolute path", "has the member '/x', expected relative paths", members(), "/x"),
    images("a member twice", "has the member 'train/a/9' twice, expected it once", members(), "train/a/9", "train/a/9"),
    images("more images than there are", "limit.test: got 9, expected at most 4", members(), limit={"test": 9}),
    photos(
        "an archive that is none",
        "photos.zip: is not a folder and cannot be read as a .zip",
        lambda path: path.write_text("PK"),
    ),
    photos(
        "an image of four gibibytes", "photos.zip: train/a/0.png: has 4294967294 bytes, expected at most", overstated
    ),
]


# CIFAR-10.


def archive(
    what: str, says: str, *infos: tuple[tarfile.TarInfo, bytes], content: bytes | None = None, **changes: str
) -> BadInput:
    """An archive that has been downloaded, or with `changes` of its options another one in its place."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for info, data in infos:
            info.size = info.size or len(data)
            tar.addfile(info, io.BytesIO(data))
    written = packed.getvalue() if content is None else content

    def write(folder: Path) -> None:
        path = folder / "data" / "own" / "cifar-10-python.tar.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(written)

    download = {"md5": hashlib.md5(written).hexdigest()} | changes
    config = {"datasets": {"own": {"kind": "cifar10", "download": download}}, "experiments": experiment("own", "cnn")}
    return BadInput(what, "prepare_data", says, write, config)


def member(name: str, **changes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
    for key, value in changes.items():
        setattr(info, key, value)
    return info


NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]


def whole(content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(member(name), content) for name in NAMES]


ARCHIVES = [
    archive(
        "an archive that is none",
        "cifar-10-python.tar.gz: cannot be read as a .tar.gz archive (",
        content=b"\x1f\x8bno",
    ),
    archive("a member that leads out", "lacks cifar-10-batches-py/data_batch_1", (member("../../x"), b"1")),
    archive(
        "a link for a batch",
        "lacks cifar-10-batches-py/",
        (member("test_batch", type=tarfile.SYMTYPE, linkname="/x"), b""),
    ),
    archive("a batch with code", "batches.meta: contains pathlib", *whole(pickle.dumps(Code()))),
    archive("a batch of nothing", "batches.meta: is not a CIFAR-10 batch (", *whole(b"")),
    archive(
        "another archive in the place of the one that was downloaded",
        f"has the MD5 sum {hashlib.md5(b'x').hexdigest()}, expected {'0' * 32} (download.md5); delete it to download",
        content=b"x",
        md5="0" * 32,
    ),
]

DATA = [*TABLES, *IMAGES, *ARCHIVES]

"""Folders and archives of small images whose colours say which file they are."""

import io
import zipfile

import numpy as np
from PIL import Image

from approxgrad.datasets.image_folder import ImageFolder
from approxgrad.descriptions import read
from pictures import png

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


def zip_of(contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_zip(path, contents):
    path.with_suffix(".zip").write_bytes(zip_of(contents))
    return path.with_suffix(".zip")


def photos(path="photos", **options):
    return read(ImageFolder, OPTIONS | options | {"path": str(path)})


def prepare(path, seed=0, **options):
    return photos(path, **options).prepare(seed, [path])


def identities(split):
    """Return red, green and blue of every image as numbers of 0 to 255."""
    return [tuple(np.rint(image[:, 0, 0] * 255).astype(int)) for image in split.features.reshape(-1, 3, 4, 4)]


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

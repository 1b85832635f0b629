"""What a change of a user's own files makes Snakemake do again: data, weights and networks."""

import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from running import TINY, Place

pytestmark = [pytest.mark.workflow, pytest.mark.soak]

NETWORK = """
from torch import nn
from layers import block

def build(input_shape, outputs):
    return nn.Sequential(nn.Linear(*input_shape, 4), block(), nn.Linear(4, outputs))
"""
LAYERS = """
from torch import nn

def block():
    return nn.ReLU()
"""
OWN = {"factory": "networks:build"}


def experiment(dataset, model):
    return {"datasets": [dataset], "models": [model], "methods": ["saliency"], "gradients": ["tenth"], "samples": 3}


def save_images(folder, generator):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for number in range(5):
                pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")


def save_weights(path, seed):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    torch.save(network.state_dict(), path)


def pack(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))


def write_table(path, seed):
    frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(30, 3)), columns=["a", "b", "y"])
    frame.to_csv(path, index=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of a study of own files."""
    place = Place(tmp_path_factory.mktemp("own") / "run", overlays=(TINY,))
    folder = place.directory
    folder.mkdir()
    generator = np.random.default_rng(0)
    save_images(folder / "photos", generator)
    pack(folder / "photos", folder / "packed.zip")
    write_table(folder / "own.csv", 0)
    save_weights(folder / "own.pt", 0)
    (folder / "networks.py").write_text(NETWORK)
    (folder / "layers.py").write_text(LAYERS)
    images = {"kind": "image_folder", "size": [8, 8]}
    table = {"kind": "table", "task": "regression", "path": "own.csv", "features": ["a", "b"], "target": "y"}
    place.overlay(
        {
            "datasets": {"folder": images | {"path": "photos"}, "zip": images | {"path": "packed.zip"}, "csv": table},
            "models": {
                "trained": OWN | {"training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}},
                "loaded": OWN | {"weights": {"file": "own.pt"}},
            },
            "experiments": [
                *(experiment(dataset, "cnn") for dataset in ("folder", "zip")),
                *(experiment("csv", model) for model in ("trained", "loaded")),
            ],
        }
    )
    outcome = place.run("attributions", overlays=[folder / "overlay.yaml"])
    assert outcome.code == 0, outcome.text
    return place


@pytest.fixture
def place(finished, tmp_path):
    shutil.copytree(finished.directory, tmp_path / "run")
    return Place(tmp_path / "run", overlays=(TINY, tmp_path / "run" / "overlay.yaml"))


def planned(place, target="attributions"):
    return sorted(place.plan(target).wildcards)


def cells(dataset, model):
    names, sources = f"dataset={dataset}, model={model}", ("exact", "forward-h0.1")
    derived = [("derive", f"{names}, method=saliency, gradient={source}") for source in sources]
    return derived + [("differentiate", f"{names}, samples=3, gradient={source}") for source in sources]


def after_data(dataset, *models):
    jobs = [("prepare_data", f"dataset={dataset}")]
    for rule, model in models:
        jobs += [(rule, f"dataset={dataset}, model={model}"), *cells(dataset, model)]
    return sorted(jobs)


@pytest.mark.parametrize("older", [False, True], ids=["newer", "older than the results"])
@pytest.mark.parametrize(
    ("file", "change", "jobs"),
    [
        (
            "photos/train/cat/1.png",
            lambda path: Image.new("RGB", (8, 8)).save(path),
            after_data("folder", ("train_model", "cnn")),
        ),
        (
            "packed.zip",
            lambda path: pack(path.parent / "photos" / "train", path),
            after_data("zip", ("train_model", "cnn")),
        ),
        (
            "own.csv",
            lambda path: write_table(path, 1),
            after_data("csv", ("load_model", "loaded"), ("train_model", "trained")),
        ),
        (
            "own.pt",
            lambda path: save_weights(path, 1),
            sorted([("load_model", "dataset=csv, model=loaded"), *cells("csv", "loaded")]),
        ),
        *(
            (
                file,
                lambda path: path.write_text(path.read_text().replace("nn.ReLU", "nn.Tanh") + "# Changed.\n"),
                sorted(
                    [
                        ("load_model", "dataset=csv, model=loaded"),
                        ("train_model", "dataset=csv, model=trained"),
                        *cells("csv", "loaded"),
                        *cells("csv", "trained"),
                    ]
                ),
            )
            for file in ("networks.py", "layers.py")
        ),
    ],
    ids=["image", "archive", "table", "weights", "network", "module that the network imports"],
)
def test_another_file_reruns_what_depends_on_it(place, file, change, jobs, older):
    assert planned(place) == []
    path = place.directory / file
    change(path)
    if older:
        os.utime(path, (0, 0))
    assert planned(place) == jobs


def test_a_touched_file_is_not_another_file(place):
    for file in ("packed.zip", "own.csv", "own.pt", "networks.py", "layers.py"):
        (place.directory / file).touch()
    assert planned(place) == []


def test_a_network_that_computes_otherwise_from_the_same_weights_is_attributed_again(place):
    (place.directory / "layers.py").write_text(LAYERS.replace("ReLU", "Tanh"))
    outcome = place.run("models")
    assert outcome.code == 0, outcome.text
    assert [job for job in planned(place) if "model=loaded" in job[1]] == cells("csv", "loaded")

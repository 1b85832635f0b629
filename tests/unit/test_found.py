"""What was found: measured on tiny data, refused in one line, and the page that follows from the tables."""

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from approxgrad.datasets.synthetic import effects
from approxgrad.models.model_files import build_model

ROOT = Path(__file__).resolve().parents[2]
STEPS = (1e-6, 1e-5, 1e-4, 0.01, 0.5, 1.0, 3.0)
PLANS = {
    "cnn": (("forward", "dense", STEPS[:4]), ("forward", "propagated", STEPS), ("central", "propagated", (0.5,))),
    "resnet18": (("forward", "dense", STEPS), ("forward", "propagated", (1e-6,)), ("central", "dense", (0.5,))),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of two classes, untrained networks, and a table like the published one."""
    folder = tmp_path_factory.mktemp("given")
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for part, count in (("train", 60), ("test", 101)):
            for name in ("cat", "dog"):
                for number in range(count):
                    stream = io.BytesIO()
                    Image.fromarray(generator.integers(0, 255, (32, 32, 3), np.uint8)).save(stream, "png")
                    archive.writestr(f"{part}/{name}/{number:03}.png", stream.getvalue())
    for seed, name in enumerate(PLANS):
        torch.manual_seed(seed)
        save_file(build_model((3, 32, 32), 10, architecture=name).state_dict(), folder / f"{name}.safetensors")
    rows = {part: generator.normal(size=(count, 12)) for part, count in (("train", 60), ("val", 20), ("test", 20))}
    targets = {f"y_{part}": effects(own, "nonlinear").sum(axis=1) for part, own in rows.items()}
    np.savez(folder / "nonlinear.npz", **{f"X_{part}": own for part, own in rows.items()}, **targets)
    mlp = build_model((12,), 1, architecture="mlp", hidden=[256, 128, 64], dropout=0.4)
    weights = {f"network.{name}": value for name, value in mlp.state_dict().items()}
    save_file(weights, folder / "nonlinear_mlp.safetensors")
    return folder


@pytest.fixture
def found(monkeypatch):
    """The measuring script, with fewer steps and epochs."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(ROOT / "docs")
    from bench import found, found_images, found_truth

    for name, plan in PLANS.items():
        monkeypatch.setitem(found_images.NETWORKS, name, tuple((*way, steps[:2]) for *way, steps in plan))
    monkeypatch.setitem(found_truth.OPTIONS, "epochs", 2)
    return found


def measured(found, *arguments):
    found.run(found.parsed([str(own) for own in arguments]))


def images_of(files, *names):
    return [
        "--images",
        files / "images.zip",
        *(own for name in names for own in (f"--{name}", files / f"{name}.safetensors")),
    ]


@pytest.mark.slow
def test_images_are_measured_once_and_the_run_goes_on(files, found, tmp_path, monkeypatch):
    from bench import found_images

    monkeypatch.setattr(found_images, "PATH_STEPS", (0.01,))
    monkeypatch.setitem(found_images.NETWORKS, "cnn", PLANS["cnn"])
    monkeypatch.setattr(found_images, "IN_A_ROUND", {"gradients": {"cnn": 1}, "paths": {"cnn": 1}})
    arguments = [*images_of(files, "cnn"), "--features", 5, "--output", tmp_path]
    measured(found, *arguments, "--rounds", 1)
    first = (tmp_path / "cnn.csv").read_text()
    measured(found, *arguments, "--rounds", 2)
    assert (tmp_path / "cnn.csv").read_text().startswith(first)
    table = pd.read_csv(tmp_path / "cnn.csv")
    assert table.groupby("part")["image"].nunique().to_dict() == {"gradients": 2, "paths": 2}
    assert not table.duplicated(["part", "image", "method", "scheme", "evaluation", "step"]).any()
    exact = table[(table["scheme"] == "exact") & (table["method"] != "integrated_gradients_published")]
    assert (exact["relative_error"] < 1e-6).all()
    propagated = table[(table["evaluation"] == "propagated") & (table["step"] == 1e-6)]
    # Where nothing cancels, only kinks within a millionth are left.
    assert (propagated["relative_error"] < 1e-3).all()
    dense = table[(table["evaluation"] == "dense") & (table["step"] == 1e-6) & (table["scheme"] == "forward")]
    assert (dense["relative_error"] > 100 * propagated["relative_error"].max()).all()
    right = table[(table["method"] == "integrated_gradients") & (table["step"] == 0.01)]
    wrong = table[(table["method"] == "integrated_gradients_published") & (table["step"] == 0.01)]
    assert right["relative_error"].max() < 0.1 < wrong["relative_error"].min()
    # The gradient along the path of a network that is nearly linear counts k / n: half of it.
    assert wrong["best_factor"].between(1.3, 3).all()


@pytest.mark.slow
def test_tables_are_measured_with_networks_of_ones_own(files, found, tmp_path):
    measured(found, "--synthetic", files, "--trainings", 1, "--output", tmp_path)
    table = pd.read_csv(tmp_path / "truth.csv")
    assert table["network"].unique().tolist() == ["published", "training 1"]
    exact = table[table["step"].isna()]
    assert (exact["gain"] == 0).all()
    assert len(exact) == 2 * 4 * 2
    about = json.loads((tmp_path / "about.json").read_text())
    assert {"nonlinear.npz", "nonlinear_mlp.safetensors", "seed", "trainings", "torch"} <= about.keys()


REFUSED = {
    "nothing": ([], "expected --images with at least one of --cnn, --resnet18, or --synthetic, or all of them"),
    "no network": (["--images", "{images.zip}"], "expected --images with at least one of"),
    "no images": (["--cnn", "{cnn.safetensors}"], "expected --images with at least one of"),
    "no such file": (["--images", "{images.zip}", "--cnn", "nowhere.pt"], "--cnn: nowhere.pt is not there"),
    "a folder": (["--images", "{images.zip}", "--cnn", "{.}"], "--cnn: {.} is not there"),
    "another network": (["--images", "{images.zip}", "--resnet18", "{cnn.safetensors}"], "does not fit ResNet"),
    "no weights": (["--images", "{images.zip}", "--cnn", "{images.zip}"], "is neither safetensors nor a state"),
    "no table": (["--synthetic", "{..}"], "--synthetic: {..}/nonlinear.npz is not there"),
    "no archive": (["--images", "{cnn.safetensors}", "--cnn", "{cnn.safetensors}"], "{cnn.safetensors}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_missing_is_refused_in_one_line(files, found, tmp_path, monkeypatch, name):
    def filled(text):
        return re.sub(r"\{([^}]+)\}", lambda key: str(files / key[1]), text)

    given, words = REFUSED[name]
    monkeypatch.setattr("sys.argv", ["found", *map(filled, given), "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as error:
        found.main()
    assert filled(words) in str(error.value.code)
    assert "\n" not in str(error.value.code)
    assert not (tmp_path / "out").exists()


def test_rows_of_other_files_are_not_mixed(found, tmp_path):
    found.noted(tmp_path, {"cnn": "a" * 64})
    found.noted(tmp_path, {"cnn": "a" * 64, "resnet18": "b" * 64})
    with pytest.raises(found.FoundError, match=r"cnn: .*about.json has rows of a{37}\.\.\., got c{37}\.\.\.; take"):
        found.noted(tmp_path, {"cnn": "c" * 64})


def test_verdicts_follow_from_intervals(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from found_claims import DEPENDS, FAILS, HOLDS, OPEN, Estimate, median, together

    assert [Estimate(0.5, low, high).above(0) for low, high in ((0.1, 1), (-1, -0.1), (-1, 1))] == [HOLDS, FAILS, OPEN]
    assert Estimate(0.5, np.nan, np.nan).above(0) == OPEN
    assert [together(own) for own in ([HOLDS, HOLDS], [HOLDS, FAILS], [HOLDS, OPEN])] == [HOLDS, DEPENDS, OPEN]
    assert str(median(pd.Series([1.0, 2.0]))) == "1.500 (too few for an interval)"
    assert str(median(pd.Series([0.25] * 9))) == "0.250 (0.250 to 0.250)"


def test_the_page_is_what_the_tables_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import found as page
    from found_claims import Tables

    tables = Tables()
    text = (ROOT / "docs" / "found.md").read_text()
    assert text == page.page(tables), "run: python docs/found.py"
    # A number of the page from the table, without the code that makes the page.
    table = pd.read_csv(ROOT / "docs" / "found" / "cnn.csv")
    own = table[(table["method"] == "saliency") & (table["evaluation"] == "dense") & (table["step"] == 1e-4)]
    assert f"CNN {own['pearson'].median():.3f} (" in text
    assert f"CNN {len(own)} for gradients" in text

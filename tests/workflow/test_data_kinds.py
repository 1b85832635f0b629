"""Data sets of one's own: downloaded, in class folders, in tables."""

import hashlib
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from approxgrad.storage.splits import read_split
from cifar_archive import contents, write_archive
from loopback import served

pytestmark = pytest.mark.workflow

LOCAL = {"no_proxy": "127.0.0.1"}
GRADIENTS = {"forward": {"steps": [0.1]}}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("archive") / "cifar.tar.gz", contents()).read_bytes()


def experiment(dataset, model):
    names = {"datasets": [dataset], "models": [model], "methods": ["saliency"], "gradients": ["forward"]}
    return names | {"samples": 4}


def cifar(address, archive):
    download = {"addresses": [address], "md5": hashlib.md5(archive).hexdigest(), "retries": 0, "timeout": 5}
    return {
        "datasets": {"small": {"kind": "cifar10", "download": download, "validation": 20, "limit": {"test": 10}}},
        "models": {"cnn": {"training": {"epochs": 1}}},
        "gradients": GRADIENTS,
        "experiments": [experiment("small", "cnn")],
    }


def test_cifar_from_the_download_to_the_figures(empty, archive):
    with served(archive) as (site, address):
        overlay = empty.overlay(cifar(f"{address}/whole", archive))
        outcome = empty.run(overlays=[overlay], **LOCAL)
        assert outcome.code == 0, outcome.text
        assert site.requests == ["whole"]
    assert outcome.jobs["download"] == outcome.jobs["prepare_data"] == outcome.jobs["train_model"] == 1
    data = empty.directory / "data" / "small"
    assert (data / "cifar-10-python.tar.gz").read_bytes() == archive
    assert {path.name for path in data.iterdir()} == {
        "cifar-10-python.tar.gz",
        "train.parquet",
        "validation.parquet",
        "test.parquet",
    }
    assert [len(read_split(data / f"{part}.parquet").target) for part in ("train", "validation", "test")] == [
        80,
        20,
        10,
    ]
    for name in ("attribution_maps", "learning_curves", "method=saliency/boxplots"):
        figure = empty.directory / "results" / "figures" / "dataset=small" / "model=cnn" / f"{name}.svg"
        assert figure.stat().st_size > 1000
    frame = pd.read_parquet(empty.directory / "results" / "attributions")
    assert sorted(frame["gradient"].unique()) == ["exact", "forward-h0.1"]
    assert np.stack(frame["attribution"]).shape == (8, 3072)
    assert empty.plan(overlays=[overlay]).jobs == {}


def test_an_archive_with_a_wrong_checksum_stops_the_run(empty, archive):
    with served(archive) as (_, address):
        overlay = empty.overlay(cifar(f"{address}/corrupt", archive))
        outcome = empty.run("data", overlays=[overlay], **LOCAL)
    assert outcome.code != 0
    wrong, right = (hashlib.md5(content).hexdigest() for content in (b"x" * len(archive), archive))
    line = (
        f"approxgrad: download dataset=small: cifar-10-python.tar.gz could not be downloaded: {address}/corrupt: "
        f"the MD5 sum is {wrong}, expected {right} (details: logs/download/small.log)"
    )
    assert outcome.stderr.splitlines().count(line) == 1, outcome.text
    assert not list((empty.directory / "data").rglob("*.gz*"))


def test_a_later_run_succeeds_after_a_failed_transfer(empty, archive):
    with served(archive) as (site, address):
        first = empty.run("data", overlays=[empty.overlay(cifar(f"{address}/truncated", archive))], **LOCAL)
        assert first.code != 0
        assert re.search(r"/truncated: the transfer failed \(.* more expected", first.stderr), first.text
        assert list((empty.directory / "data").rglob("*.*")) == []
        second = empty.run("data", overlays=[empty.overlay(cifar(f"{address}/whole", archive))], **LOCAL)
        assert second.code == 0, second.text
        assert site.requests == ["truncated", "whole"]
    assert (empty.directory / "data" / "small" / "cifar-10-python.tar.gz").read_bytes() == archive


def test_a_changed_file_is_prepared_again(empty):
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (empty.directory / "photos" / part / name).mkdir(parents=True)
            for number in range(6):
                image = Image.fromarray(generator.integers(0, 256, (9, 12, 3), np.uint8))
                image.save(empty.directory / "photos" / part / name / f"{number}.png")
    frame = pd.DataFrame(generator.normal(size=(20, 3)), columns=["a", "b", "y"])
    frame.to_csv(empty.directory / "own.csv", index=False)
    table = {"kind": "table", "task": "regression", "path": "own.csv", "features": ["a", "b"], "target": "y"}
    config = {
        "datasets": {"photos": {"kind": "image_folder", "path": "photos", "size": [8, 8]}, "own": table},
        "experiments": [experiment("photos", "cnn"), experiment("own", "mlp")],
    }
    overlay = empty.overlay(config)
    outcome = empty.run("data", overlays=[overlay])
    assert outcome.code == 0, outcome.text
    assert read_split(empty.directory / "data" / "photos" / "test.parquet").feature_shape == (3, 8, 8)
    assert empty.plan("data", overlays=[overlay]).jobs == {}

    def again():
        plan = empty.plan("data", overlays=[overlay])
        return [wildcards for rule, wildcards in plan.wildcards if rule == "prepare_data"]

    # What is passed over is no reason.
    (empty.directory / "photos" / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (empty.directory / "photos" / "test" / "dog" / "x.png").symlink_to("nowhere")
    assert again() == []
    # The time of the folder itself is not changed by this, and that of the image is older than what was made of it.
    image = empty.directory / "photos" / "train" / "cat" / "1.png"
    os.utime(image, (0, 0))
    assert again() == []
    Image.new("RGB", (9, 12)).save(image)
    os.utime(image, (0, 0))
    assert again() == ["dataset=photos"]
    frame.assign(a=1.0).to_csv(empty.directory / "own.csv", index=False)
    assert sorted(again()) == ["dataset=own", "dataset=photos"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (
            {"kind": "cifar10", "download": {"addresses": ["ftp://x/y"]}},
            r"datasets.own.download.addresses\[0\]: got 'ftp:",
        ),
        ({"kind": "cifar10", "download": {"md5": "abc"}}, r"datasets.own.download.md5: got 'abc', expected: .* 32 hex"),
        (
            {"kind": "image_folder", "path": "../x", "size": [8, 8]},
            r"datasets.own.path: got '../x', expected a path with",
        ),
        ({"kind": "image_folder", "path": "x", "size": 8}, r"datasets.own.size: got 8, expected a list"),
        (
            {"kind": "tabel"},
            r"datasets.own.kind: got 'tabel', expected one of digits, synthetic, cifar10, image_folder",
        ),
    ],
)
def test_options_that_are_not_clear_stop_with_one_line(empty, dataset, expected):
    config = {"datasets": {"own": dataset}, "experiments": [experiment("own", "cnn")]}
    outcome = empty.run("--dry-run", overlays=[empty.overlay(config)])
    assert outcome.code != 0
    message = outcome.stderr.split("Configuration error: ")[1].strip()
    assert re.match(expected, message)
    assert "\n" not in message


def test_a_missing_file_is_named(empty):
    config = {
        "datasets": {"own": {"kind": "image_folder", "path": "photos.zip", "size": [8, 8]}},
        "experiments": [experiment("own", "cnn")],
    }
    outcome = empty.run("data", overlays=[empty.overlay(config)])
    assert outcome.code != 0
    line = f"Configuration error: datasets.own.path: photos.zip: no such file or folder in {empty.directory}"
    assert outcome.stderr.splitlines()[-1] == line

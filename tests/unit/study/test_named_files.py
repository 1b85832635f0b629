"""A user's own files that are not there or cannot be read are one line with the key that names them."""

import copy
import os
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from approxgrad.datasets.cifar10 import Cifar10, Download
from approxgrad.datasets.digits import Digits
from approxgrad.datasets.image_folder import ImageFolder
from approxgrad.datasets.table import Files, Table
from approxgrad.models.architectures import MultilayerPerceptron
from approxgrad.models.origins import Training, Weights
from approxgrad.study.configuration import ConfigError
from approxgrad.study.named_files import NamedFileError, array_faults, dataset_faults, named_by, weight_faults
from approxgrad.study.own_files import check_files, readable_weights
from approxgrad.study.study import Study, model_weights

ROOT = Path(__file__).resolve().parents[3]
TRAINING = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with something of every kind that a path can lead to."""
    monkeypatch.chdir(tmp_path)
    Path("file.csv").write_text("a,b,y\n1,2,0\n")
    Path("folder.csv").mkdir()
    Path("dangling.csv").symlink_to("gone.csv")
    Path("linked.csv").symlink_to("file.csv")
    Path("loop.csv").symlink_to("loop.csv")
    os.mkfifo("pipe.csv")
    Path("secret.csv").write_text("")
    Path("secret.csv").chmod(0)
    return tmp_path


def loaded(**weights):
    return MultilayerPerceptron(weights=Weights(**weights))


AS_A_USER = pytest.mark.skipif(os.geteuid() == 0, reason="the administrator can read everything")
BAD = [
    ("gone.csv", "gone.csv: no such file in {here}"),
    ("/gone/x.csv", "/gone/x.csv: no such file"),
    ("~/x.csv", "~/x.csv: no such file; ~ and variables are not expanded, so write the path in full"),
    ("$HOME/x.csv", "$HOME/x.csv: no such file; ~ and variables are not expanded, so write the path in full"),
    ("s3://x/y.csv", "s3://x/y.csv: no such file; an address is not followed, so download the file first"),
    ("file.csv/x.csv", "file.csv/x.csv: cannot be read (Not a directory)"),
    ("folder.csv", "folder.csv: is a folder, expected a file"),
    ("dangling.csv", "dangling.csv: is a link to gone.csv, which is not there; expected a file"),
    ("loop.csv", "loop.csv: cannot be read (Too many levels of symbolic links)"),
    ("pipe.csv", "pipe.csv: is a pipe, socket or device, expected a file"),
    ("/dev/null", "/dev/null: is a pipe, socket or device, expected a file"),
    pytest.param("secret.csv", "secret.csv: cannot be read (Permission denied)", marks=AS_A_USER),
]


@pytest.mark.parametrize(("path", "fault"), BAD)
def test_a_file_that_cannot_be_read_is_named_with_its_key(folder, path, fault):
    fault = fault.format(here=folder)
    assert dataset_faults("own", Table(task="regression", path=path)) == [f"datasets.own.path: {fault}"]
    both = Table(task="regression", files=Files("file.csv", path))
    assert dataset_faults("own", both) == [f"datasets.own.files.test: {fault}"]
    assert weight_faults("own", loaded(file=path)) == [f"models.own.weights.file: {fault}"]


@pytest.mark.parametrize("path", ["file.csv", "./file.csv", "linked.csv", "folder.csv/../file.csv"])
def test_a_file_that_is_there_is_no_fault(path):
    assert not dataset_faults("own", Table(task="regression", path=path))
    assert not weight_faults("own", loaded(file=path))
    assert not dataset_faults("own", ImageFolder(path=path, size=(4, 4)))


def test_images_lie_in_a_folder_or_a_file_and_arrays_in_a_folder(folder):
    assert not dataset_faults("own", ImageFolder(path="folder.csv", size=(4, 4)))
    assert not array_faults("own", "folder.csv")
    assert dataset_faults("own", ImageFolder(path="gone", size=(4, 4))) == [
        f"datasets.own.path: gone: no such file or folder in {folder}"
    ]
    assert array_faults("own", "gone") == [f"cached_arrays.own.folder: gone: no such folder in {folder}"]
    assert array_faults("own", "file.csv") == ["cached_arrays.own.folder: file.csv: is a file, expected a folder"]


def test_data_and_weights_that_are_no_files_of_the_user_are_not_looked_for():
    assert not dataset_faults("digits", Digits())
    assert not dataset_faults("cifar10", Cifar10(download=Download(addresses=("/gone",))))
    assert not weight_faults("own", loaded(repository="a/b", file="gone"))
    assert not weight_faults("own", MultilayerPerceptron(training=Training(**TRAINING)))


def study(model, **options):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    mlp = {"architecture": "mlp", "hidden": [4], "dropout": 0}
    changes = {
        "models": {"own": model, "first": mlp | {"training": TRAINING}},
        "experiments": [
            {"datasets": ["digits"], "models": ["own", "first"], "methods": ["saliency"]}
            | {"gradients": ["forward"], "samples": 2}
        ],
    }
    update_config(config, copy.deepcopy(changes | options))
    return Study(config)


@pytest.mark.parametrize(
    ("write", "factory"),
    [
        ("networks.py", "networks:build"),
        ("nets/own.py", "nets.own:build"),
        ("nets/__init__.py", "nets:build"),
        ("networks.so", "networks:build"),
        ("", "torchvision.models:resnet18"),
    ],
    ids=["module", "in a folder", "package", "compiled", "installed"],
)
def test_the_module_of_a_factory_is_the_users_or_installed(write, factory):
    asked = study({"factory": factory, "training": TRAINING})
    if write:
        with pytest.raises(ConfigError) as error:
            check_files(asked)
        module = factory.partition(":")[0]
        here = f"no module {module} in {Path.cwd()}, and none of that name is installed"
        assert str(error.value) == f"models.own.factory: {here}"
        Path(write).parent.mkdir(exist_ok=True)
        Path(write).touch()
    check_files(asked)


def test_weights_that_the_study_trains_need_not_be_there():
    path = model_weights("digits", "first")
    fitted = {"architecture": "mlp", "hidden": [4], "dropout": 0, "weights": {"file": path}}
    assert readable_weights(study(fitted), "own") == path
    fitted["weights"]["file"] = path.replace("first", "second")
    with pytest.raises(ConfigError, match=r"^models\.own\.weights\.file: results/models/"):
        readable_weights(study(fitted), "own")


def test_an_error_that_begins_with_a_named_file_says_its_key():
    keys = {"datasets.own.files.train": "./a.csv", "datasets.own.files.test": "b.csv"}
    with pytest.raises(NamedFileError, match=r"^datasets\.own\.files\.train: a\.csv: has no rows$"), named_by(keys):
        raise ValueError("a.csv: has no rows")
    with pytest.raises(TypeError, match=r"^a\.csv: x$"), named_by(keys):
        raise TypeError("a.csv: x")
    with pytest.raises(ValueError, match=r"^test: leaves 1 rows$"), named_by(keys):
        raise ValueError("test: leaves 1 rows")

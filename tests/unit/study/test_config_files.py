"""Configuration files and the command line before Snakemake reads them, and where a fault comes from."""

import os
from contextlib import nullcontext

import pytest
import yaml
from snakemake.utils import update_config

from approxgrad.study.command_line import check_arguments
from approxgrad.study.config_files import file_faults
from approxgrad.study.configuration import ConfigError
from approxgrad.study.defaults import default_files, over_defaults, read_defaults, with_origins


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text("seed: 1\n")


SWALLOWED = "is read as a configuration file, because it stands after --configfile; targets stand before"


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["metrics", "--configfile", "study.yaml"], []),
        (["--configfile", "study.yaml", "-n", "--cores", "2", "metrics"], []),
        (["--configfile", "study.yaml", "study.yaml", "--", "metrics"], []),
        (["--configfile", "study.yaml", "metrics", "-n"], [f"metrics: {SWALLOWED}"]),
        (
            ["--configfiles", "study.yaml", "results/a.parquet", "x"],
            [f"results/a.parquet: {SWALLOWED}", f"x: {SWALLOWED}"],
        ),
        (["--configfile", "study.yaml", "folder"], [f"folder: {SWALLOWED}"]),
        (["--configfile=other.yaml"], ["other.yaml: there is no such configuration file"]),
        (["--configfile", "study.yaml", "other.yml"], ["other.yml: there is no such configuration file"]),
        (["--configfile", "folder"], ["folder: is a folder, expected a YAML or JSON file"]),
        (
            ["--config", "seed=1", "metrics"],
            ["metrics: is read as a value of --config, expected KEY=VALUE; targets stand before --config"],
        ),
        (["--configfile"], []),
    ],
    ids=str,
)
def test_targets_that_are_taken_for_configuration_files_are_told(arguments, lines, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError) if lines else nullcontext() as error:
        check_arguments(arguments)
    assert not lines or str(error.value).splitlines() == lines


@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "/dev/null"])
def test_what_never_ends_is_not_read(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert file_faults(tmp_path / path) == [f"{path}: is a pipe or a device, expected a YAML or JSON file"]


def test_the_defaults_are_in_the_checkout_and_in_the_working_directory(tmp_path, monkeypatch):
    workflow = tmp_path / "checkout" / "workflow"
    default = tmp_path / "checkout" / "config" / "config.yaml"
    folder, here = tmp_path / "config" / "config.yaml", tmp_path / "config.yaml"
    for path in (workflow, default.parent, folder.parent):
        path.mkdir(parents=True)
    default.write_text("models: {a: {x: 1, y: 2}, b: 3}\nsteps: [1, 2]\n")
    assert default_files(workflow) == [default]
    here.write_text("models: {a: {y: 5}}\nsteps: [3]\n")
    assert default_files(workflow) == [default, here]
    assert default_files(workflow, here=False) == [default]
    assert read_defaults([default, here]) == {"models": {"a": {"x": 1, "y": 5}, "b": 3}, "steps": [3]}
    folder.write_text("seed: 1\n")
    assert default_files(workflow) == [default, folder, here]
    here.unlink()
    here.symlink_to(default)
    folder.unlink()
    assert default_files(workflow) == [default]
    # As in the checkout itself, from a path that is relative.
    monkeypatch.chdir(default.parents[1])
    assert default_files("workflow") == [default]


def without_null(value):
    return (
        {key: without_null(item) for key, item in value.items() if item is not None}
        if isinstance(value, dict)
        else value
    )


@pytest.mark.parametrize(
    "config",
    [{"a": {"b": 1, "c": {"d": 2}}, "e": [1]}, {"a": {"c": {}}}, {"a": 3, "f": {"g": 1}}, {}],
    ids=str,
)
def test_a_whole_configuration_over_the_defaults_is_itself(config):
    defaults = {"a": {"b": 1, "c": {"d": 5, "x": 6}, "y": {"z": 1}}, "e": [1, 2], "w": 0}
    merged = yaml.safe_load(yaml.safe_dump(defaults))
    update_config(merged, over_defaults(config, defaults))
    assert without_null(merged) == config


def test_a_fault_says_which_default_it_comes_from(tmp_path):
    default, here = tmp_path / "config.yaml", tmp_path / "own.yaml"
    default.write_text("models: {mlp: {dropout: 1, hidden: [3]}}\nexperiments: [{models: [cnn]}]\nseed: -1\n")
    lines = ["models.mlp.dropout: a", "experiments[0].models: b", "seed: c", "models.mlp.hidden[0]: d", "threads: e"]
    assert with_origins(lines, [default], []) == lines
    given = [{"seed": -2, "models": {"mlp": {"hidden": [0]}}}]
    told = with_origins(lines, [default], given)
    assert [line.partition(" (this comes from ")[2].split(",")[0] for line in told] == ["config.yaml"] * 2 + [""] * 3
    here.write_text("seed: -3\n")
    assert "this comes from own.yaml" in with_origins(lines, [default, here], [{}])[2]

"""What every rule declares, and that configuration and schema describe each other."""

import tomllib
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings
from snakemake.utils import update_config

import approxgrad
from approxgrad.study.configuration import load_schema, validated
from running import REPOSITORY

pytestmark = pytest.mark.workflow

SCRIPTS = REPOSITORY / "workflow" / "scripts"


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """The rules as Snakemake parses them."""
    with pytest.MonkeyPatch.context() as patch, SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        directory = tmp_path_factory.mktemp("rules")
        patch.chdir(directory)
        patch.setattr("sys.argv", ["snakemake"])
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[REPOSITORY / "config.yaml"]),
            snakefile=REPOSITORY / "Snakefile",
            workdir=directory,
        )
        return list(workflow._workflow.rules)


@pytest.fixture(scope="module")
def work(rules):
    """The rules that produce files."""
    return [rule for rule in rules if rule.output]


def test_every_rule_says_what_it_does(rules):
    assert not [rule.name for rule in rules if not (rule.docstring or "").strip().endswith(".")]


def test_every_script_belongs_to_the_rule_of_its_name(work):
    # A shard is attributed as a whole cell is.
    expected = {rule.name: f"{rule.name}.py" for rule in work} | {"attribute_shard": "attribute.py"}
    assert {rule.name: Path(rule.script).name for rule in work} == expected
    # The plan only prints, and what a verification finds stays when it fails.
    scripts = {rule.name for rule in work} - {"attribute_shard"} | {"plan", "verify"}
    assert {path.stem for path in SCRIPTS.glob("*.py")} == scripts


def test_every_work_rule_declares_log_benchmark_environment_and_resources(work):
    for rule in work:
        assert len(rule.log) == 1, rule.name
        assert rule.benchmark, rule.name
        environment = (REPOSITORY / "workflow" / "rules" / str(rule.conda_env)).resolve()
        assert environment.is_file(), rule.name
        assert yaml.safe_load(environment.read_text())["dependencies"], rule.name
        assert {"mem_mb", "runtime"} <= set(rule.resources), rule.name


def test_logs_and_benchmarks_are_named_after_their_rule_and_not_shared(work):
    for rule in work:
        (log,) = rule.log
        assert str(log).removesuffix(".log").split("/")[:2] == ["logs", rule.name]
        assert str(rule.benchmark).removesuffix(".tsv").split("/")[:2] == ["benchmarks", rule.name]
    paths = [str(path) for rule in work for path in (*rule.log, rule.benchmark)]
    assert len(paths) == len(set(paths))


def test_every_work_rule_tracks_the_package(work):
    assert not [rule.name for rule in work if not hasattr(rule.input, "code")]


def test_every_work_rule_but_downloads_tracks_versions(work):
    # A checksum or a revision says what is downloaded.
    expected = {rule.name for rule in work} - {"download", "download_weights"}
    assert {rule.name for rule in work if hasattr(rule.params, "versions")} == expected


def properties(schema, path=""):
    """Yield path and description of every key in a schema, conditions left out."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(part, path)
    elif isinstance(schema, dict):
        for word, part in schema.items():
            if word in ("properties", "$defs"):
                for name, value in part.items():
                    if word == "properties":
                        yield f"{path}.{name}", value
                    yield from properties(value, f"{path}.{name}")
            elif word not in ("if", "default", "enum"):
                yield from properties(part, path)


def test_every_key_of_the_schema_is_described():
    described = dict(properties(load_schema()))
    assert len(described) > 40
    missing = [
        path for path, value in described.items() if value is not True and not {"description", "$ref"} & set(value)
    ]
    assert not missing


@pytest.mark.parametrize("study", [None, *sorted((REPOSITORY / "studies").glob("*.yaml"))], ids=str)
def test_configurations_are_valid(study):
    config = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    if study is not None:
        update_config(config, yaml.safe_load(study.read_text()))
    assert len(validated(config)["experiments"]) == len(config["experiments"])


def test_conda_environment_has_the_dependencies_of_the_package():
    conda = yaml.safe_load((REPOSITORY / "envs" / "approxgrad.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = sorted([*project["dependencies"], *project["optional-dependencies"]["study"]])
    assert conda["dependencies"][-1]["pip"] == needed


def test_versions_agree():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"]
    changes = (REPOSITORY / "CHANGELOG.md").read_text()
    assert approxgrad.__version__ == project == citation
    assert f"## {project} (" in changes


def test_the_profile_of_the_queue_knows_every_rule_that_is_sent_there(work):
    profile = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
    queued = {rule.name for rule in work if rule.name not in rule.workflow._localrules}
    assert profile["set-resources"].keys() == queued
    assert queued - profile["groups"].keys() == {"train_model", "load_model", "gather_shards"}
    assert set(profile["groups"].values()) == profile["group-components"].keys()
    # A group must be able to hold the largest of its jobs, when it is repeated as well.
    attempts = range(1, profile["retries"] + 2)
    for rule in work:
        asked = profile["set-resources"].get(rule.name, {}).get("mem_mb", rule.resources["mem_mb"].value)
        largest = max(eval(str(asked), {"attempt": attempt}) for attempt in attempts)
        assert largest <= profile["resources"]["mem_mb"], rule.name

"""What every rule declares, and that the files which list rules, versions and dependencies agree."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

import approxgrad
from approxgrad.figures.figure import FIGURES
from extras import required
from running import REPOSITORY

pytestmark = pytest.mark.workflow

SCRIPTS = REPOSITORY / "workflow" / "scripts"
SHARED = {
    "attribute.py": ("attribute", "attribute_shard", "differentiate", "differentiate_shard"),
    "make_model.py": ("make_model_onnx", "make_model_skops"),
    "gather_shards.py": ("gather_shards", "gather_gradients"),
    "evaluate.py": ("evaluate", "evaluate_completeness", "evaluate_published", "split_errors"),
    "tabulate.py": (
        "tabulate_models",
        "summarise",
        "compare_sources",
        "tabulate_ranges",
        "recommend_steps",
        "choose_sources",
        "summarise_published",
        "list_published",
    ),
    "plot.py": tuple(f"plot_{name}" for name in FIGURES),
}
"""Scripts of several rules."""


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    """The rules as Snakemake parses them."""
    with pytest.MonkeyPatch.context() as patch, SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        directory = tmp_path_factory.mktemp("rules")
        patch.chdir(directory)
        patch.setattr("sys.argv", ["snakemake"])
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[REPOSITORY / "config" / "config.yaml"]),
            snakefile=REPOSITORY / "workflow" / "Snakefile",
            workdir=directory,
        )
        return list(workflow._workflow.rules)


@pytest.fixture(scope="module")
def work(rules):
    """The rules that produce files."""
    return [rule for rule in rules if rule.output]


def test_every_rule_says_what_it_does(rules):
    assert not [rule.name for rule in rules if not (rule.docstring or "").strip().endswith(".")]


def test_no_rule_begins_with_a_formatted_docstring():
    """Snakemake refuses them from Python 3.12 on, which these tests need not run with."""
    for path in (REPOSITORY / "workflow").rglob("*.smk"):
        assert not re.search(r"^ *f(\"{3}|'{3})", path.read_text(), re.MULTILINE), path


def test_every_script_serves_the_rule_of_its_name_or_a_list_of_rules(work):
    scripts = {rule.name: Path(rule.script).name for rule in work}
    shared = {rule: script for script, rules in SHARED.items() for rule in rules}
    assert scripts == {rule: shared.get(rule, f"{rule}.py") for rule in scripts} | shared
    # The plan only prints, and what a verification finds stays when it fails; tidying up makes nothing.
    assert {path.name for path in SCRIPTS.glob("*.py")} == {*scripts.values(), "plan.py", "verify.py", "tidy.py"}


def test_every_work_rule_declares_what_all_of_them_declare(work):
    names = []
    for rule in work:
        (log,) = (str(path).removesuffix(".log") for path in rule.log)
        # Named after the rule and its wildcards, both in the same way.
        assert str(rule.benchmark) == f"{log.replace('logs', 'benchmarks', 1)}.tsv"
        assert log.split("/")[:2] == ["logs", rule.name]
        names.append(log)
        environment = (REPOSITORY / "workflow" / "rules" / str(rule.conda_env)).resolve()
        assert yaml.safe_load(environment.read_text())["dependencies"], rule.name
        assert {"mem_mb", "runtime"} <= set(rule.resources), rule.name
        assert hasattr(rule.input, "code"), rule.name
        # A checksum or a revision says what is downloaded.
        assert hasattr(rule.params, "versions") == (rule.name not in ("download", "download_weights")), rule.name
    assert len(names) == len(set(names))


def test_conda_environment_has_the_dependencies_of_the_package():
    conda = yaml.safe_load((REPOSITORY / "envs" / "approxgrad.yaml").read_text())
    assert conda["dependencies"][-1]["pip"] == required("study")


def test_versions_agree():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"]
    changes = (REPOSITORY / "CHANGELOG.md").read_text()
    assert approxgrad.__version__ == project == citation
    assert f"## {project} (" in changes


def test_the_profile_of_the_queue_knows_every_rule_that_is_sent_there(work):
    profile = yaml.safe_load((REPOSITORY / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())
    queued = {rule.name for rule in work if rule.name not in rule.workflow._localrules}
    assert profile["set-resources"].keys() == queued
    assert queued - profile["groups"].keys() == {
        *("train_model", "load_model", "measure_model", "gather_shards", "gather_gradients"),
        *("make_model_onnx", "make_model_skops", "evaluate_faithfulness", "evaluate_sensitivity"),
    }
    assert set(profile["groups"].values()) == profile["group-components"].keys()
    # A group must be able to hold the largest of its jobs, when it is repeated as well.
    attempts = range(1, profile["retries"] + 2)
    for rule in work:
        asked = profile["set-resources"].get(rule.name, {}).get("mem_mb", rule.resources["mem_mb"].value)
        largest = max(eval(str(asked), {"attempt": attempt}) for attempt in attempts)
        assert largest <= profile["resources"]["mem_mb"], rule.name

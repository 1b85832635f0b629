"""From where and how Snakemake is called: another folder, a module of another workflow, files that never end."""

import resource
import subprocess

import pytest
import yaml

from bad_config_files import MAPPING_BOMB
from running import REPOSITORY, SNAKEMAKE, TINY

pytestmark = pytest.mark.workflow

EXPERIMENT = {
    "datasets": ["synthetic_linear"],
    "models": ["mlp"],
    "methods": ["saliency"],
    "gradients": ["own"],
    "samples": 2,
}
GRADIENTS = {"own": {"difference": "forward", "steps": [0.1]}}
STUDY = {"gradients": GRADIENTS, "experiments": [EXPERIMENT]}
SMALL = {"all": 1, "differentiate": 2, "derive": 2, "evaluate": 1, "train_model": 1, "prepare_data": 1}


def called(place, *arguments):
    """Call Snakemake in the folder of a place with just these arguments and bounded memory; return what it said."""
    return subprocess.run(
        [SNAKEMAKE, *arguments, "--dry-run", "--cores", "1"],
        cwd=place.directory,
        env=place.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30)),
        check=False,
    )


def jobs(done):
    """Return which of the jobs of a small study are planned, and how often."""
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() + done.stderr.splitlines()]
    found = {words[0].removeprefix("ours_"): int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    return {name: number for name, number in found.items() if name in SMALL}


def test_a_study_in_a_folder_of_its_own_is_merged_with_the_defaults_beside_the_snakefile(empty):
    snakefile = ["--snakefile", REPOSITORY / "workflow" / "Snakefile"]
    empty.overlay(STUDY, "config.yaml")
    assert jobs(called(empty, *snakefile)) == SMALL
    # The command line wins.
    overlay = empty.overlay({"gradients": {"own": {"steps": [0.1, 1]}}})
    more = SMALL | {"differentiate": 3, "derive": 3}
    assert jobs(called(empty, *snakefile, "--configfile", overlay)) == more
    # From elsewhere, with the paths of that place.
    elsewhere = empty.directory / "elsewhere"
    elsewhere.mkdir()
    (empty.directory / "config.yaml").rename(elsewhere / "study.yaml")
    done = called(empty, *snakefile, "--directory", "elsewhere", "--configfile", "elsewhere/study.yaml")
    assert jobs(done) == SMALL


def test_a_merged_default_is_named_in_its_fault(empty):
    overlay = empty.overlay({"models": {"mlp": {"architecture": "cnn"}}})
    done = called(empty, "--snakefile", REPOSITORY / "workflow" / "Snakefile", "--configfile", overlay)
    faults = [line for line in done.stderr.splitlines() if line.startswith("Configuration error: models.mlp.")]
    assert [line.split()[2] for line in faults] == ["models.mlp.dropout:", "models.mlp.hidden:"]
    assert all(f"(this comes from {REPOSITORY / 'config' / 'config.yaml'}, " in line for line in faults)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bomb.yaml", MAPPING_BOMB, "stands for more than 100,000 values once its aliases are expanded"),
        (
            "metrics",
            None,
            "is read as a configuration file, because it stands after --configfile; targets stand before",
        ),
        ("code.yaml", "__use_yte__: true\nseed: ?open('executed', 'w')\n", "__use_yte__ makes a template of the file"),
        ("/dev/zero", None, "is a pipe or a device"),
    ],
    ids=["bomb", "target", "template", "device"],
)
def test_configuration_files_are_refused_before_snakemake_reads_them(empty, name, content, says):
    if content is not None:
        empty.overlay(content, name)
    done = called(empty, "--snakefile", REPOSITORY / "workflow" / "Snakefile", "--configfile", TINY, name)
    assert done.returncode != 0
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"Configuration error: {name}")
    assert says in line
    assert len(done.stderr.splitlines()) == 2
    assert not (empty.directory / "executed").exists()


MODULE = """
rule mine:
    input: "results/summary/summary.csv"
    output: "mine.txt"
    shell: "cp {{input}} {{output}}"

module ours:
    snakefile: "{snakefile}"
{more}

use rule * from ours as ours_*
"""


@pytest.mark.parametrize("given", [False, True], ids=["from the command line", "by the module"])
def test_another_workflow_uses_this_one_as_a_module(empty, given):
    config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text()) | {"experiments": [EXPERIMENT]}
    config["gradients"] |= GRADIENTS
    # The configuration of the other workflow, which is not ours.
    empty.overlay({"ours": config, "other": 1}, "config.yaml")
    more = "    config: config" if given else ""
    text = MODULE.format(snakefile=REPOSITORY / "workflow" / "Snakefile", more=more)
    if given:
        text = 'configfile: "config.yaml"\nconfig = config["ours"]\n' + text
    empty.overlay(text, "Snakefile")
    arguments = [] if given else ["--configfile", empty.overlay(STUDY)]
    done = called(empty, "mine", "ours_all", *arguments)
    assert jobs(done) == SMALL


def test_a_module_with_other_paths_is_refused(empty):
    empty.overlay(MODULE.format(snakefile=REPOSITORY / "workflow" / "Snakefile", more='    prefix: "sub"'), "Snakefile")
    done = called(empty, "ours_all")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith("approxgrad: cannot be used as a module with prefix")

"""Files beside the package that other programs read: one version everywhere, checks as in `make lint`, nothing lost."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import approxgrad

REPOSITORY = Path(__file__).resolve().parents[2]
MAKEFILE = (REPOSITORY / "Makefile").read_text()


def test_the_version_is_the_same_everywhere():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    cited = re.findall(r"version += \{(.+?)\}", (REPOSITORY / "README.md").read_text())
    assert {project["version"], citation["version"], *cited} == {approxgrad.__version__}
    assert project["license"] == citation["license"]


def test_hooks_before_a_commit_are_the_checks_of_lint():
    config = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"].removeprefix(".venv/bin/") for own in config["repos"] for hook in own["hooks"]]
    lint = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t\$\(BIN\)/(.+)$", lint, re.MULTILINE)
    shortened = [command.removesuffix(" .").replace(" $(SNAKEMAKE_FILES)", "") for command in commands]
    assert hooks == shortened


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_clean_keeps_what_says_what_lies_there(tmp_path):
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for folder in ("data", "results"):
        (tmp_path / folder / "own").mkdir(parents=True)
        (tmp_path / folder / "own" / "README.md").touch()
        (tmp_path / folder / ".hidden").touch()
        shutil.copy(REPOSITORY / folder / "README.md", tmp_path / folder)
    (tmp_path / "logs").mkdir()
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, check=True)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["Makefile", "data/README.md", "results/README.md"]


def test_what_the_catalogue_reads():
    catalogue = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert catalogue["software-stack-deployment"] == {"conda": True}
    for name in ("config/README.md", "config/config.yaml", "workflow/Snakefile"):
        assert (REPOSITORY / name).exists()


@pytest.mark.parametrize("name", ["Dockerfile", "envs/apptainer.def"])
def test_containers_copy_what_is_there(name):
    text = (REPOSITORY / name).read_text()
    copied = re.findall(r"^COPY (\S+) ", text, re.MULTILINE) or re.findall(
        r"^    (\S+) /opt/approxgrad/", text, re.MULTILINE
    )
    assert copied
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []

"""Commands in the README and the pages: programs, options, targets and files that they name are there."""

import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser

from approxgrad.explaining.command_line import parser

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "config" / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
RULES = {
    name
    for file in [REPOSITORY / "workflow" / "Snakefile", *(REPOSITORY / "workflow" / "rules").glob("*.smk")]
    for name in re.findall(r"^rule (\w+):", file.read_text(), re.MULTILINE)
}
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OWN_STUDIES = {"my-study.yaml", "my-study/study.yaml", "study.yaml"}
"""Files of a reader, which stand on the page before, or stand for any."""
SYSTEM = {"git", "cd", "scancel", "squeue", "docker", "apptainer"}
"""Programs that are not ours, whose calls need what no test has."""


def commands(page):
    """The commands of a page, each as its words without variables in front, and the files that the page writes."""
    text = page.read_text()
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            for command in line.split(" && "):
                words = shlex.split(command.removesuffix(" &"), comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words.pop(0)
                if words:
                    yield (
                        [words[0].removeprefix(".venv/bin/"), *words[1:]],
                        set(re.findall(r"^# (\S+)$", text, re.MULTILINE)),
                    )


def check_snakemake(words, files):
    given = get_argument_parser().parse_args(words)
    assert set(given.targets or []) <= RULES
    if given.workflow_profile:
        assert (REPOSITORY / "workflow" / "profiles" / given.workflow_profile / "config.yaml").exists()
    if given.snakefile:
        assert (REPOSITORY / str(given.snakefile).removeprefix("PATH/")).exists()
    for name in map(str, given.configfile or []):
        assert name in {*files, *OWN_STUDIES} or (REPOSITORY / name).exists(), name


def check_pip(words):
    for word in words:
        if found := re.fullmatch(r"\.\[([\w,]+)\]", word):
            assert set(found[1].split(",")) <= EXTRAS.keys()


def check_python(words, files):
    if words[0] == "-m":
        assert find_spec(words[1]) or (REPOSITORY / words[1].replace(".", "/")).with_suffix(".py").exists()
    else:
        assert words[0] in files or (REPOSITORY / words[0]).exists(), words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_of_a_page_can_be_given(page, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY)
    # The executor of a cluster is known only where its plugin is installed, and its name stands in a profile.
    for (program, *words), files in commands(page):
        match program:
            case "snakemake":
                check_snakemake(words, files)
            case "approxgrad":
                parser().parse_args(words)
            case "make":
                assert re.search(rf"^{words[0]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
            case "pip":
                check_pip(words)
            case "python" | "python3":
                check_python(words, files)
            case _:
                assert program in SYSTEM, program

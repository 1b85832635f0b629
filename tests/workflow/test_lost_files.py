"""A file that is gone is made again, although all that follows from it is there."""

import re

import pytest

from killing import Injection, digests, run_and_kill

pytestmark = pytest.mark.workflow

TARGETS = ("all", "data", "models", "attributions", "metrics", "comparison_figures", "figures", "pages")
# Drawing from attributions that were made elsewhere asks for nothing before them.
FROM_ATTRIBUTIONS = ("metrics", "comparison_figures")
BEFORE_ATTRIBUTIONS = tuple(f"results/{name}/" for name in ("models", "learning_curves", "test_metrics", "gradients"))
KINDS = (
    *("data/digits/train.parquet", "data/digits/test.parquet", "data/synthetic_linear/validation.parquet"),
    *(f"results/{name}" for name in ("models", "learning_curves", "test_metrics", "gradients", "attributions")),
    *(f"results/{name}" for name in ("metrics", "completeness", "summary", "figures", "report")),
)
"""A file or folder of each kind."""


def listed(job, word):
    """Return the files that a dry run prints after a word in the description of a job."""
    line = re.search(rf"^    {word}: (.*)$", job, re.MULTILINE)
    return set(line[1].split(", ")) if line else set()


def made_for(files, needs):
    """Return the files that are made before some files or with them."""
    made = set()
    while files := {file for file in files if file in needs and file not in made}:
        made |= files
        files = set().union(*(needs[file] for file in files))
    return made


def test_every_target_names_all_that_is_made_for_it(tiny):
    text = tiny.plan(*TARGETS, "--forceall").text
    jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", text, re.MULTILINE)
    needs = {file: listed(job, "input") | listed(job, "output") for _, job in jobs for file in listed(job, "output")}
    assert set(needs) == {*map(str, digests(tiny.directory)), "results/report/run.html"}
    named = {name: listed(job, "input") for name, job in jobs if name in TARGETS}
    assert set(named) == set(TARGETS)
    for name, files in named.items():
        unnamed = made_for(files, needs) - files
        if name in FROM_ATTRIBUTIONS:
            unnamed = {file for file in unnamed if not file.startswith(("data/", *BEFORE_ATTRIBUTIONS))}
        assert not unnamed, name


def test_a_file_that_a_killed_job_was_to_make_again_is_not_lost(tiny_copy, tmp_path):
    before = digests(tiny_copy.directory)
    injection = Injection("evaluate_completeness", "running", "all")
    assert run_and_kill(tiny_copy, injection, "--forcerun", "evaluate_completeness", pause=tmp_path).hit
    assert before.items() > digests(tiny_copy.directory).items()
    outcome = tiny_copy.run()
    assert outcome.code == 0, outcome.text
    assert digests(tiny_copy.directory) == before


@pytest.mark.soak
def test_files_of_every_kind_come_back_as_they_were(tiny_copy):
    before = digests(tiny_copy.directory)
    for name in KINDS:
        path = tiny_copy.directory / name
        (path if path.is_file() else next(file for file in sorted(path.rglob("*")) if file.is_file())).unlink()
    assert len(digests(tiny_copy.directory)) == len(before) - len(KINDS)
    outcome = tiny_copy.run()
    assert outcome.code == 0, outcome.text
    assert digests(tiny_copy.directory) == before
    assert not tiny_copy.run().jobs

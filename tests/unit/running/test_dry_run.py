"""A dry run says why jobs would run, in few lines."""

import inspect
import io
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake import api, dag, jobs, workflow  # noqa: F401 - the first one resolves the circle of the others

from approxgrad.running.dry_run import MOST_NAMED, REASONS, REPEATED, WORDS, reasons_text, tell_dry_runs


class Snakemake:
    """What is used of Snakemake's workflow; `jobs` are rule, wildcards and reason, `dry` whether it is a dry run."""

    def __init__(self, jobs, verbose=False):
        self.jobs, self.stream = jobs, io.StringIO()
        logger = logging.Logger("snakemake")
        logger.addHandler(logging.StreamHandler(self.stream))
        self.logger_manager = SimpleNamespace(logger=logger)
        self.output_settings = SimpleNamespace(verbose=verbose)

    def execute(self, executor_plugin):
        self._log("Job stats: 7", event="run_info")
        for rule, wildcards, reason in self.jobs:
            output = [] if rule == "all" else ["a.parquet"]
            told = {"rule_name": rule, "wildcards": wildcards, "reason": reason, "output": output}
            self._log(f"rule {rule}: a paragraph of paths", event="job_info", **told)
        self._log("Job stats: 7", event="run_info")
        for module, function in REPEATED:
            self._log("Reasons: see above", module=module, funcName=function)
        self._log("This was a dry-run")
        return True

    def _log(self, text, **extra):
        message = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, text, None, None)
        message.__dict__.update(extra)
        self.logger_manager.logger.handle(message)

    def run(self, dry=True):
        tell_dry_runs(self)
        assert self.execute(executor_plugin=SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=dry)))
        return self.stream.getvalue()


def job(rule, reason, **wildcards):
    return rule, wildcards, reason


def test_a_new_study_is_told_in_a_line():
    reason = "Missing output files: a.parquet; Input files updated by another job: b.parquet"
    jobs = [job("attribute", reason, dataset="digits", gradient=f"h{number}") for number in range(60)]
    text = Snakemake([*jobs, job("all", "Input files updated by another job: a.parquet")]).run()
    assert text.splitlines() == [
        "Job stats: 7",
        "Why:",
        "  results are not there yet: all 60 jobs",
        "All jobs with their files: add --verbose. What the study costs: the target plan.",
        "",
        "This was a dry-run",
    ]


def test_jobs_are_told_by_reason_and_few_by_name():
    follows = "Input files updated by another job: a.parquet"
    names = {"dataset": "digits", "model": "cnn"}
    jobs = [
        job("train_model", "Params have changed since last execution: before: <a>; now: <b>", **names),
        *(job("attribute", follows, **names, gradient=f"h{number}") for number in range(MOST_NAMED + 1)),
        job("summarise", f"{follows}; Code has changed since last execution"),
        job("evaluate", "An unheard-of reason: x", **names),
        job("all", follows),
    ]
    assert Snakemake(jobs).run().splitlines()[1:-3] == [
        "Why:",
        "  settings, code or libraries have changed: 1 job",
        "    train_model (digits/cnn)",
        f"  inputs are made anew: {MOST_NAMED + 1} jobs",
        f"    attribute ({MOST_NAMED + 1})",
        "  code has changed: 1 job",
        "    summarise",
        "  An unheard-of reason: 1 job",
        "    evaluate (digits/cnn)",
    ]


@pytest.mark.parametrize("options", [{"verbose": True}, {"dry": False}])
def test_verbose_ones_and_real_runs_are_left_alone(options):
    snakemake = Snakemake([job("attribute", "Forced execution")], verbose=options.get("verbose", False))
    text = snakemake.run(dry=options.get("dry", True))
    assert "paragraph of paths" in text
    assert text.count("Job stats") == 2
    assert "Why:" not in text


def test_snakemake_gives_these_reasons_at_these_places():
    source = inspect.getsource(jobs.Reason.__str__)
    assert all(cause in source for cause in WORDS)
    assert [REASONS[1], REPEATED[1][1]] == [
        own.__name__ for own in (dag.DAG.print_reasons, workflow.Workflow.log_provenance_info)
    ]
    # Not by their names: Snakemake runs rules in the second one, which takes its name away.
    modules = [Path(str(own.__file__)).stem for own in (dag, workflow)]
    assert modules == [REASONS[0], REPEATED[1][0]]


def test_long_lists_are_wrapped():
    rules = {f"rule_{number:03}": ["a"] * 5 for number in range(50)}
    assert max(map(len, reasons_text({"forced": rules, "other": {"x": [""]}}).splitlines())) <= 100

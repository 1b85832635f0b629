"""What a person reads of a dry run: why jobs would run, in place of a paragraph of paths for each of them."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from approxgrad.running.terminal import terminals

WIDTH = 100
MOST_NAMED = 3
"""Jobs of a rule that are named; of more, their number is enough."""

MISSING, FOLLOWING = "results are not there yet", "inputs are made anew"
WORDS = {
    "Missing output files": MISSING,
    "Incomplete output files": "a run has left results unfinished",
    "Updated input files": "inputs are newer than results",
    "Input files updated by another job": FOLLOWING,
    "Set of input files has changed since last execution": "other files are inputs now",
    "Code has changed since last execution": "code has changed",
    "Params have changed since last execution": "settings, code or libraries have changed",
    "Forced execution": "forced on the command line",
}
"""Snakemake's reasons, without the paths that follow them."""

REASONS = ("dag", "print_reasons")
REPEATED = (REASONS, ("workflow", "log_provenance_info"))
"""Modules and functions of Snakemake that repeat reasons, or refer to the paragraphs."""


def tell_dry_runs(workflow: Any) -> None:
    """Make the terminal brief for each dry run of Snakemake's `workflow`, unless it is to be verbose."""
    workflow.execute = partial(_execute, workflow, workflow.execute)


def _execute(workflow: Any, execute: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    plugin = options.get("executor_plugin")
    if plugin is not None and plugin.common_settings.dryrun_exec and not workflow.output_settings.verbose:
        for handler in terminals(workflow.logger_manager.logger):
            handler.addFilter(DryRun(handler))
    return execute(*arguments, **options)


class DryRun(logging.Filter):
    """Collect the jobs that Snakemake lists to a terminal, and tell their reasons when all are known."""

    def __init__(self, terminal: logging.StreamHandler[Any]) -> None:
        super().__init__()
        self._terminal = terminal
        self._jobs: dict[str, dict[str, list[str]]] = {}  # names of jobs by reason and rule

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown."""
        event, place = getattr(record, "event", None), (record.module, record.funcName)
        if event == LogEvent.JOB_INFO:
            self._note(record)
            return False
        if place == REASONS:
            self._terminal.stream.write(reasons_text(self._jobs) + "\n")
        # The number of jobs of each rule is written before and after them.
        return place not in REPEATED and not (event == LogEvent.RUN_INFO and self._jobs)

    def _note(self, record: logging.LogRecord) -> None:
        told: Any = record.__dict__
        if not told["output"]:
            return  # A target, which only asks for files.
        causes = [cause.partition(": ")[0] for cause in str(told["reason"]).split("; ")]
        # Values of parameters have semicolons of their own.
        reasons = [WORDS[cause] for cause in causes if cause in WORDS] or causes[:1]
        # A missing file needs no other reason, and a file with a reason of its own need not be said to follow.
        own = [reason for reason in reasons if reason != FOLLOWING]
        reason = MISSING if MISSING in own else ", ".join(own or reasons)
        names = self._jobs.setdefault(reason, {}).setdefault(str(told["rule_name"]), [])
        names.append("/".join(map(str, (told.get("wildcards") or {}).values())))


def reasons_text(jobs: dict[str, dict[str, list[str]]]) -> str:
    """Return why jobs would run; `jobs` are their names by reason and rule. One reason for all needs no names."""
    lines = []
    for reason, rules in jobs.items():
        count = sum(map(len, rules.values()))
        lines.append(f"  {reason}: {'all ' if len(jobs) == 1 < count else ''}{count:,} job{'' if count == 1 else 's'}")
        if len(jobs) > 1 or count <= MOST_NAMED:
            told = ", ".join(_rule(rule, names) for rule, names in sorted(rules.items()))
            lines += textwrap.wrap(told, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    hint = "All jobs with their files: add --verbose. What the study costs: the target plan."
    return "\n".join([*(["Why:"] if lines else []), *lines, hint, ""])


def _rule(rule: str, names: list[str]) -> str:
    known = sorted(filter(None, names))
    if len(names) > MOST_NAMED:
        return f"{rule} ({len(names):,})"
    return f"{rule} ({' '.join(known)})" if known else rule

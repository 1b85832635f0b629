"""What a person reads while a study runs: the key numbers of a job, and at the end what the run has written."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from approxgrad.messages import one_line
from approxgrad.running.endings import ending, has_failed, is_ending
from approxgrad.running.job import EXPLAINED

RESULT_FOLDERS = ("data", "results")

REPEATED_EVENTS = ("job_info", "job_started", "job_finished")
"""Snakemake's own messages about single jobs."""

REPEATED_ENDINGS = ("Shutting down, this might take some time.", "WorkflowError: At least one job did not complete")
"""Beginnings of what Snakemake says after the last job, besides that one has failed and where the log is."""

MISSING = re.compile(r"^MissingOutputException in rule .*?^Job (\d+) +completed successfully", re.MULTILINE | re.DOTALL)
"""What Snakemake says of a job that has ended as if all were well."""


def attribution_summary(samples: int, metadata: Mapping[str, Any], seconds: float) -> str:
    """Return the key numbers of an attribution: samples, model evaluations and their rate, and steps that were lost."""
    count = metadata["model_evaluations"]
    unit = "forward and backward passes" if metadata["step"] is None else "evaluations"
    rate = [f"{count / seconds:,.0f}/s"] if seconds else []
    return ", ".join([f"{samples:,} samples", f"{count:,} {unit}", *rate, *_lost_steps(metadata)])


def gathering_summary(shards: int, metadata: Mapping[str, Any]) -> str:
    """Return the key numbers of an attribution that was put together from shards."""
    return ", ".join([f"{shards} shards", f"{metadata['model_evaluations']:,} evaluations", *_lost_steps(metadata)])


def _lost_steps(metadata: Mapping[str, Any]) -> list[str]:
    """Say how many derivatives are no number to rely on because x + h is x there; nothing if there are none."""
    lost = metadata["lost_steps"]
    return [f"{lost:,} derivatives lost to rounding"] if lost else []


def training_summary(curves: Any, remark: str = "", test_loss: float = 0.0) -> str:
    """Return the key numbers of a training: its epochs, and accuracy or R2 on the validation rows in the best one.

    Parameters
    ----------
    curves : DataFrame
        As :class:`approxgrad.models.training.TrainingResult` holds them.
    remark : str
        Why training stopped early, if it had to.
    test_loss : float
        Is mentioned if it is not finite.
    """
    best = curves[curves["best"] & (curves["split"] == "validation")]
    measures = dict(zip(best["metric"], best["value"], strict=True))
    epochs = curves["epoch"].max()
    parts = [f"{epochs} epoch{'s' if epochs > 1 else ''}"]
    parts += [f"stopped because {remark}, the best epoch is kept"] if remark else []
    parts.append(f"validation {measures_summary(measures)}")
    if not math.isfinite(test_loss):
        parts.append(f"the test loss is {test_loss} because outputs for some test rows are not finite")
    return ", ".join(parts)


def measures_summary(measures: Mapping[str, float]) -> str:
    """Return the measure of a model that a person asks for first: accuracy or R2."""
    return next(
        f"{label} {measures[name]:.3f}" for name, label in (("accuracy", "accuracy"), ("r2", "R2")) if name in measures
    )


def evaluation_summary(table: Any) -> str:
    """Return the smallest median relative error of the approximated attributions, and whose it is.

    Parameters
    ----------
    table : Table
        As :func:`approxgrad.evaluation.metric_tables.evaluate_method` returns it.
    """
    errors: dict[str, list[float]] = {}
    columns = (table[name].to_pylist() for name in ("gradient", "reference", "relative_error"))
    for gradient, reference, error in zip(*columns, strict=True):
        if reference == "exact" and error is not None:
            errors.setdefault(gradient, []).append(error)
    if not errors:
        return "no relative error is defined"
    smallest, gradient = min((median(values), name) for name, values in errors.items())
    return f"median relative error {smallest:.2g} ({gradient}" + (", the smallest)" if len(errors) > 1 else ")")


class QuietJobs(logging.Filter):
    """Leave out what Snakemake says about every single job, whose one line says more.

    Errors pass, except those of a job that has explained its own (:data:`approxgrad.running.job.EXPLAINED`). One that
    could not, because it was killed, is explained here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._percent = 0
        self._explained: set[int | None] = set()
        self._any_explained = False
        self._ended: dict[int | None, tuple[str, str | None]] = {}
        self._jobs: dict[object, tuple[str, str]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown; of the progress every fifth percent."""
        event = getattr(record, "event", None)
        if event == "job_info":
            self._note(record)
        if record.levelno >= logging.ERROR and (self._is_explained(record, event) or self._explain(record, event)):
            return False
        if self._any_explained and one_line(record.getMessage()).startswith(REPEATED_ENDINGS):
            return False
        if record.levelno >= logging.WARNING:
            return True
        if event == "progress":
            percent = 100 * getattr(record, "done", 0) // max(1, getattr(record, "total", 1))
            if percent // 5 == self._percent // 5:
                return False
            self._percent = percent
            return True
        return event not in REPEATED_EVENTS and record.getMessage() != "Select jobs to execute..."

    def _is_explained(self, record: logging.LogRecord, event: object) -> bool:
        """Whether an error repeats what a job has said: its exit status, and the block that follows in the thread."""
        if event == "job_error" and record.thread in self._explained:
            self._explained.remove(record.thread)
            return True
        if f"returned non-zero exit status {EXPLAINED}." in record.getMessage():
            self._explained.add(record.thread)
            self._any_explained = True
            return True
        return False

    def _note(self, record: logging.LogRecord) -> None:
        """Keep what a job is and where its log lies."""
        named = getattr(record, "wildcards", None) or {}
        said = " ".join([getattr(record, "rule_name", ""), ", ".join(f"{key}={named[key]}" for key in named)]).strip()
        self._jobs[getattr(record, "jobid", None)] = said, next(iter(getattr(record, "log", None) or []), "")

    def _explain(self, record: logging.LogRecord, event: object) -> bool:
        """Say in one line how a job has ended that could not, and return whether this has been or will be done."""
        message = record.getMessage()
        if event == "job_error" and record.thread in self._ended:
            said, how = self._ended.pop(record.thread)
            job = getattr(record, "jobid", None)
            if how is None and has_failed(Path(self._jobs.get(job, ("", ""))[1])):
                # The job has shown its traceback, and this is the rest of what Snakemake has to say.
                sys.stderr.write(f"{said}\n")
                return False
            self._say(job, how or "ended with status 1 and without a message, as after os._exit")
            return True
        missing = MISSING.search(message)
        if missing:
            self._say(int(missing[1]), "ended without its results and without a message, as after os._exit")
            return True
        if not is_ending(message):
            return False
        self._ended[record.thread] = message, ending(message)
        return True

    def _say(self, job: object, how: str) -> None:
        self._any_explained = True
        said, log = self._jobs.get(job, (f"job {job}", ""))
        sys.stderr.write(f"approxgrad: {said}: {how}{f' (details: {log})' if log else ''}\n")
        sys.stderr.flush()


class Run:
    """One run of the workflow: what it says on the terminal, and which files it writes."""

    def __init__(self) -> None:
        self._before: dict[Path, int] = {}
        self._start = 0.0

    def begin(self, messages: logging.Logger, *, verbose: bool) -> None:
        """Note what is there, and make the terminal (not the log file) quieter unless it is to be verbose."""
        self._before, self._start = _files(), time.perf_counter()
        for handler in messages.handlers:
            to_terminal = isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
            if to_terminal and not verbose:
                handler.addFilter(QuietJobs())

    def written(self) -> Counter[str]:
        """Return for each folder of ``data`` and ``results`` the number of files that are new or were replaced."""
        new = [path for path, changed in _files().items() if self._before.get(path) != changed]
        return Counter("data" if path.parts[0] == "data" else "/".join(path.parts[:2]) for path in new)

    def end(self) -> None:
        """Say on the terminal what the run has done, if it has written anything."""
        text = self.summary()
        if text:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def summary(self) -> str:
        """Return what was written, how long it took and where to look; empty if nothing was written."""
        written = self.written()
        if not written:
            return ""
        width = max(map(len, written)) + 1
        minutes, seconds = divmod(round(time.perf_counter() - self._start), 60)
        lines = [f"Finished in {minutes} min {seconds} s. Files written:"]
        lines += [f"  {folder + '/':<{width}}  {count:>6,}" for folder, count in sorted(written.items())]
        lines += [
            "Look at results/figures/ and, for tables, results/summary/. All of them on one page with captions:",
            "the same command with --report report.html (or, for the default study, make report).",
        ]
        return "\n".join(lines)


def _files() -> dict[Path, int]:
    """Return all files of data sets and results with the times of their last change."""
    return {
        path: path.stat().st_mtime_ns
        for folder in RESULT_FOLDERS
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }

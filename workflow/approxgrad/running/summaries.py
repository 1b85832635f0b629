"""What a person reads while a study runs: the key numbers of a job, and at the end what the run has written."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from approxgrad.messages import one_line
from approxgrad.running.job import EXPLAINED

RESULT_FOLDERS = ("data", "results")

REPEATED_EVENTS = ("job_info", "job_started", "job_finished")
"""Snakemake's own messages about single jobs."""

REPEATED_ENDINGS = ("Shutting down, this might take some time.", "WorkflowError: At least one job did not complete")
"""Beginnings of what Snakemake says after the last job, besides that one has failed and where the log is."""


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


def training_summary(curves: Any) -> str:
    """Return the key numbers of a training: its epochs, and accuracy or R2 on the validation rows in the best one.

    Parameters
    ----------
    curves : DataFrame
        As :class:`approxgrad.models.training.TrainingResult` holds them.
    """
    best = curves[curves["best"] & (curves["split"] == "validation")]
    measures = dict(zip(best["metric"], best["value"], strict=True))
    epochs = curves["epoch"].max()
    return f"{epochs} epoch{'s' if epochs > 1 else ''}, validation {measures_summary(measures)}"


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

    Errors pass, except those of a job that has explained its own (:data:`approxgrad.running.job.EXPLAINED`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._percent = 0
        self._explained: set[int | None] = set()
        self._any_explained = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown; of the progress every fifth percent."""
        event = getattr(record, "event", None)
        if record.levelno >= logging.ERROR and self._is_explained(record, event):
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

"""What a person reads while a study runs: fewer messages of Snakemake's, one line for a failure, and what was written.

Snakemake's messages are told apart by the event and the exception that they carry, not by their text.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from snakemake.exceptions import MissingOutputException
from snakemake_interface_logger_plugins.common import LogEvent

from approxgrad.running.endings import SILENT, ending, say
from approxgrad.running.job import EXPLAINED

RESULT_FOLDERS = ("data", "results")

REPEATED = (LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED)
"""Events of single jobs, whose own line says more."""

SCHEDULING = ("job_scheduler", "schedule")
"""Module and function of Snakemake that says that it selects jobs or shuts down, again and again."""


class QuietJobs(logging.Filter):
    """Leave out what Snakemake says about every single job.

    Errors pass, except of jobs that have explained theirs in one line (:data:`approxgrad.running.job.EXPLAINED`). For a
    job that could not, because it was killed, this class writes the line. When all jobs are `over`, Snakemake only
    repeats that one has failed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self._percent = 0
        self._any_explained = False
        self._statuses: dict[int | None, tuple[int, str]] = {}
        self._jobs: dict[object, logging.LogRecord] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is shown; of the progress every fifth percent."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self._jobs[getattr(record, "jobid", None)] = record
        if event == LogEvent.ERROR and self._is_failure(record):
            return False
        if event == LogEvent.JOB_ERROR and record.thread in self._statuses:
            return self._shows_block(record, *self._statuses.pop(record.thread))
        if record.levelno >= logging.WARNING:
            return True
        if event == LogEvent.PROGRESS:
            before, self._percent = self._percent, 100 * record.done // max(1, record.total)  # type: ignore[attr-defined]
            return self._percent // 5 > before // 5
        return event not in REPEATED and (event is not None or (record.module, record.funcName) != SCHEDULING)

    def _is_failure(self, record: logging.LogRecord) -> bool:
        """Whether an error, which is being handled in this thread, is the end of a job or of the run."""
        error = sys.exc_info()[1]
        if isinstance(error, MissingOutputException):
            number = re.search(r"Job (\d+) ", str(error))
            self._say(int(number[1]) if number else None, f"ended without its results and {SILENT}")
            return True
        status = _exit_status(error)
        if status is None:
            return self.over and self._any_explained
        # The event of the job follows in the same thread.
        self._statuses[record.thread] = status, record.getMessage()
        return True

    def _shows_block(self, record: logging.LogRecord, status: int, message: str) -> bool:
        """Explain the end of a job if it could not, and return whether Snakemake's block about it is shown."""
        if status == EXPLAINED:
            self._any_explained = True
            return False
        job = getattr(record, "jobid", None)
        how = ending(status, Path(self._log(job)))
        if how is None:
            # The job has shown its traceback, and this is the rest of what Snakemake says.
            say(message)
            return True
        self._say(job, how)
        return False

    def _say(self, job: object, how: str) -> None:
        self._any_explained = True
        info, log = self._jobs.get(job), self._log(job)
        named = getattr(info, "wildcards", None) or {}
        words = [getattr(info, "rule_name", f"job {job}"), ", ".join(f"{key}={named[key]}" for key in named)]
        say(f"approxgrad: {' '.join(filter(None, words))}: {how}{f' (details: {log})' if log else ''}")

    def _log(self, job: object) -> str:
        return next(iter(getattr(self._jobs.get(job), "log", None) or []), "")


class Run:
    """One run of the workflow: what it says on the terminal, and which files it writes."""

    def __init__(self) -> None:
        self._before: dict[Path, int] = {}
        self._start = 0.0
        self._quiet = QuietJobs()

    def begin(self, messages: logging.Logger, *, verbose: bool) -> None:
        """Note which files exist, and make the terminal (not the log file) quieter unless it is to be verbose."""
        self._before, self._start = _files(), time.perf_counter()
        for handler in () if verbose else terminals(messages):
            handler.addFilter(self._quiet)

    def fail(self) -> None:
        """Note that no job runs any more and that some have failed."""
        self._quiet.over = True

    def end(self, leftovers: Sequence[Path] = ()) -> None:
        """Say on the terminal what the run has written, and that there are files of other configurations."""
        for text in filter(None, [self.summary(), leftovers_line(len(leftovers))]):
            say(text)

    def written(self) -> Counter[str]:
        """Return the number of new or replaced files for each folder of ``data`` and ``results``."""
        new = [path for path, changed in _files().items() if self._before.get(path) != changed]
        return Counter("data" if path.parts[0] == "data" else "/".join(path.parts[:2]) for path in new)

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


def terminals(messages: logging.Logger) -> list[logging.StreamHandler[Any]]:
    """Return the handlers of a logger that write to a terminal."""
    streams = [handler for handler in messages.handlers if isinstance(handler, logging.StreamHandler)]
    return [handler for handler in streams if not isinstance(handler, logging.FileHandler)]


def leftovers_line(count: int) -> str:
    """Return one line about files of other configurations and how to remove them; empty if there are none."""
    if not count:
        return ""
    files = "1 file here belongs" if count == 1 else f"{count:,} files here belong"
    return (
        f"{files} to other configurations. Programs that read whole folders of results/ mix them in. To remove them, "
        "give the same command with the target tidy (for the default study: snakemake --cores 1 tidy)."
    )


def _exit_status(error: BaseException | None) -> int | None:
    """Return the exit status of the process whose failure led to an error, or None."""
    while error is not None and not isinstance(error, CalledProcessError):
        error = error.__cause__ or error.__context__
    return None if error is None else error.returncode


def _files() -> dict[Path, int]:
    """Return all files of data sets and results with the times of their last change."""
    return {
        path: path.stat().st_mtime_ns
        for folder in RESULT_FOLDERS
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }

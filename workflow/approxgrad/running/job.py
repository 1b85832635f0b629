"""What every job does around its work: log to file and terminal, and turn a user's mistake into one line."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from approxgrad.extensions import load
from approxgrad.messages import one_line
from approxgrad.running.endings import FAILED, end_in_time, interrupted, note_interrupts, say
from approxgrad.running.lock import end_with_run

logger = logging.getLogger("approxgrad")

EXPECTED_ERRORS = (ValueError, TypeError, OSError, MemoryError)
"""What the package raises for a user's mistake or the machine's limits; anything else is a fault of the package."""

EXPLAINED = os.EX_DATAERR  # exit status of a job that has said in one line why it failed, so that Snakemake need not

OUT_OF_MEMORY = re.compile("out of memory|not enough memory|can't allocate memory", re.IGNORECASE)
"""What torch says, in a RuntimeError, when the machine is too small."""

UNORDERED = re.compile("does not have a deterministic implementation")
"""What torch says, in a RuntimeError, of operations that it refuses unless one thread of a CPU computes them."""

LONGEST = 2000  # characters of the line for an error


def is_expected(error: BaseException) -> bool:
    """Whether an error is a user's mistake or a limit of the machine, so that its message is all a person needs."""
    return isinstance(error, EXPECTED_ERRORS) or (
        isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None
    )


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """The log of a job, and its key numbers as `summary`, for its line on the terminal."""

    summary = ""


@contextmanager
def job(snakemake: Any) -> Iterator[JobLog]:
    """Run the body of a rule's script.

    The log file gets the parameters, every message and, if the job fails, the traceback. The terminal gets one line: a
    summary of the finished job, or an error of an expected kind, after which the process ends with the status
    :data:`EXPLAINED`. Called code can neither end the job silently with ``sys.exit`` nor keep it alive with a thread.
    """
    end_with_run()
    # What the imports left behind lives as long as the job: not searching it again also shortens the exit.
    gc.freeze()
    gc.enable()
    path = Path(str(snakemake.log[0]))
    _start_log(path)
    logger.info("rule %s, wildcards %s", snakemake.rule, dict(snakemake.wildcards.items()))
    logger.info("parameters %s", dict(snakemake.params.items()))
    note_interrupts()
    start = time.perf_counter()
    log = JobLog(logger)
    where = ", ".join(f"{key}={value}" for key, value in snakemake.wildcards.items())
    said = " ".join(filter(None, [snakemake.rule, where]))
    try:
        load(snakemake.input.get("extensions") or [])
        yield log
    except BaseException as error:
        logger.exception(FAILED)
        if isinstance(error, (SystemExit, KeyboardInterrupt)) and not interrupted():
            line = f"{_described(error)} ended it, which the code of a network or of a library must have raised"
        elif is_expected(error):
            line = one_line(error, LONGEST)
            if UNORDERED.search(line):
                line += "; with device: cpu and threads: 1 in the configuration every operation is deterministic"
        elif isinstance(error, Exception):
            traceback.print_exc()
            end_in_time(1, said)
            sys.exit(1)
        else:
            raise
        say(f"approxgrad: {said}: {line} (details: {path})")
        end_in_time(EXPLAINED, said)
        sys.exit(EXPLAINED)
    seconds = time.perf_counter() - start
    logger.info("finished in %.1f s", seconds)
    names = "/".join(str(value) for _, value in snakemake.wildcards.items())
    numbers = ", ".join(filter(None, [log.summary, f"{seconds:.1f} s"]))
    say(f"{' '.join(filter(None, [snakemake.rule, names]))}: {numbers}")
    end_in_time(0, said)


def _start_log(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    if not faulthandler.is_enabled():
        faulthandler.enable(path.open("a"))


def _described(error: BaseException) -> str:
    text = one_line(error, 100) if error.args and error.args != (None,) else ""
    return f"{type(error).__name__}({text})"

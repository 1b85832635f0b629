"""How the process of a job ends, whatever code it calls: what to say about it, and when to wait no longer."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

GRACE_SECONDS = 10
"""Threads of a job that is done are waited for so long."""

DIED = re.compile(r"died with <Signals\.(SIG\w+): \d+>")
STATUS = re.compile(r"returned non-zero exit status (\d+)\.")

SHELL_BASE = 128
"""A shell adds it to the number of the signal that has ended a command."""

MEANINGS = {
    "SIGKILL": (
        "most often because memory ran out: run fewer jobs at once (--cores), lower memory_mib or a batch size, "
        "or let the job have more memory"
    ),
    "SIGXCPU": "because it had used up its time",
    "SIGSEGV": "a crash in compiled code, of the network's or of a library",
    "SIGBUS": "a crash in compiled code, or a disk or shared memory that is full",
    "SIGILL": "a crash in compiled code, which this processor does not understand",
    "SIGFPE": "a crash in compiled code",
    "SIGABRT": "a crash in compiled code, of the network's or of a library",
    "SIGTERM": "by somebody or by the system",
}

_interrupts: list[int] = []


def note_interrupts() -> None:
    """Note from now on that somebody interrupts the process, and not just code that raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:

        def interrupt(number: int, _frame: object) -> None:
            _interrupts.append(number)
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupt)


def interrupted() -> bool:
    """Whether somebody has interrupted the process."""
    return bool(_interrupts)


def end_in_time(status: int, job: str, say: Callable[[str], None]) -> None:
    """Let a job that is done end with a status even if a thread or process that its code began never ends.

    Parameters
    ----------
    status : int
        Of the process.
    job : str
        Rule and wildcards.
    say : callable
        Writes a line to the terminal.
    """
    held = [thread.name for thread in threading.enumerate() if not thread.daemon]
    held.remove(threading.main_thread().name)
    if "multiprocessing" in sys.modules:
        held += [process.name for process in sys.modules["multiprocessing"].active_children() if not process.daemon]
    if not held:
        return

    def end() -> None:
        # Python has done its part when the main thread has ended, and then waits for all others.
        threading.main_thread().join()
        time.sleep(GRACE_SECONDS)
        say(f"approxgrad: {job}: is done, but {', '.join(held)} of the code that it called did not end and was stopped")
        sys.stdout.flush()
        os._exit(status)

    threading.Thread(target=end, daemon=True).start()


def is_ending(message: str) -> bool:
    """Whether a message of Snakemake's says that a job has failed, and how its process ended."""
    return DIED.search(message) is not None or STATUS.search(message) is not None


def ending(message: str) -> str | None:
    """Return in words how a job has ended that could not say so itself.

    Parameters
    ----------
    message : str
        What Snakemake says about it.

    Returns
    -------
    str or None
        None for the status with which Python ends after an error that it has shown.
    """
    died, returned = DIED.search(message), STATUS.search(message)
    status = int(returned[1]) if returned else 0
    name = died[1] if died else _signal(status - SHELL_BASE)
    if name:
        return ", ".join(filter(None, [f"was ended by {name}", MEANINGS.get(name, "")]))
    return None if status == 1 else f"ended with status {status} and without a message, as after os._exit"


def has_failed(log: Path) -> bool:
    """Whether the log of a job tells of an error, so that the job has shown it."""
    try:
        return " ERROR failed\n" in log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""

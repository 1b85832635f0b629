"""How the process of a job ends, whatever code it calls."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

GRACE_SECONDS = 10  # how long to wait for the threads of a finished job
SHELL_BASE = 128  # a shell adds this to the number of the signal that ended a command
FAILED = "failed"  # message in the log of a job that has reported its own error

SILENT = "without a message, as after os._exit"

CRASH = "a crash in compiled code"
MEANINGS = {
    "SIGKILL": (
        "most often because memory ran out: run fewer jobs at once (--cores), lower memory_mib or a batch size, "
        "or let the job have more memory"
    ),
    "SIGXCPU": "because it had used up its time",
    "SIGSEGV": f"{CRASH}, of the network's or of a library",
    "SIGBUS": f"{CRASH}, or a disk or shared memory that is full",
    "SIGILL": f"{CRASH}, which this processor does not understand",
    "SIGFPE": CRASH,
    "SIGABRT": f"{CRASH}, of the network's or of a library",
    "SIGTERM": "by somebody or by the system",
}

CLEAR = "\r\x1b[K"  # goes to the start of a terminal's line and empties it

_interrupts: list[int] = []


def note_interrupts() -> None:
    """From now on, tell a signal that interrupts the process from code that raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:

        def interrupt(number: int, _frame: object) -> None:
            _interrupts.append(number)
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupt)


def interrupted() -> bool:
    """Whether a signal has interrupted the process."""
    return bool(_interrupts)


def say(line: str) -> None:
    """Write one line at once, so that the lines of parallel jobs do not mix; on a terminal, over the bar of another."""
    sys.stderr.write(f"{CLEAR if sys.stderr.isatty() else ''}{line}\n")
    sys.stderr.flush()


def end_in_time(status: int, job: str) -> None:
    """Let a finished job end with a status even if a thread or process that its code started never ends, and say so."""
    held = [thread.name for thread in threading.enumerate() if not thread.daemon]
    held.remove(threading.main_thread().name)
    if "multiprocessing" in sys.modules:
        held += [process.name for process in sys.modules["multiprocessing"].active_children() if not process.daemon]
    if not held:
        return

    def end() -> None:
        # Python has done its part when the main thread has ended; then it waits for all others.
        threading.main_thread().join()
        time.sleep(GRACE_SECONDS)
        say(f"approxgrad: {job}: is done, but {', '.join(held)} of the code that it called did not end and was stopped")
        sys.stdout.flush()
        os._exit(status)

    threading.Thread(target=end, daemon=True).start()


def ending(status: int, log: Path) -> str | None:
    """Return how a job ended with a status (negative for a signal), or None if its log says that it has failed."""
    signals = {own.value: own.name for own in signal.Signals}
    if name := signals.get(-status if status < 0 else status - SHELL_BASE):
        return ", ".join(filter(None, [f"was ended by {name}", MEANINGS.get(name)]))
    # Python ends with status 1 after an error that it has shown.
    return None if status == 1 and _has_failed(log) else f"ended with status {status} and {SILENT}"


def _has_failed(log: Path) -> bool:
    try:
        return f" ERROR {FAILED}\n" in log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True

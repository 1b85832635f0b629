"""One run at a time in a folder, and no trace of one that was killed.

A run holds an operating system's lock on a file, which ends with its process however that ends. Snakemake's own locks
are files: after a kill signal they would stay until somebody says ``--unlock``. Who holds the lock knows that they are
left over, and removes them.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from approxgrad.storage.files import remove_leftovers

OWNER = Path(".snakemake/approxgrad.run")
"""The locked file; it says whose run it is, and is empty if that ended by itself."""

SNAKEMAKE_LOCKS = Path(".snakemake/locks")

RUN_VARIABLE = "APPROXGRAD_RUN"
"""Environment variable with the number of the process that starts a job."""

WATCH_SECONDS = 0.5

PATIENCE_SECONDS = 5
"""How long to wait for a run that holds the lock without a record: it has just begun or is just ending."""

NOT_RUNNING = (
    *("dryrun", "nolock", "unlock", "summary", "detailed_summary", "report", "lint", "dag", "rulegraph", "filegraph"),
    *("d3dag", "list_rules", "list_target_rules", "list_conda_envs", "list_changes", "list_input_changes"),
    *("list_params_changes", "list_untracked", "print_compilation", "containerize", "generate_unit_tests"),
)
"""Options of Snakemake with which nothing is run."""

_held: list[IO[str]] = []


class RunLockError(RuntimeError):
    """Another run is alive in this folder, or may be; the message is one line."""


def runs(arguments: Sequence[str]) -> bool:
    """Return whether Snakemake runs jobs with these arguments."""
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(arguments))
    return not any(getattr(options, name, None) for name in NOT_RUNNING)


def hold() -> str:
    """Lock the working directory for as long as this process lives; return a line on a killed run, or nothing.

    Snakemake's locks and the half files of a run that was killed on this computer are removed.

    Raises
    ------
    RunLockError
        If another run is alive here, or was begun on another computer, has not ended and has left Snakemake's locks.
    """
    OWNER.parent.mkdir(exist_ok=True)
    file = OWNER.open("a+", encoding="utf-8")
    try:
        locked = _locked(file)
    except OSError:
        return ""  # A file system without locks: Snakemake's own remain, and are not touched.
    if not locked:
        raise RunLockError(f"{_described(_owner(file))} is at work in this folder; wait until it has ended")
    killed = _owner(file)
    if killed and killed.get("host") != socket.gethostname() and any(SNAKEMAKE_LOCKS.glob("*.lock")):
        raise RunLockError(
            f"{_described(killed)} has not ended as far as this computer knows; if it is dead, "
            "remove its lock with: snakemake --unlock"
        )
    _held.append(file)
    _write(file, {"host": socket.gethostname(), "process": os.getpid(), "user": _user(), "start": time.strftime("%c")})
    if not killed:
        return ""
    shutil.rmtree(SNAKEMAKE_LOCKS, ignore_errors=True)
    remove_leftovers(Path("data"), Path("results"))
    return f"{_described(killed)} was killed; going on where it stopped"


def _locked(file: IO[str]) -> bool:
    """Try to lock; a holder that has not said yet who it is, or is just ending, gets a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _owner(file) or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def let_go() -> None:
    """Note that the run has ended by itself; the lock ends with the process."""
    for file in _held:
        file.truncate(0)


def end_with_run() -> None:
    """End this process, which runs a job, if the process that started it is killed.

    Nothing else would end it, and the same job would be started once more beside it by the next run.
    """
    run = os.environ.get(RUN_VARIABLE)
    if run:
        threading.Thread(target=_watch, args=(int(run),), daemon=True).start()


def _watch(process: int) -> None:
    while _alive(process):
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _owner(file: IO[str]) -> dict[str, Any]:
    """Return what stands in the file; of a record that was not finished just that there is one."""
    file.seek(0)
    text = file.read()
    try:
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {"host": socket.gethostname()}


def _write(file: IO[str], owner: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps(owner))
    file.flush()


def _described(owner: dict[str, Any]) -> str:
    details = [f"{key} {owner[key]}" for key in ("process", "user", "host", "start") if key in owner]
    return f"another run ({', '.join(details)})" if details else "another run"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

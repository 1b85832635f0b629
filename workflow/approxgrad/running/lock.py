"""One run at a time in a folder, and no trace of one that was killed.

A run holds a lock of the operating system on a file, which ends with its process in any case. Snakemake's own locks are
files: after a kill signal they would stay until somebody says ``--unlock``. A run that gets the lock removes them.
"""

from __future__ import annotations

import atexit
import fcntl
import getpass
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from approxgrad.storage.files import remove_unfinished

OWNER = Path(".snakemake/approxgrad.run")
"""The locked file. It says whose run it is, and is empty if that run ended by itself."""

SNAKEMAKE_LOCKS = Path(".snakemake/locks")

RUN_VARIABLE = "APPROXGRAD_RUN"  # environment variable with the id of the process that starts a job

WATCH_SECONDS = 0.5

PATIENCE_SECONDS = 5
"""How long to wait for a run that holds the lock without a record, because it has just begun or is ending."""

CHANGING = ("execute", "delete_output", "cleanup_metadata", "archive")
"""Methods of Snakemake's workflow that change files in the folder or need them unchanged."""

_held: list[IO[str]] = []


class RunLockError(RuntimeError):
    """Another run is alive in this folder, or may be; the message is one line."""


def run_alone(workflow: Any, resume: Callable[[str], None]) -> None:
    """Make Snakemake hold the folder's lock before it runs jobs or deletes results, but not to plan, report or unlock.

    Snakemake looks for locks of its own before it calls ``onstart``, so its methods are extended instead. If another
    run is alive, the program ends with one line; if the last one was killed, `resume` is called with a line about it.
    """
    for name in CHANGING:
        setattr(workflow, name, partial(_alone, workflow, getattr(workflow, name), resume))


def _alone(
    workflow: Any, method: Callable[..., Any], resume: Callable[[str], None], *arguments: Any, **options: Any
) -> Any:
    plugin, settings = options.get("executor_plugin"), workflow.execution_settings
    dry = options.get("dryrun") or (plugin is not None and plugin.common_settings.dryrun_exec)
    if not dry and (settings is None or settings.lock):
        try:
            remark = hold()
        except RunLockError as error:
            sys.exit(f"approxgrad: {error}")
        atexit.register(let_go)
        if remark:
            resume(remark)
    return method(*arguments, **options)


def hold() -> str:
    """Lock the working directory for as long as this process lives; return a line about a killed run, or nothing.

    Snakemake's locks and the unfinished files of a run that was killed on this computer are removed. A RunLockError
    says that another run is alive here, or began on another computer, has not ended and has left Snakemake's locks.
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
    owner = {"host": socket.gethostname(), "process": os.getpid(), "user": _user(), "start": time.strftime("%c")}
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps(owner))
    file.flush()
    if not killed:
        return ""
    shutil.rmtree(SNAKEMAKE_LOCKS, ignore_errors=True)
    remove_unfinished(Path("data"), Path("results"))
    return f"{_described(killed)} was killed; going on where it stopped"


def _locked(file: IO[str]) -> bool:
    """Try to lock, and wait a moment for a holder without a record."""
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
    """Note that the run has ended by itself."""
    for file in _held:
        file.truncate(0)


def end_with_run() -> None:
    """End this job's process if the one that started it is killed; the next run would start the same job beside it."""
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
        pass
    return True


def _owner(file: IO[str]) -> dict[str, Any]:
    """Return the record in the file; of an incomplete one only the host."""
    file.seek(0)
    text = file.read()
    try:
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {"host": socket.gethostname()}


def _described(owner: dict[str, Any]) -> str:
    details = [f"{key} {owner[key]}" for key in ("process", "user", "host", "start") if key in owner]
    return f"another run ({', '.join(details)})" if details else "another run"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

"""Runs that are killed at chosen moments, and a watcher that no half file escapes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import threading
import time
import xml.etree.ElementTree as ET
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open

from running import SNAKEMAKE, Place

PAUSE = """
import os, sys, time
if any(".snakemake/scripts" in word for word in sys.orig_argv):
    fsync = os.fsync
    os.fsync = lambda file: (fsync(file), time.sleep(1.5))
"""
"""A `sitecustomize` that makes the moment between writing a file and renaming it long enough to be met."""


TIMES = Path("results/report/run.html")
"""The page that says how long the jobs of a run took."""


def check(path: Path) -> None:
    """Raise an error if a file is not whole."""
    match path.suffix:
        case ".parquet":
            pq.ParquetFile(path).read()
        case ".safetensors":
            with safe_open(path, "np") as weights:
                assert weights.keys()
        case ".svg":
            ET.parse(path)
        case ".png":
            with Image.open(path) as image:
                image.load()
        case ".pdf":
            assert path.read_bytes().endswith(b"%%EOF\n")
        case ".csv":
            assert path.read_bytes().endswith(b"\n")
            pd.read_csv(path)
        case ".html":
            # The start of the report is a part of a page.
            end = ("</p>", "</ul>") if path.name == "start.html" else "</html>"
            assert path.read_text().rstrip().endswith(end)


@dataclass
class Watcher:
    """Opens every file as soon as it is seen under its final name, and again when it has changed."""

    directory: Path
    faults: list[str] = field(default_factory=list)
    seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def __enter__(self):
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _watch(self):
        while not self._end.is_set():
            self.look()
            self._end.wait(0.02)

    def look(self):
        for path, state in files(self.directory).items():
            if self.seen.get(path) == state:
                continue
            self.seen[path] = state
            try:
                check(self.directory / path)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever a reader says of a half file
                self.faults.append(f"{path}: {error!r}")


def files(directory: Path) -> dict[Path, tuple[int, int, int]]:
    """Return inode, size and time of all files of data and results that a reader sees."""
    found = {}
    for folder in ("data", "results"):
        for root, _, names in os.walk(directory / folder):
            for name in names:
                path = Path(root, name)
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                if not name.startswith("."):
                    found[path.relative_to(directory)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def digests(directory: Path) -> dict[Path, str]:
    """Return what tells the content of all files of data and results, the times of the run left out."""
    found = {path: hashlib.sha256((directory / path).read_bytes()).hexdigest() for path in files(directory)}
    return {path: digest for path, digest in found.items() if path != TIMES}


def finished(directory: Path) -> dict[Path, tuple[int, int, int]]:
    """Return the files whose jobs Snakemake has recorded as finished."""
    marks = {path.name for path in (directory / ".snakemake/incomplete").rglob("*")}
    encoded = {path: urlsafe_b64encode(str(path).encode()).decode() for path in files(directory)}
    # A long name is cut into folders, of which the last has the rest.
    return {
        path: state
        for path, state in files(directory).items()
        if encoded[path][254 * (len(encoded[path]) // 254) :] not in marks
    }


@dataclass(frozen=True)
class Injection:
    """A kill signal: to whom, and when.

    Attributes
    ----------
    rule : str
        Rule of the job during which the signal is sent.
    moment : str
        ``running`` or ``writing`` (between the first byte and the final name).
    target : str
        ``job``, ``snakemake`` or ``all`` (of the processes of the run).
    delay : float
        Seconds from the moment on.
    """

    rule: str
    moment: str
    target: str
    delay: float = 0.0


@dataclass(frozen=True)
class Ending:
    """How a run ended: whether it was hit, and what was there and lost at that time."""

    hit: bool
    code: int
    text: str
    survived: dict[Path, tuple[int, int, int]]
    lost: int


def job_process(directory: Path, rule: str, moment: str) -> int | None:
    """Return the process of a job of a rule, known by the log that it has open, at a moment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory / ".snakemake/scripts") not in (process / "cmdline").read_text():
                continue
            opened = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        own = any(f"/logs/{rule}{end}" in path for path in opened for end in ("/", ".log"))
        writing = any(".unfinished-" in path or path.endswith(".part") for path in opened)
        if own and (moment == "running" or writing):
            return int(process.name)
    return None


def run_and_kill(place: Place, injection: Injection, *arguments: str, pause: Path) -> Ending:
    """Run Snakemake, kill at the chosen moment, and wait until nothing of the run is left."""
    command = [SNAKEMAKE, *arguments, "--cores", "2", "--directory", place.directory, "--snakefile"]
    command += [place.repository / "workflow" / "Snakefile", "--configfile"]
    command += [place.repository / "config" / "config.yaml", *place.overlays]
    paths = [str(place.repository / "workflow"), *([str(pause)] if injection.moment == "writing" else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "no_proxy": "127.0.0.1"}
    log = place.directory.parent / "killed.log"
    with log.open("wb") as output:
        run = subprocess.Popen(command, cwd=place.directory, env=environment, stderr=output, start_new_session=True)
        process = wait_for(lambda: job_process(place.directory, injection.rule, injection.moment), run)
        survived, lost = {}, 0
        if process is not None:
            time.sleep(injection.delay)
            hit = run.poll() is None
            if injection.target == "all":
                os.killpg(run.pid, signal.SIGKILL)
            else:
                kill(process if injection.target == "job" else run.pid)
            survived = finished(place.directory)
            lost = len(list((place.directory / ".snakemake/incomplete").rglob("[!@]*")))
        code = run.wait(timeout=600)
        wait_for(lambda: job_of(place.directory) is None or None, None)
    return Ending(process is not None and hit, code, log.read_text(), survived, lost)


def job_of(directory: Path) -> int | None:
    """Return any process of a job in a folder."""
    return job_process(directory, "", "running")


def kill(process: int) -> None:
    """Send the signal that nobody can catch; a process that has just ended is as good."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def wait_for(found: Callable[[], int | bool | None], run: subprocess.Popen | None) -> int | bool | None:
    """Return what is found as soon as it is, or None if the run ends before."""
    end = time.monotonic() + 600
    while time.monotonic() < end and (run is None or run.poll() is None):
        if (value := found()) is not None:
            return value
        time.sleep(0.03)
    return None

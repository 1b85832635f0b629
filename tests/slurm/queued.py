"""Running Snakemake on a queue, and looking at what it does meanwhile."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster
from running import Outcome, Place

# Found beside the Snakefile as well as from the folder of the call; a path is looked for in the latter only.
PROFILE = ("--workflow-profile", "slurm")
# This queue keeps no accounts, and tests need not be as patient as people.
QUEUE = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")


@dataclass
class QueuedRun:
    """A call of Snakemake that sends its jobs to a queue, ended by force after so many seconds."""

    place: Place
    cluster: Cluster
    limit: float

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it; what it says goes to `log`."""
        command = self.place.command(*PROFILE, *QUEUE, *arguments)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["timeout", "--kill-after=10", str(self.limit), *command],
                cwd=self.place.directory,
                env=self.place.environment(**self.cluster.environment),
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str) -> Outcome:
        """Run it to its end."""
        code = self.start(*arguments).wait()
        return Outcome(code, self.log.read_text(), "")

    @property
    def log(self) -> Path:
        """What Snakemake says."""
        return self.place.directory / "snakemake.out"


def wait_for(condition: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Wait until something is true.

    Raises
    ------
    TimeoutError
        If it has not become true after so many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: waited {seconds} s in vain")
        time.sleep(0.2)

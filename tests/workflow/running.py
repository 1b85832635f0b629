"""Running Snakemake as a person would, and reading what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "tests" / "config" / "tiny.yaml"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def without_network() -> list[str]:
    """Return the command within which there is no network; empty where the system does not allow that."""
    commands = [["unshare", "--net"], ["unshare", "--map-root-user", "--net"]] if shutil.which("unshare") else []
    return next((c for c in commands if not subprocess.run([*c, "true"], capture_output=True).returncode), [])


@dataclass(frozen=True)
class Outcome:
    """What a call of Snakemake left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    @property
    def jobs(self) -> dict[str, int]:
        """Number of jobs per rule, as the first table of job statistics says; empty if there is nothing to do."""
        table = re.search(r"^Job stats:\n.*?^total ", self.text, re.DOTALL | re.MULTILINE)
        return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table[0], re.MULTILINE)} if table else {}

    @property
    def wildcards(self) -> Counter[tuple[str, str]]:
        """Rule and wildcards of every job of a dry run that has some."""
        return Counter(re.findall(r"^rule (\w+):\n(?:    .*\n)*?    wildcards: (.*)$", self.text, re.MULTILINE))


@dataclass(frozen=True)
class Place:
    """A folder to run in, and the checkout and study that are run there."""

    directory: Path
    repository: Path = REPOSITORY
    overlays: tuple[Path, ...] = ()

    def run(
        self,
        *arguments: str,
        overlays: Iterable[Path] = (),
        cores: int = 2,
        configured: bool = True,
        within: Iterable[str] = (),
        **environment: str,
    ) -> Outcome:
        """Run Snakemake, within another command if one is given; Python imports the package of the place's checkout.

        Unless it is to be configured, it finds its configuration in the folder alone.
        """
        command = [*within, *self.command(*arguments, overlays=overlays, cores=cores, configured=configured)]
        environment = self.environment(**environment)
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def command(
        self, *arguments: str, overlays: Iterable[Path] = (), cores: int = 2, configured: bool = True
    ) -> list[str | Path]:
        """Return the call of Snakemake."""
        command = [SNAKEMAKE, *arguments, "--cores", str(cores), "--directory", self.directory]
        command += ["--snakefile", self.repository / "workflow" / "Snakefile"]
        if configured:
            command += ["--configfile", self.repository / "config" / "config.yaml", *self.overlays, *overlays]
        return command

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of the call."""
        return os.environ | {"PYTHONPATH": str(self.repository / "workflow")} | changes

    def plan(self, *arguments: str, overlays: Iterable[Path] = ()) -> Outcome:
        """Return what a dry run would do, with a paragraph for each job."""
        outcome = self.run(*arguments, "--dry-run", "--verbose", overlays=overlays)
        assert outcome.code == 0, outcome.text
        return outcome

    def overlay(self, config: dict | str, name: str = "overlay.yaml") -> Path:
        """Write a configuration file."""
        path = self.directory / name
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return path

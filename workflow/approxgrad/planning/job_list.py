"""The jobs of a study, as Snakemake itself lists them: which there are, and which of them are still to run."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from approxgrad.study.defaults import default_files, over_defaults, read_defaults


@dataclass(frozen=True)
class OutputFile:
    """One file that the study produces.

    Attributes
    ----------
    path : str
        Relative to the working directory.
    rule : str
        The rule that makes it.
    there : bool
        Whether it exists.
    pending : bool
        Whether a run would make it, again if it is there.
    """

    path: str
    rule: str
    there: bool
    pending: bool


class JobListError(ValueError):
    """What Snakemake says instead of a list, such as that a user's own file is missing."""


def output_files(snakefile: str, config: Mapping[str, Any]) -> list[OutputFile]:
    """Return all files that ``snakemake all`` produces; nothing is run.

    Raises
    ------
    JobListError
        If Snakemake cannot tell, with the reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        defaults = read_defaults(default_files(Path(snakefile).parent))
        path.write_text(yaml.safe_dump(over_defaults(config, defaults), sort_keys=False))
        command = [sys.executable, "-m", "snakemake", "all", "--summary", "--cores", "1", "--nolock"]
        command += ["--snakefile", snakefile, "--directory", str(Path.cwd()), "--configfile", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - own arguments
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise JobListError(_reason(lines))
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    return [
        OutputFile(row["output_file"], row["rule"], row["date"] != "-", row["plan"] == "update pending") for row in rows
    ]


def _reason(lines: list[str]) -> str:
    """Return what Snakemake complains about, without what it always says before."""
    for number, line in enumerate(lines):
        if "Exception" in line or "Error" in line:
            return " ".join(lines[number:])
    return lines[-1] if lines else "no reason given"

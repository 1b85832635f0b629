"""The jobs of a study as one table: as Snakemake lists them, with their evaluations and an estimate of their time."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from approxgrad.planning.calibration import Speed
from approxgrad.planning.evaluations import Evaluation
from approxgrad.study.defaults import default_files, over_defaults, read_defaults

Pair = tuple[str, str]
"""A data set and a model."""


class JobListError(ValueError):
    """Snakemake cannot list the jobs, for example because a user's own file is missing."""


@dataclass(frozen=True)
class OutputFile:
    """A file of the study: its path and rule, whether it exists, and whether a run would make it (again)."""

    path: str
    rule: str
    there: bool
    pending: bool


@dataclass(frozen=True)
class Calibration:
    """How long jobs take, as far as it is known."""

    overhead: float  # seconds of a job that runs no model
    speeds: Mapping[Pair, Speed]
    training: Mapping[Pair, int]  # training rows times epochs
    threads: int  # of a job that runs a model


def output_files(snakefile: str, document: Mapping[str, Any]) -> list[OutputFile]:
    """Return all files that ``snakemake all`` would produce, or raise a JobListError with Snakemake's reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        defaults = read_defaults(default_files(Path(snakefile).parent))
        path.write_text(yaml.safe_dump(over_defaults(document, defaults), sort_keys=False))
        command = [sys.executable, "-m", "snakemake", "all", "--summary", "--cores", "1", "--nolock"]
        command += ["--snakefile", snakefile, "--directory", str(Path.cwd()), "--configfile", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - own arguments
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((n for n, line in enumerate(lines) if "Exception" in line or "Error" in line), -1)
        raise JobListError(" ".join(lines[first:]) or "no reason given")
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    return [
        OutputFile(row["output_file"], row["rule"], row["date"] != "-", row["plan"] == "update pending") for row in rows
    ]


def one_per_job(files: Iterable[OutputFile], outputs: Mapping[str, int]) -> list[OutputFile]:
    """Return the first file of each job; `outputs` says for each rule how many one job writes."""
    seen: dict[str, int] = {}
    first = []
    for file in files:
        place = seen[file.rule] = seen.get(file.rule, -1) + 1
        if place % outputs[file.rule] == 0:
            first.append(file)
    return first


def job_table(
    files: Iterable[OutputFile],
    evaluations: Iterable[Evaluation],
    model_rules: Collection[str],
    calibration: Calibration,
) -> pd.DataFrame:
    """Return all jobs of a study, given one file of each, with an estimate of their time.

    A row has ``path``, ``rule``, ``left`` (bool), the fields of :class:`Evaluation` (null for other jobs), ``busy``
    (seconds of the evaluations), ``seconds`` (with the job's start), ``threads`` and ``gpu`` (bool). A number that is
    not known is NaN. The `model_rules` are those whose jobs run models.
    """
    known = {evaluation.path: asdict(evaluation) for evaluation in evaluations}
    rows = []
    for file in files:
        own = known.get(file.path, {})
        keys = dict(part.split("=", 1) for part in file.path.split("/") if "=" in part)
        pair = (keys.get("dataset", ""), keys.get("model", ""))
        row = {"path": file.path, "rule": file.rule, "left": file.pending, "threads": 1, "gpu": False, **own}
        if file.rule not in model_rules:
            row |= {"busy": 0.0, "seconds": calibration.overhead}
        elif speed := calibration.speeds.get(pair):
            row |= {"threads": calibration.threads, "gpu": speed.gpu}
            row["busy"] = 0.0
            if own:
                row["busy"] = _quotient(own["forward"], speed.forward) + _quotient(own["exact"], speed.exact)
            elif file.rule == "train_model":
                row["busy"] = calibration.training.get(pair, math.nan) * speed.training
            row["seconds"] = speed.start_up + row["busy"]
        rows.append(row)
    names = ["path", "rule", "left", *Evaluation.__dataclass_fields__, "busy", "seconds", "threads", "gpu"]
    numbers = dict.fromkeys(["samples", "forward", "exact", "busy", "seconds"], float)
    return pd.DataFrame(rows, columns=list(dict.fromkeys(names))).astype({"left": bool, "gpu": bool, **numbers})


def _quotient(count: int | None, rate: float) -> float:
    return math.nan if count is None or (not rate and count) else count / (rate or 1)


def elapsed(jobs: pd.DataFrame, cores: int) -> float:
    """Return the estimated seconds of jobs whose time is known on a number of cores; a GPU serves one job at a time."""
    busy = (jobs["seconds"] * jobs["threads"].clip(upper=cores)).sum()
    return float(max(busy / cores, jobs.loc[jobs["gpu"], "seconds"].sum()))

"""The plan of a study: what it costs before it is started, as text."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from approxgrad.planning.calibration import CalibrationError, Speed, measure_job, measure_model
from approxgrad.planning.durations import duration
from approxgrad.planning.evaluations import Inputs, evaluations, known_inputs
from approxgrad.planning.job_table import (
    Calibration,
    JobListError,
    OutputFile,
    Pair,
    elapsed,
    job_table,
    one_per_job,
    output_files,
)
from approxgrad.planning.reductions import LONG_SECONDS, reductions
from approxgrad.study.own_files import check_files

if TYPE_CHECKING:
    from approxgrad.study.study import Study

UNKNOWN = "unknown until data are prepared"

UNLISTED = "unlisted"  # in place of a rule if Snakemake cannot list the jobs: the known ones run models

ESTIMATE = (
    "The times are estimates: untrained models of the same kind were timed on this machine as it is now, other jobs by "
    "one that draws a plain figure. They leave out downloads, Snakemake's own work, training that stops early and the "
    "few evaluations with which a job checks its model."
)


@dataclass(frozen=True)
class Plan:
    """All jobs (:func:`approxgrad.planning.job_table.job_table`), whether Snakemake listed them, and remarks.

    The `reductions` say what would shorten the study.
    """

    jobs: pd.DataFrame
    listed: bool = True
    remarks: list[str] = field(default_factory=list)
    reductions: list[str] = field(default_factory=list)


def make_plan(study: Study, snakefile: str, model_rules: Collection[str], outputs: Mapping[str, int]) -> Plan:
    """Return the plan of a study; models are timed for a few seconds, nothing is written.

    The `model_rules` of the workflow `snakefile` run models; `outputs` says for each rule how many files one job
    writes. A ConfigError names a user's own file that is missing or cannot be read.
    """
    check_files(study)
    remarks: list[str] = []
    inputs = {dataset: known_inputs(study, dataset) for dataset in study.datasets}
    counted = evaluations(study, inputs)
    overhead = 0.0
    try:
        listed = output_files(snakefile, study.document)
    except JobListError as error:
        remarks.append(f"only jobs that evaluate models are listed: {error}")
        there = [Path(job.path).exists() or Path(job.whole).exists() for job in counted]
        files = [OutputFile(job.path, UNLISTED, known, not known) for job, known in zip(counted, there, strict=True)]
        model_rules = [UNLISTED]
    else:
        files = one_per_job(listed, outputs)
        overhead = measure_job()
        attributions = {job.whole for job in counted if not job.chooses and not job.judges}
        outdated = sum(file.there and file.pending for file in listed if file.path in attributions)
        if outdated:
            remarks.append(
                f"{outdated:,} files of attributions and gradients exist but are out of date; a run makes them again"
            )
    calibration = _calibration(study, inputs, overhead, remarks)
    jobs = job_table(files, counted, model_rules, calibration)
    return Plan(jobs, UNLISTED not in model_rules, remarks, reductions(study, jobs))


def _calibration(study: Study, inputs: Mapping[str, Inputs], overhead: float, remarks: list[str]) -> Calibration:
    """Time every model on every data set that it is used with; equal ones are timed once."""
    measured: dict[str, Speed | CalibrationError] = {}
    speeds: dict[Pair, Speed] = {}
    training: dict[Pair, int] = {}
    options = study.config
    for dataset, model in study.models:
        known, kind = inputs[dataset], cast(Any, study.model(model))
        if known.shape is None:
            remarks.append(f"{dataset}/{model}: the shape of the data is {UNKNOWN}")
            continue
        rows = known.training_rows if kind.trained else None
        if rows is not None:
            training[dataset, model] = rows * kind.training.epochs
        elif kind.trained:
            remarks.append(f"{dataset}/{model}: the number of training rows is {UNKNOWN}")
        if not kind.timed:
            remarks.append(f"{dataset}/{model}: is not timed: a plan never asks a {kind.label}")
            continue
        file = study.model_file(dataset, model) if kind.makes else ""
        if file and not Path(file).exists():
            remarks.append(f"{dataset}/{model}: can be timed only when {file} has been made")
            continue
        if known.outputs is None and not (kind.trained or kind.fitted):
            remarks.append(f"{dataset}/{model}: can be timed only when the data have been prepared")
            continue
        key = repr((known.shape, known.outputs, kind, rows, file))
        if key not in measured:
            try:
                measured[key] = measure_model(
                    known.shape,
                    kind,
                    outputs=known.outputs or 1,
                    device=options.device,
                    threads=options.threads,
                    memory_mib=options.memory_mib,
                    training_rows=rows,
                    file=file,
                    extensions=options.extensions,
                )
            except CalibrationError as error:
                measured[key] = error
        result = measured[key]
        if isinstance(result, Speed):
            speeds[dataset, model] = result
        else:
            remarks.append(f"{dataset}/{model}: cannot be timed: {result}")
    return Calibration(overhead, speeds, training, options.threads)


def described(plan: Plan, cores: int) -> str:
    """Return the text of a plan for this number of cores: attributions, jobs, remarks and totals."""
    jobs, chooses = plan.jobs, plan.jobs["chooses"]
    judges = jobs["judges"].eq(True)
    attributions = jobs[chooses.eq(False) & ~judges]
    text = ["Attributions (time: of the model's evaluations alone)", *_evaluations("method", attributions)]
    if chooses.eq(True).any():
        text += ["", "Chosen settings (evaluations and time: at most)", *_evaluations("points", jobs[chooses.eq(True)])]
    if judges.any():
        text += ["", "Faithfulness (time: of the model's evaluations alone)", *_evaluations("method", jobs[judges])]
    if plan.listed:
        rows = [
            [str(rule), f"{len(own):,}", f"{own['left'].sum():,}", _time(own), _time(own[own["left"]])]
            for rule, own in jobs.groupby("rule", sort=False)
        ]
        text += ["", "Jobs (time: one after the other, each with its start)"]
        text += _table(["rule", "jobs", "left", "time", "time left"], rows, names=1)
    text += ["", *(f"Note: {remark}" for remark in plan.remarks), *_totals(plan, cores), ESTIMATE]
    if elapsed(jobs[jobs["left"]], cores) > LONG_SECONDS and plan.reductions:
        text += ["", *plan.reductions]
    return "\n".join(text)


def _evaluations(task: str, jobs: pd.DataFrame) -> list[str]:
    rows = []
    for names, own in jobs.groupby(["dataset", "model", "task"], sort=False):
        samples = dict.fromkeys((own["samples"].min(), own["samples"].max()))
        counts = [_count(own[kind].sum(skipna=False)) for kind in ("forward", "exact")]
        numbers = [f"{len(own):,}", f"{own['left'].sum():,}", "-".join(map(_count, samples)), *counts]
        rows.append([*map(str, names), *numbers, duration(own["busy"].sum(skipna=False))])
    header = ["data set", "model", task, "jobs", "left", "samples", "evaluations", "forward+backward", "time"]
    return _table(header, rows, names=3)


def _totals(plan: Plan, cores: int) -> Iterator[str]:
    for name, jobs in (("The whole study", plan.jobs), ("Still to run", plan.jobs[plan.jobs["left"]])):
        if jobs.empty:
            yield f"{name}: nothing is left, all files exist and are up to date."
            continue
        own, choices = jobs[jobs["chooses"].eq(False)], jobs[jobs["chooses"].eq(True)]
        least = "at least " if own["forward"].isna().any() else ""
        text = (
            f"{name}: {len(jobs):,} jobs, {least}"
            f"{own['forward'].sum():,.0f} model evaluations and {own['exact'].sum():,.0f} forward and backward passes"
        )
        if len(choices):
            most = choices["forward"].sum(skipna=False)
            text += f", and {'an unknown number' if pd.isna(most) else f'at most {most:,.0f}'} to choose settings"
        yield f"{text}{_estimate(jobs, cores) if plan.listed else ''}."


def _estimate(jobs: pd.DataFrame, cores: int) -> str:
    times = [f"{duration(elapsed(jobs, 1))} on one core"]
    if cores > 1:
        times.append(f"{duration(elapsed(jobs, cores))} on {cores} cores")
    unknown, on_gpu = jobs["seconds"].isna().sum(), jobs.loc[jobs["gpu"], "seconds"].sum()
    if on_gpu:
        times.append(f"{on_gpu / 3600:.2g} GPU-hours of these at the measured rate")
    return f"; about {', '.join(times)}" + (f", besides {unknown:,} jobs whose time is unknown" if unknown else "")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _time(jobs: pd.DataFrame) -> str:
    unknown = jobs["seconds"].isna()
    if len(jobs) and unknown.all():
        return "unknown"
    return f"{'more than ' if unknown.any() else ''}{duration(jobs['seconds'].sum())}"


def _count(number: float) -> str:
    return UNKNOWN if pd.isna(number) else f"{number:,.0f}"


def _table(header: Sequence[str], rows: Collection[Sequence[str]], names: int) -> list[str]:
    """Return aligned lines: the first columns are names, the others numbers."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if column < names else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]

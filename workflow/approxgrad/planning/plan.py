"""The plan of a study: what it costs before it is started, as text."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from approxgrad.planning.calibration import (
    CalibrationError,
    Speed,
    measure_figure_job,
    measure_model,
    measure_table_job,
)
from approxgrad.planning.costs import (
    ChoiceCost,
    JobTime,
    MethodCost,
    Overhead,
    Pair,
    RuleCost,
    Work,
    choice_costs,
    elapsed,
    method_costs,
    rule_costs,
)
from approxgrad.planning.counts import Inputs, known_inputs
from approxgrad.planning.job_list import JobListError, OutputFile, output_files
from approxgrad.provenance.dependencies import source_files
from approxgrad.study.study import Study

UNKNOWN = "unknown until data are prepared"


@dataclass(frozen=True)
class Plan:
    """All that the text of a plan is made of.

    Attributes
    ----------
    methods : list of MethodCost
        The attributions.
    rules : list of RuleCost
        The jobs of all rules; empty if Snakemake cannot list them.
    outdated : int
        Attribution files that are there but would be computed again.
    threads : int
        Threads of one job.
    remarks : list of str
        What could not be found out, and why.
    choices : list of ChoiceCost
        The steps that are chosen at run time.
    """

    methods: list[MethodCost]
    rules: list[RuleCost]
    outdated: int = 0
    threads: int = 1
    remarks: list[str] = field(default_factory=list)
    choices: list[ChoiceCost] = field(default_factory=list)


def make_plan(study: Study, snakefile: str, scripts: Mapping[str, str], outputs: Mapping[str, int]) -> Plan:
    """Return the plan of a study; models are timed for a few seconds, nothing is written.

    Parameters
    ----------
    study : Study
        What is asked for.
    snakefile : str
        The workflow.
    scripts : mapping of str to str
        The script of each rule.
    outputs : mapping of str to int
        For each rule the number of files that one job writes.

    Raises
    ------
    ConfigError
        If a user's own file is not there or cannot be read.
    """
    study.check_files()
    remarks: list[str] = []
    inputs = {dataset: known_inputs(study, dataset) for dataset in study.datasets}
    try:
        files: list[OutputFile] = output_files(snakefile, study.config)
    except JobListError as error:
        files = []
        remarks.append(f"jobs other than attributions cannot be listed: {error}")
    speeds = _calibrated(study, inputs, remarks)
    if files:
        finished = {file.path for file in files if file.there and not file.pending}
    else:
        known = {path for cell in study.cells for path in (cell.path, *cell.jobs)} | study.choices.keys()
        finished = {path for path in known if Path(path).exists()}
    attributions = {cell.path for cell in study.cells}
    needs = {rule: needed(Path(scripts[rule])) for rule in {file.rule for file in files}}
    overhead = Overhead(table=measure_table_job(), figure=measure_figure_job()) if files else Overhead(0.0, 0.0)
    return Plan(
        methods=method_costs(study, inputs, speeds, finished),
        rules=rule_costs(study, files, needs, outputs, inputs, speeds, overhead),
        outdated=sum(file.there and file.pending for file in files if file.path in attributions),
        threads=study.config["threads"],
        remarks=remarks,
        choices=choice_costs(study, inputs, speeds, finished),
    )


def needed(script: Path) -> str:
    """Return what a job of a script loads: ``model`` (torch), ``figure`` (matplotlib) or ``table``."""
    files = [script, *source_files(script)] if script.exists() else []
    text = "\n".join(path.read_text() for path in files)
    for package, kind in (("torch", "model"), ("matplotlib", "figure")):
        if re.search(rf"^(import|from) {package}\b", text, re.MULTILINE):
            return kind
    return "table"


def _calibrated(study: Study, inputs: Mapping[str, Inputs], remarks: list[str]) -> dict[Pair, Speed]:
    """Return the speed of every model on every data set that it is used with; equal ones are timed once."""
    measured: dict[str, Speed | CalibrationError] = {}
    speeds: dict[Pair, Speed] = {}
    for dataset, model in study.models:
        known = inputs[dataset]
        if known.shape is None:
            remarks.append(f"{dataset}/{model}: the shape of the data is {UNKNOWN}")
            continue
        options = study.config["models"][model]
        training = None
        if "training" in options and known.training_rows is not None:
            training = options["training"] | {"rows": known.training_rows}
        elif "training" in options:
            remarks.append(f"{dataset}/{model}: the number of training rows is {UNKNOWN}")
        rows = options.get("batch_size")
        key = repr((known.shape, study.architecture(model), training, rows))
        if key not in measured:
            try:
                measured[key] = measure_model(
                    known.shape,
                    study.architecture(model),
                    device=study.config["device"],
                    threads=study.config["threads"],
                    memory_mib=study.config.get("memory_mib"),
                    rows=rows,
                    training=training,
                )
            except CalibrationError as error:
                measured[key] = error
        result = measured[key]
        if isinstance(result, Speed):
            speeds[dataset, model] = result
        else:
            remarks.append(f"{dataset}/{model}: cannot be timed: {result}")
    return speeds


def described(plan: Plan, cores: int) -> str:
    """Return the text of a plan: attributions, jobs, remarks and the total.

    Parameters
    ----------
    plan : Plan
        What to describe.
    cores : int
        Cores of this machine, for the time of a parallel run.
    """
    header = ["data set", "model", "method", "jobs", "left", "samples", "evaluations", "forward+backward", "time"]
    attributions = [
        [
            cost.dataset,
            cost.model,
            cost.method,
            f"{cost.whole.jobs:,}",
            f"{cost.left.jobs:,}",
            "-".join(f"{count:,}" for count in dict.fromkeys(cost.samples)),
            _count(cost.whole.forward),
            _count(cost.whole.exact),
            duration(cost.whole.seconds),
        ]
        for cost in plan.methods
    ]
    text = ["Attributions (time: that of the model alone)", *_table(header, attributions, names=3)]
    if plan.choices:
        text += ["", "Chosen steps (evaluations and time: at most)"]
        text += _table(["data set", "model", "points", "jobs", "left", "evaluations", "time"], _choices(plan), names=3)
    if plan.rules:
        rules = [
            [rule.rule, f"{rule.whole.jobs:,}", f"{rule.left.jobs:,}", _job_time(rule.whole), _job_time(rule.left)]
            for rule in plan.rules
        ]
        text += ["", "Jobs (time: one after the other, each with its start)"]
        text += _table(["rule", "jobs", "left", "time", "time left"], rules, names=1)
    text += ["", *(f"Note: {remark}" for remark in _remarks(plan)), *_totals(plan, cores)]
    return "\n".join(text)


def _choices(plan: Plan) -> list[list[str]]:
    return [
        [
            cost.dataset,
            cost.model,
            cost.points,
            f"{cost.whole.jobs:,}",
            f"{cost.left.jobs:,}",
            _count(cost.whole.forward),
            duration(cost.whole.seconds),
        ]
        for cost in plan.choices
    ]


def _remarks(plan: Plan) -> Iterable[str]:
    yield from plan.remarks
    if plan.outdated:
        yield f"{plan.outdated:,} attribution files are there but out of date; a run computes them again"


def _totals(plan: Plan, cores: int) -> list[str]:
    lines = []
    for name, left in (("The whole study", False), ("Still to run", True)):
        works = [cost.left if left else cost.whole for cost in plan.methods]
        choices = [cost.left if left else cost.whole for cost in plan.choices]
        jobs = sum((rule.left if left else rule.whole).jobs for rule in plan.rules) if plan.rules else None
        own = sum(work.jobs for work in (*works, *choices))
        if not (jobs or own):
            lines.append(f"{name}: nothing is left, all files are there and up to date.")
            continue
        kinds = "attributions and choices of steps" if plan.choices else "attributions"
        counted = f"{jobs:,} jobs" if jobs is not None else f"{own:,} {kinds}"
        counts = _evaluations(works) + _choice_evaluations(choices)
        lines.append(f"{name}: {counted}, {counts}{_estimate(plan, cores, left)}.")
    lines.append(
        "The times are an estimate: untrained models of the same architecture were timed on this machine as it is now, "
        "figures by a plain one. Downloads, Snakemake's own work, training that stops early and the few evaluations "
        "with which a job checks its model are not considered."
    )
    return lines


def _evaluations(works: Sequence[Work]) -> str:
    forward = [work.forward for work in works]
    exact = [work.exact for work in works]
    known = f"{sum(count or 0 for count in forward):,} model evaluations"
    if None in forward:
        known = f"at least {known}"
    return f"{known} and {sum(count or 0 for count in exact):,} forward and backward passes"


def _choice_evaluations(works: Sequence[Work]) -> str:
    """Say how many evaluations choosing steps takes at most; nothing if no step is chosen."""
    counts = [work.forward for work in works if work.jobs]
    if not counts:
        return ""
    known = "an unknown number" if None in counts else f"at most {sum(count or 0 for count in counts):,}"
    return f", and {known} to choose steps"


def _estimate(plan: Plan, cores: int, left: bool) -> str:
    if not plan.rules:
        return ""
    unknown = sum((rule.left if left else rule.whole).unknown for rule in plan.rules)
    times = [f"{duration(elapsed(plan.rules, 1, left=left))} on one core"]
    if cores > 1:
        times.append(f"{duration(elapsed(plan.rules, cores, left=left))} on {cores} cores")
    return f"; about {', '.join(times)}" + (f", besides {unknown:,} jobs whose time is unknown" if unknown else "")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float | None) -> str:
    """Return a time in words, with two digits or a tenth of a second."""
    if seconds is None:
        return "unknown"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds >= 10 * 3600 else f"{seconds / 3600:.1f} h"


def _job_time(time: JobTime) -> str:
    if time.unknown == time.jobs > 0:
        return "unknown"
    return f"{'more than ' if time.unknown else ''}{duration(time.seconds)}"


def _count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


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

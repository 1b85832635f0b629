"""The arithmetic of a plan: jobs and model evaluations of a study, and their time at the speeds that were measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from approxgrad.planning.calibration import Speed
from approxgrad.planning.counts import Inputs, cell_evaluations, choice_evaluations
from approxgrad.planning.job_list import OutputFile
from approxgrad.study.choices import Choice
from approxgrad.study.grid import Cell
from approxgrad.study.shards import Shard
from approxgrad.study.study import Study

Pair = tuple[str, str]
"""A data set and a model."""


@dataclass
class Work:
    """Attributions, or choices of steps: a number of jobs and what they cost together.

    Attributes
    ----------
    jobs : int
        Their number.
    forward : int or None
        Evaluations for finite differences; None if the number of features is unknown.
    exact : int
        Exact gradients, each a forward and a backward pass.
    seconds : float or None
        Estimated time in the model; None without a calibration.
    """

    jobs: int = 0
    forward: int | None = 0
    exact: int | None = 0
    seconds: float | None = 0.0


@dataclass(frozen=True)
class MethodCost:
    """The attributions of one data set, model and method: all of them, and those still to be computed."""

    dataset: str
    model: str
    method: str
    samples: tuple[int, int]
    whole: Work
    left: Work


@dataclass(frozen=True)
class ChoiceCost:
    """The choices of steps for one data set, model and kind of points: at most that much, of all and of those left."""

    dataset: str
    model: str
    points: str
    whole: Work
    left: Work


def method_costs(
    study: Study, inputs: Mapping[str, Inputs], speeds: Mapping[Pair, Speed], finished: Collection[str]
) -> list[MethodCost]:
    """Return the cost of every data set, model and method, in the order of the configuration.

    Parameters
    ----------
    study : Study
        What is asked for; nothing else is counted.
    inputs : mapping of str to Inputs
        What is known of every data set.
    speeds : mapping of pair to Speed
        The calibration, as far as there is one.
    finished : collection of str
        Attribution files and shards that need not be computed.
    """
    costs: dict[tuple[str, str, str], MethodCost] = {}
    for cell in study.cells:
        key = (cell.dataset, cell.model, cell.method)
        cost = costs.setdefault(key, MethodCost(*key, (cell.samples, cell.samples), Work(), Work()))
        smallest, largest = cost.samples
        samples = (min(smallest, cell.samples), max(largest, cell.samples))
        costs[key] = MethodCost(*key, samples, cost.whole, cost.left)
        speed = speeds.get((cell.dataset, cell.model))
        for path, shard in cell.jobs.items():
            count = cell_evaluations(study, cell, inputs[cell.dataset], shard)
            for work in (cost.whole,) if cell.path in finished or path in finished else (cost.whole, cost.left):
                _add(work, count, cell.gradient.is_exact, speed)
    return list(costs.values())


def choice_costs(
    study: Study, inputs: Mapping[str, Inputs], speeds: Mapping[Pair, Speed], finished: Collection[str]
) -> list[ChoiceCost]:
    """Return the largest cost of the steps that are chosen at run time; the arguments are those of method_costs."""
    costs: dict[tuple[str, str, str], ChoiceCost] = {}
    for path, choice in study.choices.items():
        key = (choice.dataset, choice.model, choice.points)
        cost = costs.setdefault(key, ChoiceCost(*key, Work(), Work()))
        count, speed = choice_evaluations(choice, inputs[choice.dataset]), speeds.get((choice.dataset, choice.model))
        for work in (cost.whole,) if path in finished else (cost.whole, cost.left):
            _add(work, count, False, speed)
    return list(costs.values())


def _add(work: Work, count: int | None, exact: bool, speed: Speed | None) -> None:
    work.jobs += 1
    if exact:
        work.exact = None if work.exact is None or count is None else work.exact + count
    else:
        work.forward = None if work.forward is None or count is None else work.forward + count
    if speed is None or count is None or work.seconds is None:
        work.seconds = None
    else:
        work.seconds += count / (speed.exact if exact else speed.forward)


@dataclass
class JobTime:
    """A number of jobs, the seconds of those that can be estimated, and the number of the others."""

    jobs: int = 0
    seconds: float = 0.0
    unknown: int = 0

    def add(self, seconds: float | None) -> None:
        """Count a job; None if its time is unknown."""
        self.jobs += 1
        self.seconds += seconds or 0.0
        self.unknown += seconds is None


@dataclass
class RuleCost:
    """The jobs of one rule.

    Attributes
    ----------
    rule : str
        Its name.
    whole, left : JobTime
        All jobs, and those still to be run.
    threads : int
        Cores that a job takes up.
    gpu : bool
        Whether its jobs run on a GPU.
    """

    rule: str
    whole: JobTime
    left: JobTime
    threads: int = 1
    gpu: bool = False


@dataclass(frozen=True)
class Overhead:
    """Seconds that jobs take without evaluating a model."""

    table: float
    figure: float


def rule_costs(
    study: Study,
    files: Collection[OutputFile],
    needs: Mapping[str, str],
    outputs: Mapping[str, int],
    inputs: Mapping[str, Inputs],
    speeds: Mapping[Pair, Speed],
    overhead: Overhead,
) -> list[RuleCost]:
    """Return the jobs of every rule and an estimate of their time.

    Parameters
    ----------
    study : Study
        What is asked for.
    files : collection of OutputFile
        All files of the study.
    needs : mapping of str to str
        For each rule ``model``, ``figure`` or ``table``: what its jobs load.
    outputs : mapping of str to int
        For each rule the number of files that one job writes.
    inputs, speeds
        As in :func:`method_costs`.
    overhead : Overhead
        The calibration of jobs without a model.
    """
    jobs = {path: (cell, shard) for cell in study.cells for path, shard in cell.jobs.items()}
    costs: dict[str, RuleCost] = {}
    seen: dict[str, int] = {}
    for file in files:
        cost = costs.setdefault(file.rule, RuleCost(file.rule, JobTime(), JobTime()))
        seen[file.rule] = seen.get(file.rule, 0) + 1
        if (seen[file.rule] - 1) % outputs[file.rule]:
            continue  # another file of the job before
        pair = _pair(file.path)
        speed = speeds.get(pair) if pair else None
        if needs[file.rule] != "model":
            seconds: float | None = overhead.figure if needs[file.rule] == "figure" else overhead.table
        elif speed is None:
            seconds = None
        else:
            job = study.choices.get(file.path) or jobs.get(file.path)
            seconds = _model_seconds(study, file, pair, job, inputs, speed)
            cost.gpu = cost.gpu or speed.gpu
            cost.threads = study.config["threads"]
        for time in (cost.whole, cost.left) if file.pending else (cost.whole,):
            time.add(seconds)
    return list(costs.values())


def _model_seconds(
    study: Study,
    file: OutputFile,
    pair: Pair | None,
    job: tuple[Cell, Shard] | Choice | None,
    inputs: Mapping[str, Inputs],
    speed: Speed,
) -> float | None:
    """Return the seconds of a job that runs a model: starting, and then attributing, choosing a step or training."""
    if isinstance(job, Choice):
        count = choice_evaluations(job, inputs[job.dataset])
        return None if count is None else speed.start_up + count / speed.forward
    if job is not None:
        cell, shard = job
        count = cell_evaluations(study, cell, inputs[cell.dataset], shard)
        rate = speed.exact if cell.gradient.is_exact else speed.forward
        return None if count is None else speed.start_up + count / rate
    if file.rule == "train_model" and pair is not None:
        dataset, model = pair
        rows, epochs = inputs[dataset].training_rows, study.config["models"][model]["training"]["epochs"]
        return None if rows is None else speed.start_up + rows * epochs * speed.training
    return speed.start_up


def _pair(path: str) -> Pair | None:
    """Return the data set and the model that a path names."""
    names = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    return (names["dataset"], names["model"]) if {"dataset", "model"} <= set(names) else None


def elapsed(costs: Collection[RuleCost], cores: int, *, left: bool) -> float:
    """Return the estimated seconds of a run on a number of cores, of which a GPU serves one job at a time.

    Jobs whose time is unknown are left out.
    """
    chosen = [(cost, (cost.left if left else cost.whole).seconds) for cost in costs]
    busy = sum(seconds * min(cost.threads, cores) for cost, seconds in chosen)
    return max(busy / cores, sum(seconds for cost, seconds in chosen if cost.gpu))

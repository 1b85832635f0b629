"""The cells that experiments ask for: products of data sets, models, methods and gradient sources, with references."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from approxgrad.gradients.source import Source
from approxgrad.methods.method import Method
from approxgrad.study.grid import Cell
from approxgrad.study.references import approximations, exact_model, plain_sources, reference_method, stand_ins
from approxgrad.study.sections import Config, Experiment

Names = tuple[str, str, str]
Key = tuple[str, str, str, Source]


def product_cells(config: Config, shards: Callable[[str, Method, Source, int], int]) -> tuple[list[Cell], list[str]]:
    """Return the cells of all experiments, and a line for each that two of them want otherwise.

    `shards` returns the number of shards for a data set, method, source and number of samples.
    """
    cells: dict[Key, Cell] = {}
    faults, replaced = [], stand_ins(config)

    def added(key: Key, samples: int) -> Cell:
        dataset, _, method, source = key
        count = shards(dataset, config.methods[method], source, samples)
        return cells.setdefault(key, Cell(*key, samples, count))

    for number, experiment in enumerate(config.experiments):
        for key, samples in _own(config, experiment, replaced):
            cell = added(key, samples)
            if cell.samples != samples:
                faults.append(
                    f"experiments[{number}]: asks for {samples} samples of {cell.dataset}, {cell.model}, "
                    f"{cell.method}, {cell.gradient.name}, elsewhere it is {cell.samples}; expected one number"
                )
    for key, (samples, where) in _of_twins(config).items():
        cell = added(key, samples)
        if cell.samples < samples:
            faults.append(
                f"{where}: has {samples} samples of {cell.dataset}, {cell.method}, but its twin {cell.model} has "
                f"{cell.samples}; expected at most as many"
            )
    return list(cells.values()), faults


def _own(config: Config, experiment: Experiment, replaced: Mapping[Names, Source]) -> list[tuple[Key, int]]:
    """Return what an experiment asks for of its own models, with the number of samples."""
    own, found = approximations(config, experiment), []
    for dataset, model, method in product(experiment.datasets, experiment.models, experiment.methods):
        samples = experiment.samples_by_method.get(method, experiment.samples)
        stand_in = replaced.get((dataset, model, reference_method(config, method)))
        found += [((dataset, model, *one), samples) for one in _asked(config, model, method, own, stand_in)]
    return found


def _asked(
    config: Config, model: str, method: str, own: list[Source], stand_in: Source | None
) -> list[tuple[str, Source]]:
    """Return method and source of the attributions of a model, and of what they are compared with if it is its own."""
    reference, exact = reference_method(config, method), exact_model(config, model)
    if exact == model or (exact is None and not config.methods[reference].takes_gradients):
        alone = plain_sources(config, model, reference, own)
    else:
        alone = [] if stand_in is None else [stand_in]
    varied = own if config.methods[method].takes_gradients else plain_sources(config, model, method, own)
    found = [(reference if source == stand_in else method, source) for source in varied]
    found = [one for one in ((reference, source) for source in alone) if one not in found] + found
    # A step that follows a path is there for methods with such a path only.
    return [(name, own) for name, own in found if config.methods[name].path_steps or not own.kind.along_path]


def _of_twins(config: Config) -> dict[Key, tuple[int, str]]:
    """Return the exact attributions of twins that are needed, with the largest number of samples and who needs it."""
    found: dict[Key, tuple[int, str]] = {}
    for number, experiment in enumerate(config.experiments):
        own = approximations(config, experiment)
        for dataset, model, method in product(experiment.datasets, experiment.models, experiment.methods):
            twin = exact_model(config, model)
            if twin is not None and twin != model:
                samples = experiment.samples_by_method.get(method, experiment.samples)
                reference = reference_method(config, method)
                for source in plain_sources(config, model, reference, own):
                    key = (dataset, twin, reference, source)
                    found[key] = max(found.get(key, (0, "")), (samples, f"experiments[{number}].models: {model}"))
    return found

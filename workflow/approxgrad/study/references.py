"""What attributions are compared with: exact gradients of a model or of its twin, or a source that stands in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import product

from approxgrad.gradients.precisions import PRECISIONS, leading
from approxgrad.gradients.source import Source, evaluated_source, exact_source, sources
from approxgrad.study.sections import Config, Experiment


def exact_model(config: Config, model: str) -> str | None:
    """Return the model whose exact gradients a model is compared with: itself or its twin; None without any."""
    return model if config.models[model].differentiable else config.models[model].reference_model


def reference_method(config: Config, method: str) -> str:
    """Return the method whose exact attribution a method is compared with."""
    return config.methods[method].reference_method or method


def stand_ins(config: Config) -> dict[tuple[str, str, str], Source]:
    """Return the sources that models without an exact model are compared with, by data set, model and method.

    The method is the one whose attribution others are compared with.
    """
    found = {}
    for experiment in config.experiments:
        named = {source.name: source for source in approximations(config, experiment)}
        for dataset, model, method in product(experiment.datasets, experiment.models, experiment.methods):
            if exact_model(config, model) is None and experiment.reference is not None:
                found[dataset, model, reference_method(config, method)] = named[experiment.reference]
    return found


def approximations(config: Config, experiment: Experiment) -> list[Source]:
    """Return the gradient sources that an experiment names."""
    return [source for name in experiment.gradients for source in sources(config.gradients[name])]


def exact_sources(used: list[Source]) -> list[Source]:
    """Return the exact gradient in each precision of some sources."""
    return [exact_source(dtype) for dtype in PRECISIONS if dtype in {source.dtype for source in used}]


def plain_sources(config: Config, model: str, method: str, used: list[Source]) -> list[Source]:
    """Return what an attribution that is not an approximation takes: exact gradients, or nothing but evaluations.

    They are of the precisions of some sources; without any, of the one of the model that figures show.
    """
    if config.methods[method].takes_gradients:
        return exact_sources(used)
    dtypes = {source.dtype for source in used} or {leading(config.models[model].precisions)}
    return [evaluated_source(dtype) for dtype in PRECISIONS if dtype in dtypes]


def takes_source(config: Config, method: str) -> bool:
    """Return whether a method takes gradients, or is compared with one that does."""
    return any(config.methods[name].takes_gradients for name in (method, reference_method(config, method)))


def model_name_faults(config: Config) -> list[str]:
    """Return the names of other models that models use and that do not fit."""
    faults = []
    for name, model in config.models.items():
        if model.twin is not None and model.differentiable:
            faults.append(f"models.{name}.twin: the model has an exact gradient of its own; leave it out")
        elif model.reference_model is not None and model.reference_model not in exact_models(config):
            key = "twin" if model.twin is not None or model.source_model is None else model.source_key
            faults.append(
                f"models.{name}.{key}: got {model.reference_model!r}, expected a model with an exact gradient: "
                + _expected(model.reference_model, exact_models(config))
            )
        weighted = [other for other, own in config.models.items() if own.trained or own.fitted]
        if model.source_model is not None and model.source_model not in weighted:
            faults.append(
                f"models.{name}.{model.source_key}: got {model.source_model!r}, expected a model with weights of the "
                "study: " + _expected(model.source_model, weighted)
            )
    return faults


def exact_models(config: Config) -> list[str]:
    """Return the models that have an exact gradient."""
    return [name for name, model in config.models.items() if model.differentiable]


def reference_faults(config: Config) -> list[str]:
    """Return the experiments with models that have nothing to be compared with, or two things."""
    return [*_lacking(config), *_others(config)]


def _lacking(config: Config) -> Iterator[str]:
    for number, experiment in enumerate(config.experiments):
        if not any(takes_source(config, method) for method in experiment.methods):
            continue
        key = f"experiments[{number}].reference"
        own = {source.name for source in approximations(config, experiment)}
        lacking = [name for name in experiment.models if exact_model(config, name) is None]
        if lacking and experiment.reference not in own:
            yield (
                f"{key}: {lacking[0]} has no exact gradient, so name the source that others are compared with: one of "
                f"{', '.join(sorted(own))}; or a model with an exact gradient at models.{lacking[0]}.twin"
            )
        elif experiment.reference is not None and not lacking:
            yield f"{key}: all models or their twins have an exact gradient that others are compared with; leave it out"


def _others(config: Config) -> Iterator[str]:
    """Yield the experiments that compare a model with another source than elsewhere."""
    named: dict[tuple[str, str, str], str | None] = {}
    for number, experiment in enumerate(config.experiments):
        for dataset, model, method in product(experiment.datasets, experiment.models, experiment.methods):
            if not takes_source(config, method):
                continue
            key = dataset, model, reference_method(config, method)
            known = named.setdefault(key, experiment.reference)
            if exact_model(config, model) is None and known != experiment.reference:
                yield (
                    f"experiments[{number}].reference: got {experiment.reference}, elsewhere it is {known} for "
                    f"{', '.join(key)}; expected one"
                )


def _expected(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    return (", ".join(allowed) or "the study has none") + (f" (did you mean {close[0]}?)" if close else "")

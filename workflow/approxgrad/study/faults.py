"""Faults of a configuration that types and bounds cannot state: one line each, with key and what is allowed."""

from __future__ import annotations

import math
from itertools import product

from approxgrad.datasets.faults import text_faults
from approxgrad.gradients.source import sources
from approxgrad.study.references import (
    approximations,
    exact_model,
    model_name_faults,
    reference_faults,
    reference_method,
    takes_source,
)
from approxgrad.study.sections import Config

PLACEHOLDERS = (("{method}", "once", (1,)), ("{step}", "once", (1,)), ("{samples}", "at most once", (0, 1)))
"""What the names of cached arrays tell, and how often each stands in their pattern."""


def name_faults(config: Config) -> list[str]:
    """Return the names that the configuration uses without defining them."""
    faults = []
    for number, experiment in enumerate(config.experiments):
        for key in ("datasets", "models", "methods", "gradients"):
            known = list(getattr(config, key))
            faults += [
                f"experiments[{number}].{key}: got {name!r}, expected one of {', '.join(known)}"
                for name in getattr(experiment, key)
                if name not in known
            ]
        faults += [
            f"experiments[{number}].samples_by_method.{name}: is not among the entry's methods, "
            + ", ".join(experiment.methods)
            for name in experiment.samples_by_method
            if name not in experiment.methods
        ]
    with_own = [name for name, method in config.methods.items() if not method.refers]
    for name, method in config.methods.items():
        # What takes gradients is compared with what does.
        allowed = [own for own in with_own if config.methods[own].takes_gradients >= method.takes_gradients]
        if (method.reference_method or name) not in allowed:
            faults.append(
                f"methods.{name}.reference: got {method.reference_method or name!r}, expected a method with an exact "
                f"counterpart: {', '.join(allowed)}"
            )
    return [*faults, *model_name_faults(config)]


def faults(config: Config) -> list[str]:
    """Return all other faults, of a configuration whose names are defined."""
    own = [
        f"{section}.{name}.{fault}"
        for section in ("datasets", "models")
        for name, member in getattr(config, section).items()
        for fault in member.faults()
    ]
    checks = (
        _array_faults,
        _source_faults,
        _method_faults,
        _path_faults,
        _need_faults,
        _precision_faults,
        reference_faults,
        _sample_faults,
        _shape_faults,
    )
    return [*own, *(fault for check in checks for fault in check(config))]


def _source_faults(config: Config) -> list[str]:
    """Return sources that share a name but not their options."""
    named: dict[str, tuple[str, object]] = {}
    faults = []
    for name, kind in config.gradients.items():
        for source in sources(kind):
            other, known = named.setdefault(source.name, (name, source))
            if known != source:
                faults.append(f"gradients.{name}: gives {source.name}, as gradients.{other} does with other options")
    return faults


def _method_faults(config: Config) -> list[str]:
    """Return the experiments without gradient sources whose methods take gradients, and chains of references."""
    faults = [
        f"experiments[{number}].gradients: {name} takes gradients, or is compared with a method that does; name at "
        "least one source"
        for number, experiment in enumerate(config.experiments)
        for name in experiment.methods[: 0 if experiment.gradients else None]
        if takes_source(config, name)
    ]
    for name in config.methods:
        other = reference_method(config, name)
        if other != name and reference_method(config, other) != other:
            faults.append(f"methods.{name}.reference: {other} is itself compared with another method; name that one")
    return faults


def _path_faults(config: Config) -> list[str]:
    """Return the experiments whose sources attribute along a whole path, where no method leaves that to them."""
    faults = []
    for number, experiment in enumerate(config.experiments):
        methods = [name for name in experiment.methods if not config.methods[name].path_steps]
        paths = sorted(source.name for source in approximations(config, experiment) if source.kind.along_path)
        if paths and len(methods) == len(experiment.methods):
            faults.append(
                f"experiments[{number}].gradients: {paths[0]} attributes along a whole path, which is not for "
                f"{', '.join(methods)}; add a method of the kind integrated_gradients, or leave it out"
            )
        if methods and experiment.reference in paths:
            faults.append(
                f"experiments[{number}].reference: {experiment.reference} attributes along a whole path, which is not "
                f"for {methods[0]}, so it cannot be a reference for it; expected another source"
            )
    return faults


def _need_faults(config: Config) -> list[str]:
    """Return the experiments whose sources need what a model does not offer."""
    return [
        f"experiments[{number}].gradients: {name} needs {needs}, which {model} does not have; leave one of them out"
        for number, experiment in enumerate(config.experiments)
        for model, name in product(experiment.models, experiment.gradients)
        for needs in filter(None, [config.gradients[name].needs])
        if needs not in config.models[model].offers
    ]


def _precision_faults(config: Config) -> list[str]:
    """Return the experiments that evaluate a model in a precision that it cannot be evaluated in."""
    return [
        f"experiments[{number}].gradients: {name} evaluates models in {dtype}, but {model} takes only "
        f"{' and '.join(config.models[model].precisions)}"
        for number, experiment in enumerate(config.experiments)
        for model, name in product(experiment.models, experiment.gradients)
        for dtype in config.gradients[name].precisions
        if dtype not in config.models[model].precisions
    ]


def _sample_faults(config: Config) -> list[str]:
    """Return the experiments that ask for more samples than there are test rows, where their number is known."""
    faults = []
    for number, experiment in enumerate(config.experiments):
        counts = {"samples": experiment.samples} | {
            f"samples_by_method.{name}": count for name, count in experiment.samples_by_method.items()
        }
        for dataset in experiment.datasets:
            rows = config.datasets[dataset].test_rows
            faults += [
                f"experiments[{number}].{key}: got {count}, expected at most {rows}, the test rows of {dataset}"
                for key, count in counts.items()
                if rows is not None and count > rows
            ]
    return faults


def _array_faults(config: Config) -> list[str]:
    """Return what cannot be used of cached arrays."""
    faults = []
    for name, arrays in config.cached_arrays.items():
        key = f"cached_arrays.{name}"
        faults += [f"{key}.{fault}" for fault in text_faults("folder", arrays.folder)]
        faults += [
            f"{key}.pattern: got {arrays.pattern!r}, expected {word} {times}"
            for word, times, allowed in PLACEHOLDERS
            if arrays.pattern.count(word) not in allowed
        ]
        compared = arrays.compare_with
        pairs = [] if compared is None else [("dataset", compared.dataset), ("model", compared.model)]
        faults += [
            f"{key}.compare_with.{own}: got {value!r}, expected one of {', '.join(getattr(config, own + 's'))}"
            for own, value in pairs
            if value not in getattr(config, f"{own}s")
        ]
    return faults


def _shape_faults(config: Config) -> list[str]:
    """Return the models and baselines that do not fit their data, where the shape of these is known."""
    faults = []
    for number, experiment in enumerate(config.experiments):
        shapes = {name: config.datasets[name].feature_shape for name in experiment.datasets}
        known = {name: shape for name, shape in shapes.items() if shape is not None}
        for dataset, model in product(known, experiment.models):
            own = config.models[model]
            for name in dict.fromkeys(filter(None, (model, exact_model(config, model), own.source_model))):
                fault = config.models[name].shape_fault(known[dataset])
                words = name if name == model else f"{name}, which {model} needs,"
                if fault is not None:
                    faults.append(f"experiments[{number}].models: {words} does not fit {dataset}: {fault}")
        for dataset, method in product(known, experiment.methods):
            fault = config.methods[method].shape_fault(known[dataset])
            if fault is not None:
                faults.append(f"methods.{method}: does not fit {dataset}: {fault}")
            baseline, features = getattr(config.methods[method], "baseline", None), math.prod(known[dataset])
            if isinstance(baseline, tuple) and len(baseline) != features:
                faults.append(
                    f"methods.{method}.baseline: got {len(baseline)} numbers, expected {features}, "
                    f"one for each feature of {dataset}"
                )
    return faults

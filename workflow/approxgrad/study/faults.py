"""Faults of a configuration that a schema cannot state: one line each, with the key and what is allowed there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from approxgrad.datasets.download import check_address
from approxgrad.datasets.kinds import kind
from approxgrad.datasets.normalisation import configured
from approxgrad.datasets.paths import check_text
from approxgrad.messages import one_line
from approxgrad.models.shapes import shape_fault
from approxgrad.study.sources import AUTO

SMALLEST_STEP, LARGEST_STEP = 1e-30, 1e30
"""Float32 ends beyond them, and no feature is measured in such units."""

PLACEHOLDERS = (("{method}", "once", (1,)), ("{step}", "once", (1,)), ("{samples}", "at most once", (0, 1)))
"""What the names of cached arrays tell, and how often each stands in their pattern."""


def name_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the names that the configuration uses without defining them, and models that are no source."""
    faults = []
    for number, experiment in enumerate(config["experiments"]):
        for key in ("datasets", "models", "methods"):
            known = list(config[key])
            faults += [
                f"experiments[{number}].{key}: got {name!r}, expected one of {', '.join(known)}"
                for name in experiment[key]
                if name not in known
            ]
        faults += [
            f"experiments[{number}].samples_by_method.{name}: is not among the entry's methods, "
            + ", ".join(experiment["methods"])
            for name in experiment["samples_by_method"]
            if name not in experiment["methods"]
        ]
    faults += option_faults(config)
    faults += [
        f"models.{name}.training: stands beside weights, expected either training or weights"
        if "training" in options
        else f"models.{name}: expected either training or weights"
        for name, options in config["models"].items()
        if ("training" in options) == ("weights" in options)
    ]
    for name, method in config["methods"].items():
        reference = method.get("reference", name)
        exact_methods = [
            other
            for other, options in config["methods"].items()
            if options["attribution"] != "integrated_gradients_published"
        ]
        if reference not in exact_methods:
            faults.append(
                f"methods.{name}.reference: got {reference!r}, expected a method with an exact counterpart: "
                + ", ".join(exact_methods)
            )
    return faults


def option_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the options of factories that are no keyword arguments, or that a file of weights cannot hold."""
    faults = []
    for name, model in config["models"].items():
        for key, value in model.get("options", {}).items():
            own = f"models.{name}.options"
            if isinstance(key, str) and key.isidentifier():
                faults += _value_faults(value, f"{own}.{key}")
            else:
                faults.append(f"{own}: got the name {key!r}, expected one that Python takes for an argument")
    return faults


def _value_faults(value: Any, key: str) -> list[str]:
    if isinstance(value, list):
        return [fault for place, item in enumerate(value) for fault in _value_faults(item, f"{key}[{place}]")]
    if isinstance(value, dict):
        names = [fault for own in value for fault in _value_faults(own, f"{key}, a name in it")]
        return names + [fault for own, item in value.items() for fault in _value_faults(item, f"{key}.{own}")]
    if value is None or isinstance(value, (bool, int, float, str)):
        return []
    return [f"{key}: got {one_line(repr(value), 60)}, expected null, true, false, a number, text, a list or a mapping"]


def step_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the steps that no precision resolves, whatever the inputs are."""
    return [
        f"experiments[{number}].steps[{place}]: got {step}, expected {SMALLEST_STEP:g} to {LARGEST_STEP:g}"
        for number, experiment in enumerate(config["experiments"])
        for place, step in enumerate(experiment["steps"])
        if step != AUTO and not SMALLEST_STEP <= step <= LARGEST_STEP
    ]


def sample_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the experiments that ask for more samples than there are test rows, where their number is known."""
    faults = []
    for number, experiment in enumerate(config["experiments"]):
        counts = {"samples": experiment["samples"]} | {
            f"samples_by_method.{name}": count for name, count in experiment["samples_by_method"].items()
        }
        for dataset in experiment["datasets"]:
            options = config["datasets"][dataset]
            rows = kind(options).test_rows(options)
            faults += [
                f"experiments[{number}].{key}: got {count}, expected at most {rows}, the test rows of {dataset}"
                for key, count in counts.items()
                if rows is not None and count > rows
            ]
    return faults


def file_faults(config: Mapping[str, Any]) -> list[str]:
    """Return a line for each file, address and pattern that cannot be used, as far as the options tell."""
    faults = []
    for name, options in config["datasets"].items():
        try:
            kind(options).sources(name, options)
        except ValueError as error:
            faults.append(f"datasets.{name}.{error}")
        for number, address in enumerate(options.get("download", {}).get("addresses", [])):
            try:
                check_address(address)
            except ValueError as error:
                faults.append(f"datasets.{name}.download.addresses[{number}]: {error}")
    for name, options in config["models"].items():
        try:
            check_text(options.get("weights", {}).get("file", "none"), "weights.file")
        except ValueError as error:
            faults.append(f"models.{name}.{error}")
    for name, options in config["cached_arrays"].items():
        faults += [
            f"cached_arrays.{name}.pattern: got {options['pattern']!r}, expected {word} {times}"
            for word, times, allowed in PLACEHOLDERS
            if options["pattern"].count(word) not in allowed
        ]
        faults += [
            f"cached_arrays.{name}.compare_with.{key}: got {own!r}, expected one of {', '.join(config[key + 's'])}"
            for key, own in options.get("compare_with", {}).items()
            if own not in config[f"{key}s"]
        ]
    return faults


def shape_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the normalisations, models and baselines that do not fit their data, where the shape of these is known."""
    shapes = {name: kind(options).feature_shape(options) for name, options in config["datasets"].items()}
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    faults = []
    for name, shape in known.items():
        options = config["datasets"][name]
        try:
            if isinstance(options.get("normalisation", {}), dict):
                configured(options, shape[0])
        except ValueError as error:
            faults.append(f"datasets.{name}.{error}")
    for number, experiment in enumerate(config["experiments"]):
        for dataset in filter(known.__contains__, experiment["datasets"]):
            for model in experiment["models"]:
                fault = shape_fault(config["models"][model].get("architecture", ""), known[dataset])
                if fault is not None:
                    faults.append(f"experiments[{number}].models: {model} does not fit {dataset}: {fault}")
        for dataset, method in product(filter(known.__contains__, experiment["datasets"]), experiment["methods"]):
            baseline, features = config["methods"][method].get("baseline"), math.prod(known[dataset])
            if isinstance(baseline, list) and len(baseline) != features:
                faults.append(
                    f"methods.{method}.baseline: got {len(baseline)} numbers, expected {features}, "
                    f"one for each feature of {dataset}"
                )
    return faults

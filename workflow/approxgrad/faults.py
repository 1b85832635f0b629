"""Faults of a configuration that a schema cannot state: one line each, with the key and what is allowed there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approxgrad.datasets import kind
from approxgrad.download import check_address


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
    faults += [
        f"models.{name}: expected either training or weights"
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
    """Return a line for each data set whose files are not clear, and for each address that cannot be used."""
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
    return faults

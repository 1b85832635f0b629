"""Checking what a configuration says of the files that data sets come from, before any of them is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from approxgrad.datasets import kind
from approxgrad.download import check_address


def file_faults(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a line for each data set whose files are not clear, and for each address that cannot be used."""
    faults = []
    for name, options in datasets.items():
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

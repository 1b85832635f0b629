"""Configuration files of the command line, checked before Snakemake reads them.

Some files would keep Snakemake busy for ever or fill the memory. Snakemake reads the profiles of the workflow first, so
these call this module.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from approxgrad.study.config_files import file_faults, one_line_each
from approxgrad.study.configuration import ConfigError

ENDINGS = (".yaml", ".yml", ".json")


def check_command_line() -> None:
    """End the program with one line for each fault of a file after ``--configfile``."""
    with one_line_each():
        check_arguments(sys.argv[1:])


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse configuration files of a command line that cannot be read, and targets in their place.

    Raises a ConfigError with one line for each fault.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    parser.add_argument("--config", nargs="*", default=[])
    try:
        options = parser.parse_known_args(list(arguments))[0]
    except (argparse.ArgumentError, SystemExit):
        return  # Snakemake says what is wrong.
    faults = [
        f"{value}: is read as a value of --config, expected KEY=VALUE; targets stand before --config"
        for value in options.config
        if "=" not in value
    ]
    for place, name in enumerate(options.configfile):
        path = Path(name)
        found = file_faults(path) if path.exists() else [f"{name}: there is no such configuration file"]
        is_target = path.is_file() or path.is_dir() or not path.exists()
        if place and found and is_target and path.suffix not in ENDINGS:
            found = [
                f"{name}: is read as a configuration file, because it stands after --configfile; targets stand before"
            ]
        faults += found
    if faults:
        raise ConfigError("\n".join(faults))

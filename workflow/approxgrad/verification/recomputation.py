"""Files of a study computed again in a folder of their own, by the workflow itself and from the same upstream files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from approxgrad.study.defaults import default_files, over_defaults, read_defaults

UPSTREAM = ("data", "results/models", "results/steps")
"""Folders with what attributions are computed from. Chosen steps are among them: another machine, whose rounding is
another, may choose others, and no map would be near those with the old ones."""


def compute_again(
    targets: Sequence[str],
    folder: Path,
    *,
    snakefile: str,
    rules: Sequence[str],
    config: Mapping[str, Any],
    files: Iterable[str],
    cores: int,
) -> str:
    """Compute files of the study in the working directory again; the study itself is only read.

    Parameters
    ----------
    targets : sequence of str
        Paths as they are in the study.
    folder : path
        An empty folder, in which they come to lie under the same paths.
    snakefile : str
        The workflow.
    rules : sequence of str
        The rules that may run; those that make the folders of :data:`UPSTREAM` are not among them.
    config : mapping
        The study's configuration.
    files : iterable of str
        A user's own files that are looked for in the working directory.
    cores : int
        How many cores to use.

    Returns
    -------
    str
        What Snakemake or a job says if it failed; empty if all files are there.
    """
    for name in (*(folder for folder in UPSTREAM if Path(folder).is_dir()), *files):
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(name).absolute())
    configfile = folder / "study.yaml"
    defaults = read_defaults(default_files(Path(snakefile).parent)[:1])
    configfile.write_text(yaml.safe_dump(over_defaults(with_absolute_paths(config), defaults), sort_keys=False))
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(cores), "--keep-going", "--nolock"]
    command += ["--allowed-rules", *rules, "--snakefile", snakefile, "--directory", str(folder)]
    command += ["--configfile", str(configfile), "--executor", "local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - own arguments
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith("approxgrad:") or "Exception" in line or "Error" in line]
    return (reasons or lines or ["no reason given"])[0]


def with_absolute_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose files are found from any folder."""
    datasets = {name: _absolute(options, "path") for name, options in config["datasets"].items()}
    arrays = {name: _absolute(options, "folder") for name, options in config["cached_arrays"].items()}
    models = {
        name: {**options, "weights": _absolute(options["weights"], "file")}
        if "repository" not in options.get("weights", {"repository": ""})
        else dict(options)
        for name, options in config["models"].items()
    }
    return {**config, "datasets": datasets, "models": models, "cached_arrays": arrays}


def _absolute(options: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {**options, key: str(Path(options[key]).absolute())} if key in options else dict(options)

"""Files of a study computed again by the workflow itself, in another folder, and what would make them now."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from approxgrad.models.kind import WEIGHTS_FILE
from approxgrad.study.defaults import default_files, over_defaults, read_defaults

if TYPE_CHECKING:
    from approxgrad.study.study import Study

UPSTREAM = ("data", "results/models", "results/spectra", "results/steps")
"""Folders that attributions are computed from. Chosen settings are among them: a machine that rounds differently may
choose others, and no map would be near the old one."""


def compute_again(
    study: Study, targets: Sequence[str], folder: Path, *, snakefile: str, rules: Sequence[str], cores: int
) -> str:
    """Compute files of the study in the working directory again; the study itself is only read.

    The targets get the same paths in an empty folder. Of the workflow `snakefile` only the `rules` may run, which do
    not make the folders of :data:`UPSTREAM`. Return what Snakemake or a job says if it failed; nothing if all files
    were made.
    """
    own = dict.fromkeys(file for _, model in study.models for file in study.opened_files(model))
    for name in (*(name for name in UPSTREAM if Path(name).is_dir()), *own):
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(name).absolute())
    configfile = folder / "study.yaml"
    defaults = read_defaults(default_files(Path(snakefile).parent)[:1])
    configfile.write_text(yaml.safe_dump(over_defaults(with_absolute_paths(study), defaults), sort_keys=False))
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(cores), "--keep-going", "--nolock"]
    command += ["--allowed-rules", *rules, "--snakefile", snakefile, "--directory", str(folder)]
    command += ["--configfile", str(configfile), "--executor", "local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - own arguments
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith("approxgrad:") or "Exception" in line or "Error" in line]
    return (reasons or lines or ["no reason given"])[0]


def with_absolute_paths(study: Study) -> dict[str, Any]:
    """Return the configuration with absolute paths of the user's own files, which are then found from any folder."""
    document: dict[str, Any] = study.document
    for name, options in document["datasets"].items():
        _place(options, study.dataset(name).own_files)
    for name, options in document["models"].items():
        own = study.model(name).own_files
        _place(options, {WEIGHTS_FILE: own[WEIGHTS_FILE][0]} if WEIGHTS_FILE in own else {})
    for options in document["cached_arrays"].values():
        _place(options, {"folder": options["folder"]})
    document["extensions"] = [str(Path(name).absolute()) for name in study.config.extensions]
    return document


def _place(options: dict[str, Any], paths: Mapping[str, str]) -> None:
    """Put absolute paths in the place of options such as ``files.train``."""
    for key, path in paths.items():
        *outer, last = key.split(".")
        inner = options
        for name in outer:
            inner = inner[name]
        inner[last] = str(Path(path).absolute())


@dataclass(frozen=True)
class Origin:
    """The parameters of a rule, its script and the package's files that it depends on, and its other inputs by name."""

    parameters: Mapping[str, Any]
    code: Sequence[str]
    inputs: Mapping[str, Any]


def origin(rules: Iterable[Any], path: str) -> Origin:
    """Return what makes a file, from all rules of a workflow; a ValueError if none of them does."""
    # Only Snakemake's own process needs this import.
    from snakemake.jobs import Wildcards

    for rule in rules:
        if rule.is_producer(path):
            wildcards = Wildcards(fromdict=rule.get_wildcards(path))
            files = rule.expand_input(wildcards)[0]
            parameters = rule.expand_params(wildcards, files, rule.expand_output(wildcards)[0], None)[0]
            inputs = {name: _plain(value) for name, value in files.items()}
            code = inputs.pop("code")
            return Origin(dict(parameters.items()), [code] if isinstance(code, str) else code, inputs)
    raise ValueError(f"{path}: no rule makes it")


def _plain(value: Any) -> str | list[str]:
    """Return paths as plain text."""
    return str(value) if isinstance(value, str) else [str(path) for path in value]

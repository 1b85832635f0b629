"""What a run was: its configuration, the versions it computed with, and how long its jobs took."""

from __future__ import annotations

import csv
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from approxgrad.report.pages import Section, Table, page, sections_html
from approxgrad.storage.tables import read_table

PACKAGES = (
    *("approxgrad", "snakemake", "torch", "torchvision", "captum", "numpy", "scipy", "pandas", "pyarrow"),
    *("scikit-learn", "safetensors", "matplotlib", "altair"),
)


@dataclass(frozen=True)
class Benchmark:
    """The record of one job: its rule, the seconds it took and the most memory it held, in MiB."""

    rule: str
    seconds: float
    memory: float | None


def read_benchmarks(folder: Path | str, names: Iterable[str]) -> list[Benchmark]:
    """Return the records of the jobs of a study, sorted by path; those that cannot be read are left out.

    They are ``<rule>.tsv`` or ``<rule>/<wildcard>/.../<wildcard>.tsv`` in the folder. A record with a wildcard that is
    not among the `names` is of an earlier study and left out.
    """
    known = set(names)
    records = []
    for path in sorted(Path(folder).glob("**/*.tsv")):
        rule, *wildcards = path.relative_to(folder).with_suffix("").parts
        if set(wildcards) <= known:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
            if rows and (seconds := _number(rows[-1].get("s"))) is not None:
                # Snakemake writes "NA" for the memory of a job that ended before it was looked at.
                records.append(Benchmark(rule, seconds, _number(rows[-1].get("max_rss"))))
    return records


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def run_times(records: Sequence[Benchmark]) -> Table:
    """Return jobs, time and memory of each rule, the rule with the longest total first."""
    rules: dict[str, list[Benchmark]] = {}
    for record in records:
        rules.setdefault(record.rule, []).append(record)
    totals = {rule: sum(record.seconds for record in jobs) for rule, jobs in rules.items()}
    rows = []
    for rule in sorted(rules, key=lambda rule: (-totals[rule], rule)):
        seconds = [record.seconds for record in rules[rule]]
        memory = [record.memory for record in rules[rule] if record.memory is not None]
        largest = f"{max(memory):,.0f}" if memory else "unknown"
        rows.append([rule, f"{len(seconds):,}", *map(_seconds, (totals[rule], median(seconds), max(seconds))), largest])
    caption = (
        "Wall-clock time of the jobs of each rule, and the most memory that one of them held, as recorded in "
        "benchmarks/. Jobs run in parallel, so a run takes less than the sum. Jobs without a record are not counted."
    )
    header = ["rule", "jobs", "total (s)", "median (s)", "longest (s)", "memory (MiB)"]
    if rows:
        total = sum(totals.values())
        rows.append(["all", f"{len(records):,}", _seconds(total), *([""] * 3)])
    return Table(caption, header, rows)


def versions() -> Table:
    """Return the versions of Python and of the packages that results depend on, as installed here."""
    rows = [["Python", platform.python_version()]]
    for name in PACKAGES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "from the checkout, not installed"])
    return Table("Versions when this page was made.", ["package", "version"], rows)


def computed_with(paths: Sequence[Path | str]) -> Table:
    """Return the devices and versions that attribution files name, and the number of files with each."""
    counts: dict[tuple[str, ...], int] = {}
    for path in paths:
        _, document = read_table(path, columns=["sample"])
        used = ", ".join(f"{name} {number}" for name, number in sorted(document.get("versions", {}).items()))
        key = (str(document.get("device", "unknown")), str(document.get("threads", "unknown")), used or "unknown")
        counts[key] = counts.get(key, 0) + 1
    rows = [[f"{number:,}", *key] for key, number in sorted(counts.items())]
    return Table("What the attributions were computed with.", ["files", "device", "threads", "versions"], rows)


def run_page(records: Sequence[Benchmark], attributions: Sequence[Path | str], config: Mapping[str, Any]) -> str:
    """Return a page with run times, what the attributions were computed with, versions and the whole configuration."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)
    about = "The configuration of this run with its defaults. As a file, it gives this study again: --configfile FILE."
    tables = {"Run times": run_times(records), "Computed with": computed_with(attributions), "Versions": versions()}
    sections = [Section(title, table=table) for title, table in tables.items()] + [Section("Configuration", [about])]
    return page("About this run", f'{sections_html(sections)}\n<pre tabindex="0">{escape(text)}</pre>')


def _seconds(value: float) -> str:
    return f"{value:,.1f}"

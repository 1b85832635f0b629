"""Make one table of the whole study, as parquet and CSV."""

from importlib import import_module

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import write_both
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    module, _, function = snakemake.params.made_by.partition(":")
    inputs, params = dict(snakemake.input.items()), dict(snakemake.params.items())
    table, metadata = getattr(import_module(module), function)(inputs, params)
    write_both(table, snakemake.output.parquet, snakemake.output.csv, metadata | {"provenance": provenance(snakemake)})
    log.summary = f"{len(table):,} rows"

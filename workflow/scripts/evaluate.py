"""Make a table of every sample: metrics, or completeness residuals."""

from importlib import import_module

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import evaluation_summary
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    module, _, function = snakemake.params.made_by.partition(":")
    inputs, params = dict(snakemake.input.items()), dict(snakemake.params.items())
    table = getattr(import_module(module), function)(inputs, params)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output[0], table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))
    if "reference" in table.column_names:
        log.summary = evaluation_summary(table)

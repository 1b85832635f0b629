"""Measures of maps that others cached as arrays."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.evaluation import evaluate_arrays
from approxgrad.provenance import provenance
from approxgrad.runtime import job
from approxgrad.summaries import evaluation_summary
from approxgrad.tables import write_table

with job(snakemake) as log:
    parameters = snakemake.params
    table = evaluate_arrays(snakemake.input.arrays, parameters.steps, parameters.scheme, parameters.arrays)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output.metrics, table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))
    log.summary = evaluation_summary(table)

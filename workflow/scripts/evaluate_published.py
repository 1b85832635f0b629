"""Measures of maps that others cached as arrays."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.evaluation import evaluate_arrays
from approxgrad.runtime import job
from approxgrad.summaries import evaluation_summary
from approxgrad.tables import write_table

with job(snakemake) as log:
    parameters = snakemake.params
    table = evaluate_arrays(snakemake.input.arrays, parameters.steps, parameters.scheme, parameters.arrays)
    write_table(snakemake.output.metrics, table, dict(snakemake.wildcards.items()))
    log.info("%d rows", len(table))
    log.summary = evaluation_summary(table)

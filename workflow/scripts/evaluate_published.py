"""Measures of maps that others cached as arrays."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.metric_tables import evaluate_arrays
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import evaluation_summary
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    parameters = snakemake.params
    table = evaluate_arrays(snakemake.input.arrays, parameters.steps, parameters.scheme, parameters.arrays)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output.metrics, table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))
    log.summary = evaluation_summary(table)

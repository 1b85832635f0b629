"""Compare approximated with exact attributions, and both with the true effects where they are known."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.metric_tables import evaluate_method
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import evaluation_summary
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    table = evaluate_method(snakemake.input.exact, snakemake.input.approximated)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output.metrics, table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))
    log.summary = evaluation_summary(table)

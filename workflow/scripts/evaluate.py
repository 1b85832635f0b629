"""Compare approximated with exact attributions, and both with the true effects where they are known."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.evaluation import evaluate_method
from approxgrad.provenance import provenance
from approxgrad.runtime import job
from approxgrad.summaries import evaluation_summary
from approxgrad.tables import write_table

with job(snakemake) as log:
    table = evaluate_method(snakemake.input.exact, snakemake.input.approximated)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output.metrics, table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))
    log.summary = evaluation_summary(table)

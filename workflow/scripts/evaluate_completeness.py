"""Compare the sum of the attributions with the difference of the outputs."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.completeness import completeness_residuals
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    table = completeness_residuals(snakemake.input.attributions, snakemake.params.cells)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output.residuals, table, names | {"provenance": provenance(snakemake)})
    log.info("%d rows", len(table))

"""Table of the models' test measures."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import model_measures, write_both
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    models = model_measures(snakemake.input.measures, snakemake.params.models, snakemake.params.kinds)
    write_both(models, snakemake.output.parquet, snakemake.output.csv, {"provenance": provenance(snakemake)})
    log.summary = f"{len(models):,} measures"

"""Table of the step to use for each data set, model, method, scheme and precision, and why."""

import pandas as pd

from approxgrad.evaluation.convergence import recommended_steps
from approxgrad.evaluation.frames import read_metrics, rounding_scales, write_both
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.comparisons, strict=True)
    metrics = pd.concat([read_metrics(path, *names) for path, names in files])
    scales = rounding_scales(snakemake.input.exact, snakemake.params.references)
    table = recommended_steps(metrics, scales)
    write_both(table, snakemake.output.parquet, snakemake.output.csv, {"provenance": provenance(snakemake)})
    log.summary = f"{len(table):,} curves"

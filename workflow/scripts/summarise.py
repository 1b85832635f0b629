"""Mean, spread and quartiles of every metric over the samples."""

import pandas as pd

from approxgrad.evaluation import summarise
from approxgrad.frames import read_metrics, write_both
from approxgrad.runtime import job

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.comparisons, strict=True)
    summary = summarise(pd.concat([read_metrics(path, *names) for path, names in files]))
    write_both(summary, snakemake.output.parquet, snakemake.output.csv)
    log.summary = f"{len(summary):,} rows"

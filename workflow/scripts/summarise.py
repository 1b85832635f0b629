"""Mean, median, their intervals, spread and quartiles of every metric over the samples."""

from dataclasses import asdict

import pandas as pd

from approxgrad.evaluation import summarise
from approxgrad.frames import read_metrics, write_both
from approxgrad.provenance import provenance
from approxgrad.runtime import job
from approxgrad.uncertainty import Bootstrap

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.comparisons, strict=True)
    bootstrap = Bootstrap(snakemake.params.seed, **snakemake.params.uncertainty)
    summary = summarise(pd.concat([read_metrics(path, *names) for path, names in files]), bootstrap)
    metadata = {"uncertainty": asdict(bootstrap), "provenance": provenance(snakemake)}
    write_both(summary, snakemake.output.parquet, snakemake.output.csv, metadata)
    log.summary = f"{len(summary):,} rows"

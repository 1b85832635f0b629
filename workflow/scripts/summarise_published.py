"""Mean, spread and quartiles of every metric over the cached maps."""

import pandas as pd

from approxgrad.evaluation import summarise
from approxgrad.frames import read_metrics, write_both
from approxgrad.runtime import job

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.sources, strict=True)
    frames = [read_metrics(path, dataset=source, model="published", method=method) for path, (source, method) in files]
    summary = summarise(pd.concat(frames)).drop(columns="model").rename(columns={"dataset": "source"})
    write_both(summary, snakemake.output.parquet, snakemake.output.csv)
    log.summary = f"{len(summary):,} rows"

"""Mean, median, their intervals, spread and quartiles of every metric over the cached maps."""

from dataclasses import asdict

import pandas as pd

from approxgrad.evaluation.frames import read_metrics, write_both
from approxgrad.evaluation.metric_tables import summarise
from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.sources, strict=True)
    frames = [read_metrics(path, dataset=source, model="published", method=method) for path, (source, method) in files]
    bootstrap = Bootstrap(snakemake.params.seed, **snakemake.params.uncertainty)
    summary = summarise(pd.concat(frames), bootstrap).drop(columns="model").rename(columns={"dataset": "source"})
    metadata = {"uncertainty": asdict(bootstrap), "provenance": provenance(snakemake)}
    write_both(summary, snakemake.output.parquet, snakemake.output.csv, metadata)
    log.summary = f"{len(summary):,} rows"

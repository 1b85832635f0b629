"""Differences between gradient sources on the same samples."""

from dataclasses import asdict

import pandas as pd

from approxgrad.evaluation.frames import read_metrics, write_both
from approxgrad.evaluation.paired import compare_sources
from approxgrad.evaluation.uncertainty import Bootstrap
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    files = zip(snakemake.input.metrics, snakemake.params.comparisons, strict=True)
    bootstrap = Bootstrap(snakemake.params.seed, **snakemake.params.uncertainty)
    paired = compare_sources(pd.concat([read_metrics(path, *names) for path, names in files]), bootstrap)
    metadata = {"uncertainty": asdict(bootstrap), "provenance": provenance(snakemake)}
    write_both(paired, snakemake.output.parquet, snakemake.output.csv, metadata)
    log.summary = f"{len(paired):,} rows"

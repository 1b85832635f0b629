"""Download the source of a data set and check its MD5 sum."""

from pathlib import Path

from approxgrad.datasets.download import download
from approxgrad.running.job import job

with job(snakemake) as log:
    download(target=Path(snakemake.output.archive), **snakemake.params.options)
    log.summary = f"{Path(snakemake.output.archive).stat().st_size:,} bytes"

"""Fetch the archive of a data set and check its MD5 sum."""

from pathlib import Path

from approxgrad.datasets.download import download
from approxgrad.running.job import job

with job(snakemake) as log:
    options = snakemake.params.options
    download(
        options["addresses"],
        Path(snakemake.output.archive),
        options["md5"],
        retries=options["retries"],
        timeout=options["timeout"],
    )
    log.summary = f"{Path(snakemake.output.archive).stat().st_size:,} bytes"

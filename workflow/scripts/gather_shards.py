"""Put the shards of an attribution together."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.running.job import job
from approxgrad.study.shards import gather

with job(snakemake) as log:
    metadata = gather(snakemake.input.shards, snakemake.output.attributions)
    log.info("%s", metadata)
    log.summary = f"{len(snakemake.input.shards)} shards, {metadata['model_evaluations']:,} evaluations"

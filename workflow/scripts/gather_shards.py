"""Put the shards of an attribution together."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.running.job import job
from approxgrad.running.summaries import gathering_summary
from approxgrad.study.shards import gather

with job(snakemake) as log:
    metadata = gather(snakemake.input.shards, snakemake.output.attributions)
    log.info("%s", metadata)
    log.summary = gathering_summary(len(snakemake.input.shards), metadata)

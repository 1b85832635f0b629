"""Fetch a weight file from a Hugging Face repository."""

import shutil

from approxgrad.models.weights import download_weights
from approxgrad.running.job import job
from approxgrad.storage.files import write_atomically

with job(snakemake) as log:
    source = snakemake.params.source
    cached = download_weights(source["repository"], source["file"], source.get("revision"))
    write_atomically(snakemake.output.weights, lambda path: shutil.copyfile(cached, path))
    log.info("copied from %s", cached)

"""Fetch a weight file from a Hugging Face repository."""

import shutil

from approxgrad.runtime import job
from approxgrad.tables import write_atomically
from approxgrad.weights import download_weights

with job(snakemake) as log:
    source = snakemake.params.source
    cached = download_weights(source["repository"], source["file"], source.get("revision"))
    write_atomically(snakemake.output.weights, lambda path: shutil.copyfile(cached, path))
    log.info("copied from %s", cached)

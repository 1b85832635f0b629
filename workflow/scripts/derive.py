"""Attribute with a method that is a function of input and gradient, from gradients that several share."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.attributions import write_attributions
from approxgrad.study.derived import derive_cell

with job(snakemake) as log:
    result = derive_cell(snakemake.input.gradient, snakemake.params.method)
    result.metadata["provenance"] = provenance(snakemake)
    write_attributions(snakemake.output.attributions, result)
    log.info("%s", result.metadata)
    log.summary = f"{len(result.sample):,} samples, from gradients that are there"

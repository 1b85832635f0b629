"""Attribute the drawn test rows, or a shard of them, with one method and gradient source."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.gradients.source import source_of
from approxgrad.models.device import machine
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import attribution_summary
from approxgrad.storage.attributions import write_attributions
from approxgrad.study.cells import attribute_cell
from approxgrad.study.shards import named_shard
from approxgrad.study.subjects import job_options

with job(snakemake) as log:
    parameters, options = snakemake.params, job_options(snakemake)
    shard = snakemake.wildcards.get("shard")
    result, seconds = attribute_cell(
        **options,
        method=parameters.method,
        samples=parameters.samples,
        seed=parameters.seed,
        choice=snakemake.input.get("choice") or None,
        spectrum=snakemake.input.get("spectrum") or None,
        compile_model=parameters.compile_model,
        shard=named_shard(shard) if shard else None,
    )
    result.metadata["provenance"] = provenance(snakemake, machine(options["device"]))
    write_attributions(snakemake.output.attributions, result)
    log.info("%s", result.metadata)
    exact = source_of(parameters.gradient).is_exact
    log.summary = attribution_summary(len(result.sample), result.metadata, seconds, exact)

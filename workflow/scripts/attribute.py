"""Attribute the drawn test rows, or a shard of them, with one method and gradient source."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.gradients.source import source_of
from approxgrad.models.device import machine, set_up_torch
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import attribution_summary
from approxgrad.storage.attributions import write_attributions
from approxgrad.study.cells import attribute_cell
from approxgrad.study.shards import named_shard

with job(snakemake) as log:
    parameters = snakemake.params
    evaluation = dict(parameters.evaluation)
    device = set_up_torch(parameters.device, evaluation.pop("threads"))
    shard = snakemake.wildcards.get("shard")
    result, seconds = attribute_cell(
        model=parameters.model,
        weights=snakemake.input.get("weights") or None,
        test=snakemake.input.test,
        training=snakemake.input.get("training") or None,
        method=parameters.method,
        gradient=parameters.gradient,
        samples=parameters.samples,
        sample_seed=parameters.sample_seed,
        seed=parameters.seed,
        choice=snakemake.input.get("choice") or None,
        spectrum=snakemake.input.get("spectrum") or None,
        compile_model=parameters.compile_model,
        device=device,
        **evaluation,
        shard=named_shard(shard) if shard else None,
    )
    result.metadata["provenance"] = provenance(snakemake, machine(device))
    write_attributions(snakemake.output.attributions, result)
    log.info("%s", result.metadata)
    exact = source_of(parameters.gradient).is_exact
    log.summary = attribution_summary(len(result.sample), result.metadata, seconds, exact)

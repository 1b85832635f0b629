"""Measure how much the maps of a method and gradient source change with the input."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.sensitivity import sensitivity_table
from approxgrad.models.device import machine
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.tables import write_table
from approxgrad.study.subjects import job_options

with job(snakemake) as log:
    inputs, params, options = snakemake.input, snakemake.params, job_options(snakemake)
    table, metadata = sensitivity_table(
        **options,
        attributions=inputs.attributions,
        options=params.options,
        moves_seed=params.moves_seed,
        method=params.method,
        seed=params.seed,
        choice=inputs.get("choice") or None,
        spectrum=inputs.get("spectrum") or None,
        compile_model=params.compile_model,
    )
    metadata["provenance"] = provenance(snakemake, machine(options["device"]))
    write_table(snakemake.output[0], table, metadata)
    log.info("%s", metadata)
    log.summary = f"{len(table)} maps, {metadata['model_evaluations']:,} evaluations"

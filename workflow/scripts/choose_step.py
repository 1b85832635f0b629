"""Choose the step of a finite difference for a model, at its inputs or along the paths to them."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.models.device import machine
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.step_tables import write_choice
from approxgrad.study.chosen_steps import choose_model_step
from approxgrad.study.subjects import job_options

with job(snakemake) as log:
    parameters, options = snakemake.params, job_options(snakemake)
    choice, metadata = choose_model_step(
        **options, path_options=parameters.path_options, samples=parameters.samples, seed=parameters.seed
    )
    metadata["provenance"] = provenance(snakemake, machine(options["device"]))
    write_choice(snakemake.output.choice, choice, metadata)
    log.info("%s", choice)
    log.summary = f"step {choice.step:g} ({choice.regime}), {choice.evaluations:,} evaluations"

"""Choose the step of a finite difference for a model, at its inputs or along the paths to them."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.models.device import machine, set_up_torch
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.step_tables import write_choice
from approxgrad.study.chosen_steps import choose_model_step

with job(snakemake) as log:
    parameters = snakemake.params
    evaluation = dict(parameters.evaluation)
    device = set_up_torch(parameters.device, evaluation.pop("threads"))
    choice, metadata = choose_model_step(
        model=parameters.model,
        weights=snakemake.input.get("weights") or None,
        test=snakemake.input.test,
        training=snakemake.input.get("training") or None,
        path_options=parameters.path_options,
        gradient=parameters.gradient,
        samples=parameters.samples,
        sample_seed=parameters.sample_seed,
        seed=parameters.seed,
        device=device,
        **evaluation,
    )
    write_choice(snakemake.output.choice, choice, metadata | {"provenance": provenance(snakemake, machine(device))})
    log.info("%s", choice)
    log.summary = f"step {choice.step:g} ({choice.regime}), {choice.evaluations:,} evaluations"

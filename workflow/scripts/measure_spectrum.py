"""Measure in which directions the gradients of a model lie, at some training rows."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.gradients.directional.spectrum_tables import write_spectrum
from approxgrad.models.device import machine, set_up_torch
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.study.measured_spectra import measure_spectrum

with job(snakemake) as log:
    parameters = snakemake.params
    evaluation = dict(parameters.evaluation)
    device = set_up_torch(parameters.device, evaluation.pop("threads"))
    spectrum, metadata = measure_spectrum(
        model=parameters.model,
        weights=snakemake.input.get("weights") or None,
        test=snakemake.input.test,
        training=snakemake.input.training,
        gradient=parameters.gradient,
        sample_seed=parameters.sample_seed,
        device=device,
        **evaluation,
    )
    write_spectrum(
        snakemake.output.spectrum, spectrum, metadata | {"provenance": provenance(snakemake, machine(device))}
    )
    log.summary = f"{spectrum.pilots} pilots, {spectrum.evaluations:,} evaluations"

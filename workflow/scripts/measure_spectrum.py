"""Measure in which directions the gradients of a model lie, at some training rows."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.gradients.directional.spectrum_tables import write_spectrum
from approxgrad.models.device import machine
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.study.measured_spectra import measure_spectrum
from approxgrad.study.subjects import job_options

with job(snakemake) as log:
    options = job_options(snakemake)
    spectrum, metadata = measure_spectrum(**options)
    metadata["provenance"] = provenance(snakemake, machine(options["device"]))
    write_spectrum(snakemake.output.spectrum, spectrum, metadata)
    log.summary = f"{spectrum.pilots} pilots, {spectrum.evaluations:,} evaluations"

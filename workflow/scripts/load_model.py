"""Fit weights that were trained elsewhere to a model and measure it on the test rows."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.extensions import load
from approxgrad.models.device import machine, set_up_torch
from approxgrad.models.making import evaluated_as, fitted_model
from approxgrad.models.training import measure_table
from approxgrad.models.weights import read_weights
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import foreign_summary
from approxgrad.storage.splits import read_split
from approxgrad.study.named_files import named_by

with job(snakemake) as log:
    load(snakemake.input.extensions)
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    test = read_split(snakemake.input.test)
    origin = {"provenance": provenance(snakemake, machine(device))}
    description = {"input_shape": test.feature_shape, "outputs": test.outputs, **parameters.architecture, **origin}
    with named_by({f"models.{snakemake.wildcards.model}.weights.file": snakemake.input.weights}):
        weights, where = read_weights(snakemake.input.weights, parameters.source.get("sha256"))
        measures, names = fitted_model(
            snakemake.output.weights,
            description,
            weights,
            snakemake.input.weights,
            test,
            device,
            **evaluated_as(snakemake.config["models"], snakemake.wildcards.model),
        )
    notes = [note for note in (where, names) if note]
    log.info("test %s, %s", measures, notes)
    log.summary = ", ".join([foreign_summary(measures, len(test.target), len(test.classes)), *notes])
    measure_table(snakemake.output.measures, measures, len(test.target), {"source": parameters.source, **origin})

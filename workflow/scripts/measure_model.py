"""Measure a model without weights on the test rows."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.datasets.class_names import check_outputs
from approxgrad.extensions import load
from approxgrad.models.device import machine, set_up_torch
from approxgrad.models.making import evaluated_as, measured_model
from approxgrad.models.opening import open_model, recorded
from approxgrad.models.training import measure_table
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import foreign_summary
from approxgrad.storage.splits import read_split

with job(snakemake) as log:
    load(snakemake.input.extensions)
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    test = read_split(snakemake.input.test)
    check_outputs(parameters.opening.get("outputs"), test.classes)
    model = open_model(parameters.kind, parameters.opening, None, test.feature_shape, test.outputs, device)
    evaluation = evaluated_as(snakemake.config["models"], snakemake.wildcards.model)
    measures = measured_model(model, test, device, **evaluation)
    log.info("test %s", measures)
    log.summary = foreign_summary(measures, len(test.target), len(test.classes))
    metadata = {"model": {"kind": parameters.kind, **parameters.opening}, **recorded(model)}
    metadata["provenance"] = provenance(snakemake, machine(device))
    measure_table(snakemake.output.measures, measures, len(test.target), metadata)

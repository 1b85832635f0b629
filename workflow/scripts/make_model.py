"""Make a model's file from training rows, or from another model, and measure the model on the test rows."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.descriptions import read
from approxgrad.extensions import load
from approxgrad.models.device import machine, set_up_torch
from approxgrad.models.kind import MODELS
from approxgrad.models.making import evaluated_as, made_model
from approxgrad.models.training import measure_table
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import foreign_summary
from approxgrad.storage.files import try_writing
from approxgrad.storage.splits import read_split

with job(snakemake) as log:
    load(snakemake.input.extensions)
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    test = read_split(snakemake.input.test)
    try_writing(snakemake.output)
    train = snakemake.input.get("train")
    known, measures = made_model(
        snakemake.output.file,
        read(MODELS[parameters.kind], parameters.opening),
        test,
        device,
        train=read_split(train) if train else None,
        source=snakemake.input.get("source") or None,
        seed=parameters.seed,
        **evaluated_as(snakemake.config["models"], snakemake.wildcards.model),
    )
    log.info("%s, test %s", known, measures)
    log.summary = foreign_summary(measures, len(test.target), len(test.classes))
    metadata = {"model": {"kind": parameters.kind, **parameters.opening}, "made": known, "seed": parameters.seed}
    metadata["provenance"] = provenance(snakemake, machine(device))
    measure_table(snakemake.output.measures, measures, len(test.target), metadata)

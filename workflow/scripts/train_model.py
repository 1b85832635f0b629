"""Train a model and measure it on the test rows."""

import pyarrow as pa
import torch

from approxgrad.extensions import load
from approxgrad.models.device import machine, set_up_torch
from approxgrad.models.making import evaluated_as, trained_model
from approxgrad.models.training import measure_table
from approxgrad.progress import progress_bar
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import training_summary
from approxgrad.storage.files import try_writing
from approxgrad.storage.splits import read_split
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    load(snakemake.input.extensions)
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    parts = {name: read_split(snakemake.input[name]) for name in ("train", "validation", "test")}
    test = parts["test"]
    try_writing(snakemake.output)
    origin = {"provenance": provenance(snakemake, machine(device))}
    description = {"input_shape": test.feature_shape, "outputs": test.outputs, **parameters.architecture, **origin}
    metadata = {"training": parameters.training, "seed": parameters.seed, "torch": torch.__version__, **origin}
    with progress_bar(parameters.training["epochs"], f"train {snakemake.wildcards.model}", "epoch") as bar:
        result, measures = trained_model(
            snakemake.output.weights,
            description,
            parts,
            parameters.training,
            device,
            seed=parameters.seed,
            **evaluated_as(snakemake.config["models"], snakemake.wildcards.model),
            bar=bar,
        )
    log.info("learning curves\n%s", result.curves.to_string(index=False))
    log.info("best epoch %d, test %s %s", result.best_epoch, measures, result.remark)
    log.summary = training_summary(result.curves, result.remark, measures["loss"])
    measure_table(snakemake.output.measures, measures, len(test.target), metadata)
    curves = pa.Table.from_pandas(result.curves, preserve_index=False)
    write_table(snakemake.output.curves, curves, {**metadata, "best_epoch": result.best_epoch})

"""Train a model and measure it on the test rows."""

import pyarrow as pa
import torch

from approxgrad.models.architectures import build_model, save_model
from approxgrad.models.device import machine, set_up_torch
from approxgrad.models.training import evaluate, measure_table, train
from approxgrad.progress import progress_bar
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.running.summaries import training_summary
from approxgrad.storage.tables import read_split, write_table

with job(snakemake) as log:
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    training, test = read_split(snakemake.input.train), read_split(snakemake.input.test)
    description = {"input_shape": training.feature_shape, "outputs": training.outputs, **parameters.architecture}
    torch.manual_seed(parameters.seed)
    model = build_model(**description).to(device)
    with progress_bar(parameters.training["epochs"], f"train {snakemake.wildcards.model}", "epoch") as bar:
        result = train(model, training, read_split(snakemake.input.validation), parameters.training, device, bar)
    measures = evaluate(model, test, device)
    log.info("learning curves\n%s", result.curves.to_string(index=False))
    log.info("best epoch %d, test %s", result.best_epoch, measures)
    log.summary = training_summary(result.curves)
    origin = {"provenance": provenance(snakemake, machine(device))}
    metadata = {"training": parameters.training, "seed": parameters.seed, "torch": torch.__version__, **origin}
    measure_table(snakemake.output.measures, measures, len(test.target), metadata)
    curves = pa.Table.from_pandas(result.curves, preserve_index=False)
    write_table(snakemake.output.curves, curves, {**metadata, "best_epoch": result.best_epoch})
    save_model(snakemake.output.weights, model, description | origin)

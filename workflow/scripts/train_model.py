"""Train a model and measure it on the test rows."""

import pyarrow as pa
import torch
from approxgrad.device import set_up_torch
from approxgrad.models import build_model, save_model
from approxgrad.progress import progress_bar
from approxgrad.runtime import job
from approxgrad.tables import read_split, write_table
from approxgrad.training import evaluate, train

with job(snakemake) as log:
    parameters = snakemake.params
    device = set_up_torch(parameters.device, parameters.torch_threads)
    training, test = read_split(snakemake.input.train), read_split(snakemake.input.test)
    options = {key: value for key, value in parameters.options.items() if key != "training"}
    description = {"input_shape": training.feature_shape, "outputs": training.outputs, **options}
    torch.manual_seed(parameters.seed)
    model = build_model(**description).to(device)
    schedule = parameters.options["training"]
    with progress_bar(schedule["epochs"], f"train {snakemake.wildcards.model}", "epoch") as bar:
        result = train(model, training, read_split(snakemake.input.validation), schedule, device, bar)
    measures = evaluate(model, test, device)
    log.info("learning curves\n%s", result.curves.to_string(index=False))
    log.info("best epoch %d, test %s", result.best_epoch, measures)
    metadata = {"options": parameters.options, "seed": parameters.seed, "torch": torch.__version__}
    rows = {"metric": list(measures), "value": list(measures.values()), "n": [len(test.target)] * len(measures)}
    write_table(snakemake.output.measures, pa.table(rows), metadata)
    curves = pa.Table.from_pandas(result.curves, preserve_index=False)
    write_table(snakemake.output.curves, curves, {**metadata, "best_epoch": result.best_epoch})
    save_model(snakemake.output.weights, model, description)

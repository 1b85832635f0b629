"""Ask a model how faithful the maps of a method are."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.faithfulness import faithfulness_table
from approxgrad.models.device import machine, set_up_torch
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.tables import write_table

with job(snakemake) as log:
    inputs, params = dict(snakemake.input.items()), dict(snakemake.params.items())
    device = set_up_torch(params["device"], params["threads"])
    table = faithfulness_table(inputs, params, device)
    names = dict(snakemake.wildcards.items())
    write_table(snakemake.output[0], table, names | {"provenance": provenance(snakemake, machine(device))})
    log.info("%d rows", len(table))
    log.summary = f"{len(table)} maps"

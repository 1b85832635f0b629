"""Split a data set into training, validation and test rows."""

from pathlib import Path

from approxgrad.datasets.kind import DATASETS
from approxgrad.descriptions import read
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job
from approxgrad.storage.splits import write_split
from approxgrad.study.named_files import dataset_keys, named_by

with job(snakemake) as log:
    kind, options, seed = snakemake.params.kind, snakemake.params.options, snakemake.params.seed
    dataset = read(DATASETS[kind], options)
    with named_by(dataset_keys(snakemake.wildcards.dataset, dataset)):
        parts = dataset.prepare(seed, [Path(source) for source in snakemake.input.sources])
    metadata = {"dataset": snakemake.wildcards.dataset, "options": {"kind": kind, **options}, "seed": seed}
    metadata["provenance"] = provenance(snakemake)
    for name, split in parts.items():
        write_split(snakemake.output[name], split, metadata)
        log.info("%s: %d rows of shape %s", name, len(split.target), split.feature_shape)
    notes = dict.fromkeys(note for split in parts.values() for note in split.notes)
    log.summary = "; ".join([", ".join(f"{len(own.target):,} {name}" for name, own in parts.items()) + " rows", *notes])

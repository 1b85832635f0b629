"""Smallest and largest value of the exact attributions."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import exact_ranges, write_both
from approxgrad.provenance.document import provenance
from approxgrad.running.job import job

with job(snakemake) as log:
    ranges = exact_ranges(snakemake.input.exact, snakemake.params.cells)
    write_both(ranges, snakemake.output.parquet, snakemake.output.csv, {"provenance": provenance(snakemake)})
    log.summary = f"{len(ranges):,} ranges"

"""Loss and accuracy (or R2) over the epochs."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.figures.learning_curves import curve_numbers, learning_curves
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job
from approxgrad.storage.tables import read_table

with job(snakemake):
    curves = read_table(snakemake.input.curves)[0].to_pandas()
    names = dict(snakemake.wildcards.items())
    save_numbers(curve_numbers(curves, **names), snakemake.output.csv)
    save(learning_curves(curves, **names), snakemake.output.svg, snakemake.output.png)

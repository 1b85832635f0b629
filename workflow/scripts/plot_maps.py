"""Picture of original, exact and approximated attribution maps and their difference."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.figures.maps import attribution_maps, map_numbers, read_columns
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    columns = read_columns(snakemake.params.methods, snakemake.input.approximated, snakemake.input.exact)
    save_numbers(map_numbers(columns, **names), snakemake.output.csv)
    save(attribution_maps(columns, **names), snakemake.output.svg, snakemake.output.png)

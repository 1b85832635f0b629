"""Draw a figure, and write its numbers."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.figures.figure import FIGURES
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    figure = FIGURES[snakemake.params.figure]()
    drawn, numbers = figure.draw(
        dict(snakemake.input.items()), snakemake.params.options, dict(snakemake.wildcards.items())
    )
    paths = dict(snakemake.output.items())
    save_numbers(numbers, paths.pop("csv"))
    save(drawn, *paths.values(), **snakemake.params.written)

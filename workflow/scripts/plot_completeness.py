"""Completeness residual of Integrated Gradients over the gradient sources."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import read_keyed
from approxgrad.figures.completeness import completeness_boxplots, completeness_numbers
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    names = {"dataset": snakemake.wildcards.dataset, "model": snakemake.wildcards.model}
    residuals = read_keyed(snakemake.input.residuals, **names)
    methods = snakemake.params.methods
    save_numbers(completeness_numbers(residuals, **names, methods=methods), snakemake.output.csv)
    figure = completeness_boxplots(residuals, **names, methods=methods, steps=snakemake.params.steps)
    save(figure, snakemake.output.svg, snakemake.output.png)

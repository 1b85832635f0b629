"""Box plots of agreement with the exact attribution over the step sizes."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import read_step_metrics
from approxgrad.figures.boxplots import boxplot_numbers, boxplots
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    metrics = read_step_metrics(snakemake.input.metrics, **names)
    save_numbers(boxplot_numbers(metrics, **names), snakemake.output.csv)
    parameters = snakemake.params
    figure = boxplots(metrics, **names, reference_method=parameters.reference, steps=parameters.steps)
    save(figure, snakemake.output.svg, snakemake.output.png)

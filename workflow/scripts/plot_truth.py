"""Violins of the correlation with the true effects."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import read_step_metrics
from approxgrad.figures.style import save, save_numbers
from approxgrad.figures.violins import truth_violins, violin_numbers
from approxgrad.running.job import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    metrics = read_step_metrics(snakemake.input.metrics, **names)
    save_numbers(violin_numbers(metrics, **names), snakemake.output.csv)
    parameters = snakemake.params
    figure = truth_violins(metrics, **names, reference_method=parameters.reference, steps=parameters.steps)
    save(figure, snakemake.output.svg, snakemake.output.png)

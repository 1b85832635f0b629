"""Violins of the correlation with the true effects."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.style import save
from approxgrad.figures.violins import truth_violins
from approxgrad.frames import read_step_metrics
from approxgrad.runtime import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    metrics = read_step_metrics(snakemake.input.metrics, **names)
    figure = truth_violins(metrics, **names, reference_method=snakemake.params.reference)
    save(figure, snakemake.output.svg, snakemake.output.png)

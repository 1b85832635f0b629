"""Box plots of agreement with the exact attribution over the step sizes."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.style import save
from approxgrad.frames import read_step_metrics
from approxgrad.runtime import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    metrics = read_step_metrics(snakemake.input.metrics, **names)
    figure = boxplots(metrics, **names, reference_method=snakemake.params.reference)
    save(figure, snakemake.output.svg, snakemake.output.png)

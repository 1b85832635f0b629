"""Box plots of agreement with the exact attribution over the step sizes."""

from approxgrad.evaluation import read_metrics
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.style import save
from approxgrad.runtime import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    metrics = read_metrics(snakemake.input.metrics, **names)
    save(boxplots(metrics, **names), snakemake.output.svg, snakemake.output.png)

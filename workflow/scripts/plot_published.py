"""Box plots of cached maps, beside the study's own where it has them."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.published import published_boxplots
from approxgrad.figures.style import save
from approxgrad.frames import read_metrics, read_step_metrics
from approxgrad.runtime import job

with job(snakemake):
    method, shown = snakemake.wildcards.method, snakemake.params.shown
    names = {"dataset": shown["dataset"], "model": shown["model"], "method": method}
    reference = snakemake.params.reference
    published = read_metrics(snakemake.input.published, **names)
    if snakemake.input.get("own"):
        figure = published_boxplots(published, read_step_metrics(snakemake.input.own, **names), **names)
    else:
        figure = boxplots(published, **names, reference_method=reference)
    save(figure, snakemake.output.svg, snakemake.output.png)

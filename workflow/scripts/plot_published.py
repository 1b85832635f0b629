"""Box plots of cached maps, beside the study's own where it has them."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import read_metrics, read_step_metrics
from approxgrad.figures.boxplots import boxplot_numbers, boxplots
from approxgrad.figures.published import published_boxplots, published_numbers
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    method, shown = snakemake.wildcards.method, snakemake.params.shown
    names = {"dataset": shown["dataset"], "model": shown["model"], "method": method}
    reference, steps = snakemake.params.reference, snakemake.params.steps
    published = read_metrics(snakemake.input.published, **names)
    if snakemake.input.get("own"):
        own = read_step_metrics(snakemake.input.own, **names)
        numbers = published_numbers(published, own, **names)
        figure = published_boxplots(published, own, **names, steps=steps)
    else:
        numbers = boxplot_numbers(published, **names)
        figure = boxplots(published, **names, reference_method=reference, steps=steps)
    save_numbers(numbers, snakemake.output.csv)
    save(figure, snakemake.output.svg, snakemake.output.png)

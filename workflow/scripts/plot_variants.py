"""Error of the published variant of Integrated Gradients beside that of the correct one."""

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.frames import read_step_metrics
from approxgrad.figures.style import save, save_numbers
from approxgrad.figures.variants import variant_numbers, variants
from approxgrad.running.job import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    correct = read_step_metrics(snakemake.input.correct, **names | {"method": snakemake.params.reference})
    published = read_step_metrics(snakemake.input.published, **names)
    places = {"dataset": names["dataset"], "model": names["model"]}
    save_numbers(variant_numbers(correct, published, **places), snakemake.output.csv)
    save(variants(correct, published, **names), snakemake.output.svg, snakemake.output.png)

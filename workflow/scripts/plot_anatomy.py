"""Error against step of every method of a data set and model, with slopes and best steps."""

import pandas as pd

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.evaluation.convergence import error_curves
from approxgrad.evaluation.frames import read_metrics
from approxgrad.figures.anatomy import anatomy
from approxgrad.figures.style import save, save_numbers
from approxgrad.running.job import job

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    files = zip(snakemake.input.metrics, snakemake.params.methods, strict=True)
    curves = error_curves(pd.concat([read_metrics(path, **names, method=method) for path, method in files]))
    save_numbers(curves, snakemake.output.csv)
    save(anatomy(curves, **names, methods=snakemake.params.methods), snakemake.output.svg, snakemake.output.png)

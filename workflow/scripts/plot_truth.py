"""Violins of the correlation with the true effects."""

from approxgrad.figures.style import save
from approxgrad.figures.violins import truth_violins
from approxgrad.runtime import job
from approxgrad.tables import read_table

with job(snakemake):
    metrics = read_table(snakemake.input.metrics)[0].to_pandas()
    save(truth_violins(metrics, **dict(snakemake.wildcards.items())), snakemake.output.svg, snakemake.output.png)

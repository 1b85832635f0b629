"""Box plots of agreement with the exact attribution over the step sizes."""

from approxgrad.figures.boxplots import boxplots
from approxgrad.figures.style import save
from approxgrad.runtime import job
from approxgrad.tables import read_table

with job(snakemake):
    metrics = read_table(snakemake.input.metrics)[0].to_pandas()
    save(boxplots(metrics, **dict(snakemake.wildcards.items())), snakemake.output.svg, snakemake.output.png)

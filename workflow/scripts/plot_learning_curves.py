"""Loss and accuracy (or R2) over the epochs."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.learning_curves import learning_curves
from approxgrad.figures.style import save
from approxgrad.runtime import job
from approxgrad.tables import read_table

with job(snakemake):
    curves = read_table(snakemake.input.curves)[0].to_pandas()
    save(learning_curves(curves, **dict(snakemake.wildcards.items())), snakemake.output.svg, snakemake.output.png)

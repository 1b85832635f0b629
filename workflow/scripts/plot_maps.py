"""Picture of original, approximated and exact attribution maps."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.maps import attribution_maps
from approxgrad.figures.style import save
from approxgrad.runtime import job
from approxgrad.tables import read_attributions

with job(snakemake):
    files = zip(snakemake.params.methods, snakemake.input.approximated, snakemake.input.exact, strict=True)
    columns = [(method, read_attributions(path), read_attributions(exact)) for method, path, exact in files]
    figure = attribution_maps(columns, **dict(snakemake.wildcards.items()))
    save(figure, snakemake.output.svg, snakemake.output.png)

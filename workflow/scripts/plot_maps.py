"""Picture of original, exact and approximated attribution maps and their difference."""

import approxgrad.startup  # noqa: F401 - comes first
from approxgrad.figures.maps import attribution_maps, map_numbers
from approxgrad.figures.style import save, save_numbers
from approxgrad.runtime import job
from approxgrad.tables import read_attributions

with job(snakemake):
    names = dict(snakemake.wildcards.items())
    files = zip(snakemake.params.methods, snakemake.input.approximated, snakemake.input.exact, strict=True)
    columns = [(method, read_attributions(path), read_attributions(exact)) for method, path, exact in files]
    save_numbers(map_numbers(columns, **names), snakemake.output.csv)
    save(attribution_maps(columns, **names), snakemake.output.svg, snakemake.output.png)

"""Tables of the models' test measures and of the range of exact attributions."""

from approxgrad.evaluation import exact_ranges, model_measures, write_both
from approxgrad.runtime import job

with job(snakemake) as log:
    models = model_measures(snakemake.input.measures, snakemake.params.models)
    write_both(models, snakemake.output.models, snakemake.output.models_csv)
    ranges = exact_ranges(snakemake.input.exact, snakemake.params.cells)
    write_both(ranges, snakemake.output.ranges, snakemake.output.ranges_csv)
    log.info("%d measures, %d ranges", len(models), len(ranges))

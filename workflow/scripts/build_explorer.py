"""A page to look at every comparison of the study."""

from itertools import islice

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.report.explorer import explorer_data, read_comparisons
from approxgrad.report.explorer_page import explorer_page
from approxgrad.running.job import job
from approxgrad.storage.tables import write_atomically

with job(snakemake) as log:
    paths = iter(snakemake.input.approximated)
    approximated = [list(islice(paths, number)) for number in snakemake.params.approximated]
    inputs = snakemake.input.metrics, snakemake.input.exact, approximated
    comparisons = read_comparisons(snakemake.params.comparisons, *inputs)
    html = explorer_page(explorer_data(comparisons))
    write_atomically(snakemake.output.page, lambda path: path.write_text(html, encoding="utf-8"))
    log.summary = f"{len(comparisons):,} comparisons, {len(html) / 1e6:.1f} MB"

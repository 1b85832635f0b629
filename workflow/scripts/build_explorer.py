"""A page to look at every comparison of the study."""

from itertools import islice

import approxgrad.running.startup  # noqa: F401 - comes first
from approxgrad.report.explorer import read_comparison
from approxgrad.report.explorer_page import explorer_page
from approxgrad.running.job import job
from approxgrad.storage.files import write_atomically

with job(snakemake) as log:
    paths = iter(snakemake.input.approximated)
    rows = zip(snakemake.params.comparisons, snakemake.input.metrics, snakemake.input.exact, strict=True)
    comparisons = [
        read_comparison(item["names"], metrics, exact, list(islice(paths, item["sources"])), **item["described"])
        for item, metrics, exact in rows
    ]
    html = explorer_page(comparisons)
    write_atomically(snakemake.output.page, lambda path: path.write_text(html, encoding="utf-8"))
    log.summary = f"{len(comparisons):,} comparisons, {len(html) / 1e6:.1f} MB"
